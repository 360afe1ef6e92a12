"""Mending: single parts of a set, sealed again from sources that were compared as a whole.

An object's digest covers the whole of it, and only some of its parts are written.  So every object that is needed is hashed from its first byte to
its last before anything is written, and with it the content of each part that is needed.  A part gets its name only if what was sealed has that
digest.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Self

from registry.content.digest import Digest, hex_of
from registry.errors import MediumDamaged, TrustRefused
from registry.media.index import Index, Object
from registry.media.ring import Digester, Ring, new_digester
from registry.media.seal import Seal
from registry.media.stream import SEGMENT_BYTES
from registry.store.files import drop_cache, new_file, storage_errors
from registry.workflow.logical import LogicalStream, changed
from registry.workflow.parity_parts import write_parity
from registry.workflow.parts import HashedReads
from registry.workflow.progress import Advance

__all__ = ["Mending", "objects_for"]


def objects_for(index: Index, numbers: Sequence[int]) -> list[Object]:
    """Return the objects of which some bytes are needed to write these parts and parity parts, in order."""
    digests = {each.object.digest for number in _data_for(index, numbers) for each in index.slices(number)}
    return [each for each in index.objects if each.digest in digests]


class Mending:
    """Writes ``numbers``, parts and parity parts of one set.  Use it as a context manager; :meth:`check` comes first.

    Args:
        index: what is in the set.
        seal: how its files are sealed.
        sources: where each object that is needed lies.
        numbers: what to write, in order.
    """

    def __init__(self, index: Index, seal: Seal, sources: Mapping[Digest, Path], numbers: Sequence[int]) -> None:
        self._index = index
        self._seal = seal
        self._sources = sources
        self._numbers = numbers
        self._contents: dict[int, str] = {}

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        self._ring = self._stack.enter_context(Ring(SEGMENT_BYTES))
        self._stream = LogicalStream(self._index, self._sources)
        self._stack.callback(self._stream.close)
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def check(self, advance: Advance) -> None:
        """Read every object that is needed as a whole.

        Raises:
            TrustRefused: a source no longer holds what was pinned.
            NotFound: a source is not there.
        """
        contents = {number: new_digester() for number in _data_for(self._index, self._numbers)}
        for each in objects_for(self._index, self._numbers):
            digester = new_digester()
            for offset in range(0, each.size, SEGMENT_BYTES):
                buffer = self._ring.take()
                view = buffer[: each.size - offset]
                self._stream.read(each, offset, view)
                self._ring.hand_over(buffer, [(digester, view), *self._shares(each.offset + offset, view, contents)])
                advance(len(view))
            self._ring.settle()
            if digester.hexdigest() != hex_of(each.digest):
                raise changed(each, self._sources[each.digest], "its content is no longer what was pinned")
        self._contents = {number: digester.hexdigest() for number, digester in contents.items()}

    def write(self, paths: Mapping[int, Path], advance: Advance) -> None:
        """Write every part to its path, unless it is good there already; parity parts are always written.

        Raises:
            TrustRefused: a source changed since :meth:`check`; that part is not written.
            MediumDamaged: the medium is full, read-only, or gone.
        """
        for number in self._numbers:
            if number > self._index.parts:
                continue
            if self._is_good(number, paths[number]):
                advance(self._index.part_length(number))
            else:
                self._seal_part(number, paths[number], advance)
        parity = {number: paths[number] for number in self._numbers if number > self._index.parts}
        reading = _ComparedReads(self._index, self._stream, self._contents)
        for group in self._index.parity:
            files = {number: path for number, path in parity.items() if number in group.parity}
            if not files:
                continue
            with _medium(next(iter(files.values()))):
                reading.begin(group.data)
                write_parity(self._index, self._seal, reading.read_part, files, advance)
                self._contents |= {number: self._content_of(number, path) for number, path in files.items()}

    def read_back(self, paths: Mapping[int, Path], advance: Advance) -> dict[str, str]:
        """Read the parts from the device, past the page cache, and compare them; return each name's SHA-256 in hexadecimal.

        Raises:
            MediumDamaged: the medium gives back other bytes than were written.
        """
        sums = {}
        for number in self._numbers:
            with _medium(paths[number]), paths[number].open("rb", buffering=0) as stream:
                os.fsync(stream.fileno())
                drop_cache(stream.fileno())
                reads = HashedReads(stream)
                content = self._hash_content(number, reads)
            if content != self._contents[number]:
                raise MediumDamaged(
                    f"part {number} of set {self._index.set_id}: damaged",
                    why="read back, it holds other bytes than were written",
                    hint="take another medium and run the same command again",
                )
            sums[self._seal.part_name(number)] = reads.sha256.hexdigest()
            advance(self._index.part_length(number))
        return sums

    def _shares(self, place: int, view: memoryview, contents: Mapping[int, Digester]) -> Iterator[tuple[Digester, memoryview]]:
        """Yield the stretches of ``view``, which stands at ``place`` in the logical stream, that lie in a part that is needed."""
        size = self._index.part_size
        while view:
            number, length = place // size + 1, size - place % size
            if number in contents:
                yield contents[number], view[:length]
            view, place = view[length:], place + length

    def _is_good(self, number: int, path: Path) -> bool:
        try:
            return path.exists() and self._content_of(number, path) == self._contents[number]
        except MediumDamaged:
            return False

    def _content_of(self, number: int, path: Path) -> str:
        with _medium(path), path.open("rb", buffering=0) as stream:
            return self._hash_content(number, HashedReads(stream))

    def _hash_content(self, number: int, source: HashedReads) -> str:
        digester = new_digester()
        reader = self._seal.part_reader(source, self._index.part_length(number), number)
        reader.copy(digester.update, memoryview(bytearray(SEGMENT_BYTES)))
        return digester.hexdigest()

    def _seal_part(self, number: int, path: Path, advance: Advance) -> None:
        content, offset = new_digester(), 0
        with _medium(path), new_file(path) as sink:
            writer = self._seal.part_writer(sink, self._index.part_length(number), number)
            while not writer.done:
                buffer = self._ring.take()
                segment = buffer[: writer.wants]
                self._stream.read_part(number, offset, segment)
                self._ring.hand_over(buffer, [(content, segment)])
                writer.seal(segment)
                offset += len(segment)
                advance(len(segment))
            self._ring.settle()
            if content.hexdigest() != self._contents[number]:
                raise _changed_meanwhile(self._index, number)


class _ComparedReads:
    """Reads the parts of one parity group stripe by stripe, and compares each when its last byte was read."""

    def __init__(self, index: Index, stream: LogicalStream, contents: Mapping[int, str]) -> None:
        self._index = index
        self._stream = stream
        self._contents = contents
        self._digesters: dict[int, Digester] = {}

    def begin(self, numbers: Sequence[int]) -> None:
        """Begin with the parts of another group."""
        self._digesters = {number: new_digester() for number in numbers}

    def read_part(self, number: int, offset: int, into: memoryview) -> None:
        """As ``LogicalStream.read_part``.

        Raises:
            TrustRefused: the part is not what it was when its objects were compared.
        """
        self._stream.read_part(number, offset, into)
        left = self._index.part_length(number) - offset
        if left > 0:
            self._digesters[number].update(into[:left])
        if 0 < left <= len(into) and self._digesters[number].hexdigest() != self._contents[number]:
            raise _changed_meanwhile(self._index, number)


def _data_for(index: Index, numbers: Sequence[int]) -> list[int]:
    """Return the parts whose content is needed to write these parts and parity parts."""
    groups = [group for number in numbers if number > index.parts and (group := index.group_of(number)) is not None]
    return sorted({*(number for number in numbers if number <= index.parts), *(number for group in groups for number in group.data)})


def _changed_meanwhile(index: Index, number: int) -> TrustRefused:
    return TrustRefused(
        f"part {number} of set {index.set_id}: its sources changed while they were read",
        why="they were what was pinned a moment ago",
        hint="let nobody write to them, and run the same command again",
    )


def _medium(path: Path) -> AbstractContextManager[None]:
    return storage_errors(f"the medium {path.parent.parent}", kind=MediumDamaged)
