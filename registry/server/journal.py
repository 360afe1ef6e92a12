"""The access journal: who was handed what, and who was refused.

One canonical JSON object a line, each naming the digest of the line before it, so that a changed or missing line shows::

    {"digest":"sha256:…","node":"-","peer":"10.0.0.7","prev":"sha256:…","repository":"library/gemma3","seq":12,"time":"2026-11-21T18:20:00Z",
     "v":1,"verb":"blob"}

Verbs are ``manifest`` and ``blob`` (handed out: for a blob that is the decision, its parts follow by capability) and ``deny``, which has a
``reason`` and, when denials came faster than they are written down, the number ``suppressed`` since the last one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from registry.content import canonical
from registry.content.digest import Digest, digest_of
from registry.errors import FormatRefused, StoreFailed
from registry.store.files import storage_errors

__all__ = ["FIRST", "Journal"]

FIRST = Digest("sha256:" + "0" * 64)
"""What the first line names as the one before it."""

_LONGEST_LINE = 4096
_DENIALS_PER_SECOND = 10
_DENIALS_AT_ONCE = 100


class Journal:
    """Appends to one file.  One process at a time: the server's state directory is locked."""

    def __init__(self, path: Path, *, now: Callable[[], float]) -> None:
        """Open or create the journal and continue its chain; ``now`` gives Unix seconds.

        Raises:
            StoreFailed: unwritable, or its last line isn't one of ours.
        """
        self._now = now
        self._allowance = float(_DENIALS_AT_ONCE)
        self._last_denial = now()
        self._suppressed = 0
        hint = f"keep it for the auditor, and move it away: mv {path} {path}.damaged"
        with storage_errors(f"the access journal {path}", hint="run the server as the user who owns it"):
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            self._sequence, self._previous = _resume(self._descriptor)
        except (FormatRefused, OSError) as error:
            os.close(self._descriptor)
            raise StoreFailed(f"the access journal {path} can't be continued", why=str(error), hint=hint) from None

    def handed_out(self, verb: str, *, node: str, peer: str, repository: str, digest: Digest) -> None:
        """Record that a manifest or a blob (``verb``) was handed out, before it is.

        Raises:
            OSError: it can't be written down; then it must not be handed out.
        """
        self._append({"verb": verb, "node": node, "peer": peer, "repository": repository, "digest": digest})

    def denied(self, reason: str, *, node: str, peer: str, repository: str) -> None:
        """Record a refusal, at most ten a second after the first hundred; a full disk doesn't turn a refusal into anything else."""
        now = self._now()
        self._allowance = min(_DENIALS_AT_ONCE, self._allowance + max(0.0, now - self._last_denial) * _DENIALS_PER_SECOND)
        self._last_denial = now
        if self._allowance < 1:
            self._suppressed += 1
            return
        self._allowance -= 1
        entry: dict[str, object] = {"verb": "deny", "node": node, "peer": peer, "repository": repository, "reason": reason}
        if self._suppressed:
            entry["suppressed"] = self._suppressed
        with suppress(OSError):
            self._append(entry)
            self._suppressed = 0

    def close(self) -> None:
        """Make what was written durable."""
        with suppress(OSError):
            os.fsync(self._descriptor)
        os.close(self._descriptor)

    def _append(self, entry: dict[str, object]) -> None:
        time = datetime.fromtimestamp(self._now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        line = canonical.dump({"v": 1, "seq": self._sequence + 1, "time": time, "prev": self._previous, **entry})
        end = os.fstat(self._descriptor).st_size
        if os.write(self._descriptor, line + b"\n") != len(line) + 1:
            os.ftruncate(self._descriptor, end)  # half a line is none
            raise OSError(None, "the access journal can't grow")
        self._sequence, self._previous = self._sequence + 1, digest_of(line)


def _resume(descriptor: int) -> tuple[int, Digest]:
    """Return the number and digest of the last whole line; a line cut short by a crash was never acted upon and is dropped."""
    size = os.fstat(descriptor).st_size
    start = max(0, size - 2 * _LONGEST_LINE)
    lines = os.pread(descriptor, size - start, start).split(b"\n")
    if lines[-1]:
        os.ftruncate(descriptor, size - len(lines[-1]))
    if len(lines) < 2:
        if size > _LONGEST_LINE:
            raise FormatRefused("access journal: no line end where one must be")
        return 0, FIRST
    entry = canonical.load(lines[-2], what="its last line", limit=_LONGEST_LINE)
    if not isinstance(entry, dict) or type(entry.get("seq")) is not int:
        raise FormatRefused("its last line: not a journal entry")
    return entry["seq"], digest_of(lines[-2])
