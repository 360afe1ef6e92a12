"""Hashing in a second thread, over a ring of reused buffers.

SHA-256 is the limit of export and import; AES-GCM and the disk go on beside it.  The first thread takes a free buffer, fills it, hands it over and
goes on with the next; memory stays constant, whatever the model's size.
"""

from __future__ import annotations

import hashlib
from queue import SimpleQueue
from threading import Thread
from types import TracebackType
from typing import Protocol, Self

__all__ = ["Digester", "Ring", "new_digester"]


class Digester(Protocol):
    """What ``hashlib.sha256()`` returns."""

    def update(self, data: memoryview, /) -> None:
        """Take more bytes."""

    def hexdigest(self) -> str:
        """Return the digest of all bytes so far, as hexadecimal digits."""


class Ring:
    """A ring of up to ``depth`` buffers of ``size`` bytes and the thread that hashes what they hold.  Use it as a context manager.

    A buffer is made only when every other one is still being read: a small set needs one.  Sixteen of 1 MiB ride out the moments in which another
    process has the second core; more gained nothing.
    """

    def __init__(self, size: int, depth: int = 16) -> None:
        self._size = size
        self._to_make = depth
        self._free: SimpleQueue[memoryview] = SimpleQueue()
        self._full: SimpleQueue[tuple[memoryview, list[tuple[Digester, memoryview]]] | SimpleQueue[None] | None] = SimpleQueue()
        self._failed: BaseException | None = None
        self._thread = Thread(target=self._work, name="airlock-hash", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._full.put(None)
        self._thread.join()

    def take(self) -> memoryview:
        """Return a buffer that nobody reads any more; waits for one.  Only the first thread calls this."""
        self._raise()
        if self._to_make and self._free.empty():
            self._to_make -= 1
            return memoryview(bytearray(self._size))
        return self._free.get()

    def hand_over(self, buffer: memoryview, work: list[tuple[Digester, memoryview]]) -> None:
        """Let the second thread feed each view (of ``buffer``) to its digester, in order, and then free the buffer."""
        self._full.put((buffer, work))

    def settle(self) -> None:
        """Wait until everything handed over so far is hashed."""
        done: SimpleQueue[None] = SimpleQueue()
        self._full.put(done)
        done.get()
        self._raise()

    def _raise(self) -> None:
        if self._failed is not None:
            raise self._failed

    def _work(self) -> None:
        while (item := self._full.get()) is not None:
            if isinstance(item, SimpleQueue):
                item.put(None)
                continue
            buffer, work = item
            try:
                for digester, view in work:
                    digester.update(view)
            except BaseException as error:  # noqa: BLE001 - whatever it is, the first thread must hear of it and not wait for ever
                self._failed = self._failed or error
            self._free.put(buffer)


def new_digester() -> Digester:
    """Return a fresh SHA-256."""
    return hashlib.sha256()
