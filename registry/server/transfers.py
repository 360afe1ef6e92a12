"""Blobs on their way out: opened and checked, bounded in number, ended when they may no longer go on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from registry.content.digest import Digest
from registry.errors import StoreFailed
from registry.server import ranges
from registry.server.access import Caller
from registry.server.body import FileResponse, Lanes, Outcome, open_checked
from registry.server.gate import peer_of
from registry.server.metrics import REFUSALS, SENT_BYTES, STORE_FAILURES, TRANSFER_SECONDS, TRANSFERS, TRANSFERS_ACTIVE, Tally
from registry.server.oci import COMMON_HEADERS, error
from registry.server.pace import TooMany
from registry.server.reasons import Reason
from registry.store.blobs import blob_path

__all__ = ["Transfers"]

_STALLED = 300.0  # seconds without a slice getting through; Ollama itself gives a part up after 30 s

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Transfer:
    """One body under way: to whom, whether it may go on, how far it was and when it last moved."""

    name: str
    allowed: Callable[[], bool]
    began: float
    moved: float
    sent: int = 0


@dataclass(slots=True)
class Transfers:
    """Hands out the blobs below ``blobs``; ``now`` gives seconds that nobody sets."""

    blobs: Path
    lanes: Lanes
    now: Callable[[], float]
    tally: Tally
    _running: dict[FileResponse, _Transfer] = field(default_factory=dict)
    _damaged: set[Digest] = field(default_factory=set)

    def send(
        self, request: web.BaseRequest, who: Caller, digest: Digest, size: int, *, allowed: Callable[[], bool] = lambda: True, location: str = ""
    ) -> web.StreamResponse:
        """Return the answer with the blob ``digest`` of ``size`` bytes, or the part asked for; ``allowed`` is asked each second while it is sent.

        A whole body names ``location``, from which its parts can be fetched.
        """
        etag = f'"{digest}"'
        headers = {
            **COMMON_HEADERS,
            "Content-Type": "application/octet-stream",
            "Docker-Content-Digest": digest,
            "ETag": etag,
            "Accept-Ranges": "bytes",
        }
        if ranges.matches(request.headers.get("If-None-Match"), etag):
            return web.Response(status=304, headers=headers)
        try:
            file = open_checked(blob_path(self.blobs, digest), size)
        except (OSError, StoreFailed) as failure:
            return self._store_failed(digest, failure)
        self._damaged.discard(digest)
        if request.method == "HEAD":
            file.close()
            return web.Response(headers={**headers, "Content-Length": str(size)})
        span = ranges.select(request.headers.get("Range"), request.headers.get("If-Range"), etag=etag, total=size)
        if span is None:
            file.close()
            unsatisfiable = {"Content-Range": f"bytes */{size}"}
            return error(416, "UNSUPPORTED", "the range begins behind the end of the blob", headers=unsatisfiable)
        if span.partial:
            headers["Content-Range"] = span.content_range
        elif location:
            headers["Location"] = location
        caller = who.id if who.known else peer_of(request)
        try:
            self.lanes.pace.refuse_too_many(caller)
        except TooMany:
            file.close()
            self.tally.count(REFUSALS, Reason.TOO_MANY)
            return error(503, "TOOMANYREQUESTS", "this node has too many downloads under way", headers={"Retry-After": "1"})
        response = FileResponse(file, span, status=206 if span.partial else 200, headers=headers, lanes=self.lanes, caller=caller)
        self._running[response] = _Transfer(who.name if who.known else caller, allowed, self.now(), self.now())
        self.tally.set(TRANSFERS_ACTIVE, len(self._running))
        task = asyncio.current_task()
        assert task is not None
        task.add_done_callback(lambda _: self._ended(response))
        return response

    def end(self) -> None:
        """End what may no longer be sent, and what has not moved for minutes.

        Called every second, so that revocation bites in the middle of a part.
        """
        now = self.now()
        for response, transfer in list(self._running.items()):
            if self._count(response, transfer):
                transfer.moved = now
            if not transfer.allowed():
                _log.info("a transfer to %s was ended: it is no longer allowed", transfer.name)
                response.abort(Outcome.NO_LONGER_ALLOWED)
            elif now - transfer.moved > _STALLED:
                response.abort(Outcome.STALLED)

    def _count(self, response: FileResponse, transfer: _Transfer) -> bool:
        """Count the bytes that went out since the last look; tell whether there were any."""
        moved = response.sent - transfer.sent
        transfer.sent = response.sent
        self.tally.count(SENT_BYTES, by=moved)
        return moved > 0

    def _ended(self, response: FileResponse) -> None:
        transfer = self._running.pop(response)
        self._count(response, transfer)
        self.tally.set(TRANSFERS_ACTIVE, len(self._running))
        self.tally.count(TRANSFERS, response.outcome)
        if response.outcome is Outcome.WHOLE:
            self.tally.observe(TRANSFER_SECONDS, self.now() - transfer.began)

    def _store_failed(self, digest: Digest, failure: OSError | StoreFailed) -> web.Response:
        if digest not in self._damaged:  # sixteen parts and six tries each would say the same
            self._damaged.add(digest)
            _log.warning("blob %s can't be served: %s", digest, failure.strerror if isinstance(failure, OSError) else failure)
        damaged = isinstance(failure, StoreFailed)
        self.tally.count(STORE_FAILURES, "damaged" if damaged else "unreadable")
        if damaged:
            return error(500, "UNKNOWN", "this blob is damaged in the registry's store; ask its operator")
        return error(503, "UNAVAILABLE", "this blob can't be read from the registry's store just now")
