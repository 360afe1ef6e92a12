"""Follows the published view: a replaced file takes effect within a second, and a bad one changes nothing."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn

from registry.content.digest import Digest
from registry.content.manifest import MAX_MANIFEST_BYTES
from registry.content.view import MAX_VIEW_BYTES, PublishedRelease, ServedState, View, parse_view
from registry.errors import AirlockError, Refused
from registry.server.capability import LIFETIME
from registry.server.offer import NOTHING, Offer, make_offer
from registry.store.blobs import LocalBlobStore
from registry.store.files import read_limited

__all__ = ["Watch"]

_GLANCE = 0.25  # seconds between looks at the file's inode, size and time
_RETRY = 5.0  # seconds between tries to read manifests that could not be read: a store may come back

_log = logging.getLogger(__name__)

_Mark = tuple[int, int, int, int]


@dataclass(slots=True)
class Watch:
    """The current offer of the view at ``path``, made from the manifests in ``blobs``.

    ``problem`` says why the file that lies there now is not what is served; it is empty when it is.  What another release replaced as the
    promoted one is served to running pulls for ``grace`` seconds more, which is how long a link lives.
    """

    path: Path
    blobs: Path
    offer: Offer = NOTHING
    problem: str = "no published view was read yet"
    now: Callable[[], float] = time.monotonic
    grace: float = LIFETIME
    _replaced: dict[PublishedRelease, float] = field(default_factory=dict)
    _view: View | None = None
    _mark: _Mark | None = None

    async def follow(self) -> NoReturn:
        """Keep the offer current until cancelled."""
        loop = asyncio.get_running_loop()
        own = ThreadPoolExecutor(1, "view")  # reads of a disk that hangs fill the common one, and a revocation must not wait for them
        retry = loop.time() + _RETRY
        while True:
            await asyncio.sleep(_GLANCE)
            # In a thread: ten thousand releases take a moment, and running pulls must not notice.
            if self._look() != self._mark:
                await loop.run_in_executor(own, self.refresh)
            elif self._replaced and min(self._replaced.values()) <= self.now():
                await loop.run_in_executor(own, self.read_manifests_again)
            elif self.offer.unreadable and loop.time() >= retry:
                await loop.run_in_executor(own, self.read_manifests_again)
                retry = loop.time() + _RETRY

    def refresh(self) -> None:
        """Read the view and the manifests it names; a view that can't be used leaves the offer as it is."""
        self._mark = self._look()
        try:
            view = parse_view(read_limited(self.path, MAX_VIEW_BYTES, what="published view"))
            self._refuse_older(view)
        except (OSError, AirlockError) as error:
            problem = f"published view: {error.strerror}" if isinstance(error, OSError) else str(error)
            if problem != self.problem:
                still = "nothing is served" if self._view is None else f"still serving the published view {self._view.sequence}"
                _log.warning("%s; %s", problem, still)
            self.problem = problem
            return
        if self.problem and self._view is not None:
            _log.warning("the published view is in order again")
        self.problem = ""
        self._adopt(view)

    def read_manifests_again(self) -> None:
        """Make the offer anew: of manifests that could not be read, and of what time has ended; the view stays the one that is served."""
        if self._view is not None:
            self._adopt(self._view)

    def _look(self) -> _Mark | None:
        try:
            status = os.stat(self.path)  # noqa: PTH116 - one system call, four times a second
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino, status.st_size, status.st_ctime_ns

    def _refuse_older(self, view: View) -> None:
        served = self._view
        if served is None or view == served:
            return
        if view.site != served.site:
            raise Refused("published view: belongs to another site", why=f"serving {served.site}, found {view.site}")
        if served.accepted is None and not served.journals and replace(served, accepted=view.accepted, journals=view.journals) == view:
            return  # the same, published anew by an airlock that says more
        if view.sequence <= served.sequence:
            raise Refused(
                "published view: older than the one that is served",
                why=f"serving sequence {served.sequence}, found {view.sequence}"
                + (" with other content" if view.sequence == served.sequence else ""),
            )

    def _remember_replaced(self, view: View) -> None:
        promoted = {_name(each) for each in (self._view.releases if self._view else ()) if each.state is ServedState.PROMOTED}
        until = {_name(each): end for each, end in self._replaced.items() if end > self.now()}
        until |= dict.fromkeys(promoted, self.now() + self.grace)
        self._replaced = {each: until[_name(each)] for each in view.releases if each.state is ServedState.APPROVED and _name(each) in until}

    def _adopt(self, view: View) -> None:
        store, before = LocalBlobStore(self.blobs), self.offer

        def read(digest: Digest) -> bytes:
            return store.read(digest, limit=MAX_MANIFEST_BYTES)

        self._remember_replaced(view)
        offer = make_offer(view, read, before.manifests, self._replaced)
        for digest, why in offer.unreadable.items():
            if digest not in before.unreadable:
                _log.warning("releases with the manifest %s are not served: %s", digest, why)
        for digest in before.unreadable.keys() & offer.manifests.keys():
            _log.warning("releases with the manifest %s are served again", digest)
        if view != self._view:
            _log.info("serving the published view %d with %d releases", view.sequence, len(offer.releases))
        self.offer, self._view = offer, view


def _name(release: PublishedRelease) -> tuple[str, str, int]:
    return release.repository, release.tag, release.number
