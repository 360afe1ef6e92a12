"""The secrets behind tokens and links: a new one every day, and an old one until nothing that it signed can still be good."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from pathlib import Path

from registry.content import canonical
from registry.errors import FormatRefused, StoreFailed
from registry.store.files import read_limited, replace_file, storage_errors

__all__ = ["Secrets"]

_EVERY = 24 * 3600
_LAST_USE = 6 * 3600 + 600  # seconds: the longest life of anything that is signed, and a little for clocks
_UNSEEN = 60  # seconds in which a new secret is believed and not yet used, so that every worker has read it before a client shows it one
_KEPT = 8
_SECRET = re.compile(r"[0-9a-f]{64}\Z")
_LIMIT = 4096
_VERSION = 2


class Secrets:
    """The secrets in one file, newest first.  One process renews it; the others follow with :meth:`follow`."""

    def __init__(self, path: Path, *, now: Callable[[], float]) -> None:
        """Read the file; make it where there is none.  ``now`` gives Unix seconds.

        Raises:
            StoreFailed: unreadable, or not what this class wrote.
        """
        self._path, self._now = path, now
        self._mark: tuple[int, int] | None = None
        self._known: list[tuple[int, bytes]] = []
        with storage_errors(f"the server's secret {path}", hint="run the server as the user who owns it"):
            if path.exists():
                self.follow()
            else:
                self._write([(int(now()), secrets.token_bytes(32))])

    def mac(self, context: bytes, text: str) -> str:
        """Return 64 hexadecimal digits over ``text``; ``context`` says what for, so that nothing can be taken for anything else."""
        ripe = [secret for made, secret in self._known if made <= self._now() - _UNSEEN]
        return _mac(ripe[0] if ripe else self._known[-1][1], context, text)

    def made(self, context: bytes, text: str, mac: str) -> bool:
        """Tell whether ``mac`` is one of ours over ``text``."""
        found = [hmac.compare_digest(_mac(secret, context, text), mac) for _, secret in self._known]
        return any(found)

    def renew(self) -> None:
        """Add a new secret when the newest is a day old, and drop those that can't matter any more; only one process calls this."""
        now = int(self._now())
        if now - self._known[0][0] < _EVERY:
            return
        # A secret signs until its successor does, and what it signed lives no longer than _LAST_USE.
        older = [each for each, successor in zip(self._known[1:], self._known, strict=False) if now - successor[0] < _LAST_USE]
        with storage_errors(f"the server's secret {self._path}"):
            self._write([(now, secrets.token_bytes(32)), self._known[0], *older][:_KEPT])

    def follow(self) -> None:
        """Read the file again if it was replaced.

        Raises:
            OSError: it can't be read.
            StoreFailed: it isn't what this class wrote.
        """
        status = self._path.stat()
        mark = (status.st_ino, status.st_mtime_ns)
        if mark != self._mark:
            self._known = _parse(read_limited(self._path, _LIMIT, what=str(self._path)), self._path)
            self._mark = mark

    def _write(self, known: list[tuple[int, bytes]]) -> None:
        entries = [{"made": made, "secret": secret.hex()} for made, secret in known]
        replace_file(self._path, canonical.dump({"v": _VERSION, "secrets": entries}), mode=0o600)
        self.follow()


def _mac(secret: bytes, context: bytes, text: str) -> str:
    return hmac.new(secret, context + text.encode("ascii"), hashlib.sha256).hexdigest()


def _parse(data: bytes, path: Path) -> list[tuple[int, bytes]]:
    try:
        document = canonical.load(data, what=str(path), limit=_LIMIT)
    except FormatRefused:
        document = None
    entries = document.get("secrets") if isinstance(document, dict) and document.get("v") == _VERSION else None
    if not isinstance(entries, list) or not entries or not all(map(_is_entry, entries)):
        raise StoreFailed(
            f"{path}: not the server's secrets",
            why=f"expected version {_VERSION} with 64 hexadecimal digits each",
            hint="remove it; running pulls then have to start again",
        )
    return [(each["made"], bytes.fromhex(each["secret"])) for each in entries]


def _is_entry(entry: canonical.Json) -> bool:
    return isinstance(entry, dict) and entry.keys() == {"made", "secret"} and type(entry["made"]) is int and bool(_SECRET.match(str(entry["secret"])))
