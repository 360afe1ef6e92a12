"""The access journal: who was handed what, and who was refused.

One canonical JSON object a line, each naming the digest of the line before it, so that a changed or missing line shows::

    {"digest":"sha256:…","node":"-","peer":"10.0.0.7","prev":"sha256:…","repository":"library/gemma3","seq":12,"time":"2026-11-21T18:20:00Z",
     "v":1,"verb":"blob"}

Verbs are ``manifest`` and ``blob`` (handed out: for a blob that is the decision, its parts follow by capability), ``knock`` (a node whose ``key``
nobody enrolled; at most once an hour for each key) and ``deny``, which has a ``reason``.  Where knocks and denials came faster than they are written
down, the next one says how many were ``suppressed``.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from registry.content import canonical
from registry.content.digest import Digest, digest_of
from registry.errors import FormatRefused, StoreFailed
from registry.server.metrics import JOURNAL_FAILURES, JOURNAL_LINES, Tally
from registry.store.access_journal import FIRST, LONGEST_LINE
from registry.store.files import storage_errors

__all__ = ["Journal"]

_DENIALS_PER_SECOND = 10
_DENIALS_AT_ONCE = 100
_KNOCK_EVERY = 3600.0
_KNOCKS_REMEMBERED = 1000
_MOST_WAITING = 10_000  # lines that wait for a disk which fails; denials beyond are only counted
_LONGEST_LAG = 60.0  # seconds that a written line may wait for the disk before nothing more is handed out

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A line that is written and not yet durable: where it begins, its bytes, since when."""

    offset: int
    data: bytes
    since: float


