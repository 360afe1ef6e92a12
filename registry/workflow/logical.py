"""The logical stream of a set, read from where each of its objects lies."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from registry.content.digest import Digest
from registry.errors import NotFound, TrustRefused
from registry.media.index import Index, Object, Slice
from registry.store.files import storage_errors

__all__ = ["LogicalStream", "changed"]

_OPEN_FILES = 40  # as many as the parts of one parity group can lie in, and some


class LogicalStream:
    """Reads objects, or the stretches of parts, from files; use it as a context manager's callback: :meth:`close` closes them.

    Args:
        index: which object lies where in the stream.
        paths: the file that holds each object.
        whole: refuse a file that has another size than its object; objects on their way in are not whole yet.
    """

    def __init__(self, index: Index, paths: Mapping[Digest, Path], *, whole: bool = True) -> None:
        self._index = index
        self._paths = paths
        self._whole = whole
        self._open: dict[Digest, int] = {}
        self._pieces: dict[int, list[Slice]] = {}

    def read(self, wanted: Object, offset: int, into: memoryview) -> None:
        """Fill ``into`` with the bytes of ``wanted`` from ``offset`` on.

        Raises:
            NotFound: its file is not there.
            TrustRefused: its file has another size than the object, or ends too early.
            StoreFailed: its file can't be read.
        """
        path = self._paths[wanted.digest]
        with storage_errors(f"the source {path}"):  # its trouble is not the medium's
            descriptor = self._descriptor(wanted, path)
            while into:
                count = os.preadv(descriptor, [into], offset)
                if not count:
                    raise changed(wanted, path, "it is shorter now")
                into, offset = into[count:], offset + count

    def read_part(self, number: int, offset: int, into: memoryview) -> None:
        """Fill ``into`` with what part ``number`` holds from ``offset`` on, and with zeros beyond its end."""
        for piece in self._pieces.get(number) or self._pieces.setdefault(number, list(self._index.slices(number))):
            if offset < piece.length and into:
                room = into[: piece.length - offset]
                self.read(piece.object, piece.start + offset, room)
                into, offset = into[len(room) :], piece.length
            offset -= piece.length
        into[:] = bytes(len(into))

    def each_chunk(self, wanted: Object, length: int, buffer: memoryview, sink: Callable[[memoryview], object]) -> None:
        """Hand the first ``length`` bytes of ``wanted`` to ``sink``, a buffer at a time."""
        for offset in range(0, length, len(buffer)):
            room = buffer[: length - offset]
            self.read(wanted, offset, room)
            sink(room)

    def close(self) -> None:
        """Close every file that is open."""
        while self._open:
            os.close(self._open.popitem()[1])

    def _descriptor(self, wanted: Object, path: Path) -> int:
        if wanted.digest in self._open:
            return self._open[wanted.digest]
        if len(self._open) >= _OPEN_FILES:
            os.close(self._open.pop(next(iter(self._open))))
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise NotFound(f"{path}: can't be read", why=str(error.strerror), hint="put the file back, or pin the model again") from error
        self._open[wanted.digest] = descriptor
        if self._whole and os.fstat(descriptor).st_size != wanted.size:
            raise changed(wanted, path, f"it has another size than the pin's {wanted.size} bytes")
        return descriptor


def changed(wanted: Object, path: Path, why: str) -> TrustRefused:
    """Return the refusal of a source that no longer holds what was pinned."""
    return TrustRefused(
        f"{path}: no longer matches its pin",
        why=f"{why} ({wanted.digest})",
        hint="put the pinned file back and run the same command again; or pin what is there now: airlock pin NAME --from …",
    )
