"""Objects on their way in: which stretches of which parts each still needs, and the files in ``incoming`` where they lie at their place."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from registry.content.digest import Digest, hex_of
from registry.media.index import Index, Object, Slice
from registry.media.ring import Digester, new_digester
from registry.media.stream import SEGMENT_BYTES
from registry.store.blobs import LocalBlobStore
from registry.store.files import storage_errors

__all__ = ["Arriving", "Incoming", "Stretch"]


@dataclass(slots=True)
class Arriving:
    """An object on its way in: its file, and the digest of its first ``hashed`` bytes as long as they came in order."""

    object: Object
    path: Path
    digester: Digester
    hashed: int = 0

    def to_hash(self, start: int, length: int) -> bool:
        """Tell whether the ``length`` bytes from ``start`` on are the next to be hashed; they count as hashed then.

        Where an earlier run took the bytes before them, the object is hashed from disk when it is whole.
        """
        if self.hashed != start:
            return False
        self.hashed += length
        return True

    def forget_hash(self) -> None:
        """Begin anew: what was hashed on the way may not be what is on disk in the end."""
        self.digester, self.hashed = new_digester(), 0

    def hash_file(self) -> None:
        """Hash what is on disk, unless every byte was hashed on its way there."""
        if self.hashed == self.object.size:
            return
        self.digester = new_digester()
        buffer = memoryview(bytearray(SEGMENT_BYTES))
        with self.path.open("rb", buffering=0) as stream:
            while count := stream.readinto(buffer):
                self.digester.update(buffer[:count])


@dataclass(frozen=True, slots=True)
class Stretch:
    """Bytes of a part, the object they belong to, and where in it they begin."""

    arriving: Arriving
    start: int
    data: memoryview

    def write(self, files: Mapping[Digest, int]) -> None:
        """Put them at their place."""
        descriptor, data, offset = files[self.arriving.object.digest], self.data, self.start
        while data:
            count = os.pwrite(descriptor, data, offset)
            data, offset = data[count:], offset + count


class Incoming:
    """What of the set of ``index`` is not in ``blobs`` yet, and lies in ``directory`` until it is whole: ``<hex>``, one file for each object."""

    def __init__(self, directory: Path, blobs: LocalBlobStore, index: Index) -> None:
        self.directory = directory
        self._blobs = blobs
        self._index = index
        self.objects = {
            each.digest: Arriving(each, directory / hex_of(each.digest), new_digester())
            for each in index.objects
            if not blobs.holds(each.digest, each.size)
        }
        needed = ((number, [each for each in index.slices(number) if each.object.digest in self.objects]) for number in range(1, index.parts + 1))
        self.wanted: dict[int, list[Slice]] = {number: pieces for number, pieces in needed if pieces}
        """What is needed of each part of which anything is."""

    def adopt(self, arriving: Arriving) -> None:
        """Give a whole object, whose digest was compared, its name in the store."""
        self._blobs.adopt(arriving.path, arriving.object.digest)
        self._drop(arriving)

    def refuse(self, arriving: Arriving) -> None:
        """Throw an object away, and want nothing more of it."""
        arriving.path.unlink()
        self._drop(arriving)

    def _drop(self, arriving: Arriving) -> None:
        del self.objects[arriving.object.digest]
        for number in self._index.parts_of(arriving.object):
            if number in self.wanted:
                self.wanted[number] = [each for each in self.wanted[number] if each.object != arriving.object]
                if not self.wanted[number]:
                    del self.wanted[number]

    def filled(self, number: int) -> bool:
        """Tell whether the files are still there that a part filled in an earlier run."""
        return number in self.wanted and all(self.objects[each.object.digest].path.exists() for each in self.wanted[number])

    def open_files(self, number: int, stack: ExitStack) -> dict[Digest, int]:
        """Open the files that a part fills; ``stack`` closes them, and takes every trouble meanwhile for our disk's."""
        stack.enter_context(storage_errors(f"the store {self.directory.parent}"))
        files = {}
        for each in self.wanted[number]:
            path = self.objects[each.object.digest].path
            files[each.object.digest] = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            stack.callback(os.close, files[each.object.digest])
        return files

    def stretches(self, number: int, offset: int, segment: memoryview) -> Iterator[Stretch]:
        """Yield what is wanted of ``segment``, which lies at ``offset`` in part ``number``."""
        begin = (number - 1) * self._index.part_size + offset
        end = begin + len(segment)
        for piece in self.wanted[number]:
            place = piece.object.offset + piece.start
            first, last = max(begin, place), min(end, place + piece.length)
            if first < last:
                yield Stretch(self.objects[piece.object.digest], first - piece.object.offset, segment[first - begin : last - begin])

    def path(self, wanted: Object) -> Path:
        """Return where an object of the set lies, whole or not."""
        arriving = self.objects.get(wanted.digest)
        return arriving.path if arriving else self._blobs.path(wanted.digest)