class Journal:
    """Appends to one file.  The workers of a server each open it themselves and take turns by its lock."""

    def __init__(self, path: Path, *, now: Callable[[], float], tally: Tally) -> None:
        """Open or create the journal and continue its chain; ``now`` gives Unix seconds, ``tally`` counts lines.

        Raises:
            StoreFailed: unwritable, or its last line isn't one of ours.
        """
        self._now, self._tally, self._path = now, tally, path
        self._waiting: list[_Waiting] = []
        self._swapping = threading.Lock()  # the loop appends lines while a thread makes those before durable
        self._since: float | None = None
        self._failed = ""
        self._allowance = float(_DENIALS_AT_ONCE)
        self._last_denial = now()
        self._suppressed = 0
        self._knocks: dict[str, float] = {}
        hint = f"keep it for the auditor, and move it away: mv {path} {path}.damaged"
        with storage_errors(f"the access journal {path}", hint="run the server as the user who owns it"):
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            with _turn(self._descriptor):
                self._sequence, self._previous, self._end = _resume(self._descriptor)
        except (FormatRefused, OSError) as error:
            os.close(self._descriptor)
            raise StoreFailed(f"the access journal {path} can't be continued", why=str(error), hint=hint) from None

    def handed_out(self, verb: str, *, node: str, peer: str, repository: str, digest: Digest) -> None:
        """Record that a manifest or a blob (``verb``) was handed out, before it is.

        Raises:
            OSError: it can't be written down, or what was written can't be made durable; then it must not be handed out.
        """
        problem = self._failed or ("the disk under it does not answer" if self.lag() > _LONGEST_LAG else "")
        if problem:
            self._tally.count(JOURNAL_FAILURES)
            raise OSError(None, problem)
        self._append({"verb": verb, "node": node, "peer": peer, "repository": repository, "digest": digest})

    def denied(self, reason: str, *, node: str, peer: str, repository: str) -> None:
        """Record a refusal, at most ten a second after the first hundred; a full disk doesn't turn a refusal into anything else."""
        self._note({"verb": "deny", "node": node, "peer": peer, "repository": repository, "reason": reason})

    def knocked(self, key: str, *, peer: str, repository: str) -> None:
        """Record that a node with a ``key`` that nobody enrolled asked to be let in."""
        now = self._now()
        last = self._knocks.get(key)
        if last is not None and now - last < _KNOCK_EVERY:
            return
        if not self._note({"verb": "knock", "node": "-", "peer": peer, "repository": repository, "key": key}):
            return  # it is written down when it knocks again
        self._knocks[key] = now
        if len(self._knocks) > _KNOCKS_REMEMBERED:
            del self._knocks[next(iter(self._knocks))]

    def _note(self, entry: dict[str, object]) -> bool:
        """Write down what may wait; tell whether it was."""
        now = self._now()
        self._allowance = min(_DENIALS_AT_ONCE, self._allowance + max(0.0, now - self._last_denial) * _DENIALS_PER_SECOND)
        self._last_denial = now
        if self._allowance < 1 or len(self._waiting) > _MOST_WAITING:
            self._suppressed += 1
            self._tally.count(JOURNAL_LINES, "suppressed")
            return False
        self._allowance -= 1
        if self._suppressed:
            entry["suppressed"] = self._suppressed
        try:
            self._append(entry)
        except OSError:
            self._suppressed += 1
            self._tally.count(JOURNAL_LINES, "suppressed")
            return False
        self._suppressed = 0
        return True

    def lag(self) -> float:
        """Return how many seconds the oldest line of this process has waited that is written and not yet durable."""
        since = self._since
        return 0.0 if since is None else max(0.0, self._now() - since)

    @property
    def problem(self) -> str:
        """Why what was written is not durable; empty when it is."""
        return self._failed

    def sync(self) -> None:
        """Make what was written durable; may take as long as the disk does, and runs beside the loop.  While it fails, nothing is handed out."""
        with self._swapping:
            lines, self._waiting = self._waiting, []
        if not lines:
            return
        try:
            if self._failed:
                self._write_again(lines)
            os.fdatasync(self._descriptor)
        except OSError as error:
            self._tally.count(JOURNAL_FAILURES)
            self._failed = str(error.strerror)
            with self._swapping:
                self._waiting = lines + self._waiting
            _log.error("nothing is handed out: the access journal can't be made durable: %s", error.strerror)
            return
        self._failed = ""
        with self._swapping:
            self._since = self._waiting[0].since if self._waiting else None

    def _write_again(self, lines: list[_Waiting]) -> None:
        """Write once more what could not be made durable: Linux reports that once, and then believes the pages to be clean (fsync(2), "EIO")."""
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)  # not O_APPEND, with which pwrite(2) appends
        try:
            for line in lines:
                if os.pwrite(descriptor, line.data, line.offset) != len(line.data):
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
        finally:
            os.close(descriptor)

    def length(self) -> tuple[Digest, int]:
        """Return the digest of the first line, which names a journal, and the number of lines of all workers; FIRST and 0 where there is none yet.

        For any thread: it looks through a descriptor of its own, because a lock belongs to what was opened, and taking ours twice is giving it
        back once too early (flock(2)).

        Raises:
            OSError: it can't be read.
        """
        descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with _turn(descriptor, fcntl.LOCK_SH):
                count, _, _ = _newest(descriptor)
            if not count:
                return FIRST, 0
            return digest_of(os.pread(descriptor, LONGEST_LINE, 0).partition(b"\n")[0]), count
        except FormatRefused as refusal:
            raise OSError(None, str(refusal)) from None
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Make what was written durable."""
        with suppress(OSError):
            os.fsync(self._descriptor)
        os.close(self._descriptor)

    def _append(self, entry: dict[str, object]) -> None:
        try:
            self._write(entry)
        except OSError:
            self._tally.count(JOURNAL_FAILURES)
            raise
        self._tally.count(JOURNAL_LINES, str(entry["verb"]))

    def _write(self, entry: dict[str, object]) -> None:
        time = datetime.fromtimestamp(self._now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        with _turn(self._descriptor):
            if os.fstat(self._descriptor).st_size != self._end:  # another worker's turn was in between, or its half line
                try:
                    self._sequence, self._previous, self._end = _resume(self._descriptor)
                except FormatRefused as refusal:
                    raise OSError(None, str(refusal)) from None
            line = canonical.dump({"v": 1, "seq": self._sequence + 1, "time": time, "prev": self._previous, **entry})
            if os.write(self._descriptor, line + b"\n") != len(line) + 1:
                os.ftruncate(self._descriptor, self._end)  # half a line is none
                raise OSError(None, "the access journal can't grow")
            waiting = _Waiting(self._end, line + b"\n", self._now())
            self._sequence, self._previous, self._end = self._sequence + 1, digest_of(line), self._end + len(line) + 1
        with self._swapping:
            self._waiting.append(waiting)
            if self._since is None:
                self._since = waiting.since


@contextmanager
def _turn(descriptor: int, kind: int = fcntl.LOCK_EX) -> Iterator[None]:
    """Hold the file while the block runs: a worker's turn takes microseconds."""
    fcntl.flock(descriptor, kind)
    try:
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def _resume(descriptor: int) -> tuple[int, Digest, int]:
    """Return the number and digest of the last whole line, and where it ends; one cut short by a crash was never acted upon and is dropped."""
    sequence, previous, end = _newest(descriptor)
    if os.fstat(descriptor).st_size != end:
        os.ftruncate(descriptor, end)
    return sequence, previous, end


def _newest(descriptor: int) -> tuple[int, Digest, int]:
    """Return the number and digest of the last whole line, and where it ends; changes nothing."""
    size = os.fstat(descriptor).st_size
    start = max(0, size - 2 * LONGEST_LINE)
    lines = os.pread(descriptor, size - start, start).split(b"\n")
    end = size - len(lines[-1])
    if len(lines) < 2:
        if size > LONGEST_LINE:
            raise FormatRefused("access journal: no line end where one must be")
        return 0, FIRST, end
    entry = canonical.load(lines[-2], what="its last line", limit=LONGEST_LINE)
    if not isinstance(entry, dict) or type(entry.get("seq")) is not int:
        raise FormatRefused("its last line: not a journal entry")
    return entry["seq"], digest_of(lines[-2]), end
