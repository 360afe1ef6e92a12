"""Parts: the logical stream sealed into files on one medium after another, and checked again where they lie.

One pass: a byte is read once, hashed in a second thread, sealed and written once.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import IO, Self

from registry.content.digest import Digest, from_hex, hex_of
from registry.errors import MediumDamaged, TrustRefused
from registry.media.index import Index, Object, Slice
from registry.media.ring import Digester, Ring, new_digester
from registry.media.seal import Seal
from registry.media.stream import SEGMENT_BYTES
from registry.store.files import drop_cache, new_file, storage_errors, write_steadily
from registry.workflow.logical import LogicalStream, changed
from registry.workflow.parity_parts import send_parity, write_parity
from registry.workflow.progress import Advance

__all__ = ["HashedReads", "Parts"]

_Work = list[tuple[Slice, Digester]]
"""The slices of one part in order, each with the digester of its object."""
_OTHER_CONTENT = "its content is no longer what was pinned"


class Parts:
    """The parts of one set, on whatever media they lie.  Use it as a context manager.

    Args:
        index: what is in the set.
        seal: how its files are sealed.
        sources: where each object lies.
    """

    def __init__(self, index: Index, seal: Seal, sources: Mapping[Digest, Path]) -> None:
        self.index = index
        self._seal = seal
        self._sources = sources
        self._hashing: dict[Digest, tuple[Digester, int]] = {}
        self._written: dict[int, Path] = {}
        self._sound: set[Digest] = set()
        """Objects whose sources were read in this run, from end to end, and are what was pinned."""
        self._reopened: set[Digest] = set()
        """Objects of which some bytes were read from parts of an earlier run, not from their sources."""

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        self._ring = self._stack.enter_context(Ring(SEGMENT_BYTES))
        self._stream = LogicalStream(self.index, self._sources)
        self._stack.callback(self._stream.close)
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def write(self, folder: Path, numbers: Sequence[int], advance: Advance) -> None:
        """Write every part of ``numbers`` that is not in ``folder`` yet, checking each object against its digest on the way.

        Parts that are there already are opened instead of written, so that an interrupted export continues.

        Raises:
            TrustRefused: a source no longer holds what was pinned; the parts in ``folder`` that took from it are removed again.
            NotFound: a source is not there.
            MediumDamaged: the medium is full, read-only, or gone.
        """
        self._written = {}
        for number in numbers:
            self._written[number] = folder / self._seal.part_name(number)
            if number <= self.index.parts:
                self._write_part(number, advance)
        parity = [number for number in numbers if number > self.index.parts]
        missing = [number for number in parity if not self._is_whole(number)]
        for each in self.index.objects if missing else ():
            self._compare_source(each)
        advance(sum(self.index.part_length(number) for number in set(parity) - set(missing)))
        with self._medium(folder):
            write_parity(self.index, self._seal, self._stream.read_part, {number: self._written[number] for number in missing}, advance)

    def send(self, number: int, sink: IO[bytes], advance: Advance) -> None:
        """Write one part into ``sink``, checking each object against its digest when its last byte has gone; the parts go in order.

        Raises:
            TrustRefused: a source no longer holds what was pinned.
            NotFound: a source is not there.
            OSError: as the sink says.
        """
        if number > self.index.parts:
            send_parity(self.index, self._seal, self._stream.read_part, number, sink, advance=advance)
        else:
            work = self._work(number)
            self._seal_into(sink, number, work, advance)
            self._compare(work)

    def remove(self, folder: Path, numbers: Sequence[int]) -> None:
        """Remove parts that an earlier run wrote from what turned out to be other bytes than the pinned ones, and the digests of them."""
        with self._medium(folder):
            for name in ("SHA256SUMS", *map(self._seal.part_name, numbers)):
                (folder / name).unlink(missing_ok=True)

    def passed(self, last: int) -> Digest | None:
        """Return the digest of as much of an object as the parts up to ``last`` hold, if it goes on in the next part."""
        crossing = self.index.crossing(last)
        return from_hex(self._hashing[crossing.object.digest][0].hexdigest()) if crossing else None

    def beside(self) -> Parts:
        """Return the same set for another lane."""
        return Parts(self.index, self._seal, self._sources)

    def begin_after(self, last: int) -> Digest | None:
        """Begin behind part ``last``, which another lane writes; return what :meth:`passed` must say there, by the source."""
        crossing = self.index.crossing(last)
        if crossing is not None:
            self._catch_up(crossing.object, crossing.start + crossing.length)
        return self.passed(last)

    def changed_after(self, last: int) -> TrustRefused:
        """Return the refusal of a source that two lanes saw differently."""
        crossing = self.index.crossing(last)
        assert crossing is not None
        return changed(crossing.object, self._sources[crossing.object.digest], "it changed while it was read")

    def take_over(self, lane: Parts) -> None:
        """Know what another lane found out, once it has ended."""
        self._hashing |= lane._hashing
        self._sound |= lane._sound
        self._reopened |= lane._reopened

    def pass_over(self, last: int, passed: Digest | None) -> bool:
        """Go on after parts that were written up to ``last`` in an earlier run, when ``passed`` was what :meth:`passed` said.

        Return False where the source is what was pinned and was not then: those parts are to be written again.

        Raises:
            TrustRefused: the source no longer holds what was pinned.
        """
        crossing = self.index.crossing(last)
        if crossing is None:
            return True
        self._catch_up(crossing.object, crossing.start + crossing.length)
        if self.passed(last) == passed:
            return True
        self._compare_source(crossing.object)
        del self._hashing[crossing.object.digest]
        return False

    def read_back(self, folder: Path, numbers: Sequence[int], advance: Advance) -> dict[str, str]:
        """Read parts from the device, past the page cache, and open every segment; return each name's SHA-256 in hexadecimal.

        Raises:
            MediumDamaged: the medium gives back other bytes than were written.
        """
        sums: dict[str, str] = {}
        buffer = memoryview(bytearray(SEGMENT_BYTES))
        for number in numbers:
            name = self._seal.part_name(number)
            with self._medium(folder), (folder / name).open("rb", buffering=0) as stream:
                os.fsync(stream.fileno())
                drop_cache(stream.fileno())
                hashing = HashedReads(stream)
                reader = self._seal.part_reader(hashing, self.index.part_length(number), number)
                reader.copy(lambda view: advance(len(view)), buffer)
            sums[name] = hashing.sha256.hexdigest()
        return sums

    def _write_part(self, number: int, advance: Advance) -> None:
        work = self._work(number)
        if self._is_whole(number):
            self._rehash(number, work, advance)
        else:
            path = self._written[number]
            with self._medium(path.parent.parent), new_file(path) as sink:
                written = 0

                def advance_steadily(length: int) -> None:
                    nonlocal written
                    write_steadily(sink.fileno(), written, length)
                    written += length
                    advance(length)

                self._seal_into(sink, number, work, advance_steadily)
        self._compare(work)

    def _compare(self, work: _Work) -> None:
        """Compare the digest of each object that ends in this part."""
        self._ring.settle()
        for each, digester in work:
            self._hashing[each.object.digest] = digester, each.start + each.length
            if each.start + each.length == each.object.size and digester.hexdigest() != hex_of(each.object.digest):
                self._remove_parts_of(each.object)
                raise changed(each.object, self._sources[each.object.digest], _OTHER_CONTENT)
            if each.start + each.length == each.object.size and each.object.digest not in self._reopened:
                self._sound.add(each.object.digest)

    def _work(self, number: int) -> _Work:
        work = []
        for each in self.index.slices(number):
            self._catch_up(each.object, each.start)
            work.append((each, self._hashing[each.object.digest][0]))
        return work

    def _catch_up(self, wanted: Object, length: int) -> None:
        """Have the first ``length`` bytes of an object hashed, from its source where no part went by."""
        digester, hashed = self._hashing.setdefault(wanted.digest, (new_digester(), 0))
        if hashed < length:
            digester = new_digester()
            self._stream.each_chunk(wanted, length, memoryview(bytearray(SEGMENT_BYTES)), digester.update)
            self._hashing[wanted.digest] = digester, length

    def _compare_source(self, wanted: Object) -> None:
        """Read a source from end to end, if no part that was written did: what is said about its beginning, or parity over it, must be true."""
        if wanted.digest not in self._sound:
            digester = new_digester()
            self._stream.each_chunk(wanted, wanted.size, memoryview(bytearray(SEGMENT_BYTES)), digester.update)
            if digester.hexdigest() != hex_of(wanted.digest):
                raise changed(wanted, self._sources[wanted.digest], _OTHER_CONTENT)
            self._sound.add(wanted.digest)

    def _seal_into(self, sink: IO[bytes], number: int, work: _Work, advance: Advance) -> None:
        writer = self._seal.part_writer(sink, self.index.part_length(number), number)
        cursor = _Cursor(work)
        while not writer.done:
            buffer = self._ring.take()
            segment = buffer[: writer.wants]
            jobs = []
            for piece, offset, view, digester in cursor.over(segment):
                self._stream.read(piece.object, piece.start + offset, view)
                jobs.append((digester, view))
            self._ring.hand_over(buffer, jobs)
            writer.seal(segment)
            advance(len(segment))

    def _is_whole(self, number: int) -> bool:
        """Tell whether a part of an interrupted export is there and good."""
        path, length = self._written[number], self.index.part_length(number)
        if not path.exists() or path.stat().st_size != self._seal.size(length):
            return False
        try:
            with self._medium(path.parent.parent), path.open("rb", buffering=0) as stream:
                self._seal.part_reader(stream, length, number).copy(lambda _: None, memoryview(bytearray(SEGMENT_BYTES)))
        except MediumDamaged:
            return False
        return True

    def _rehash(self, number: int, work: _Work, advance: Advance) -> None:
        """Feed the plaintext of a part that is there to the digesters."""
        path = self._written[number]
        self._reopened.update(each.object.digest for each, _ in work)
        with self._medium(path.parent.parent), path.open("rb", buffering=0) as stream:
            reader = self._seal.part_reader(stream, self.index.part_length(number), number)
            cursor = _Cursor(work)
            while not reader.done:
                buffer = self._ring.take()
                segment = buffer[: reader.gives]
                reader.open(segment)
                self._ring.hand_over(buffer, [(digester, view) for _, _, view, digester in cursor.over(segment)])
                advance(len(segment))

    def _remove_parts_of(self, wrong: Object) -> None:
        """Remove every part at hand that holds bytes of an object which turned out to be another one."""
        for number, path in self._written.items():
            if number > self.index.parts or any(each.object.digest == wrong.digest for each in self.index.slices(number)):
                path.unlink(missing_ok=True)

    def _medium(self, folder: Path) -> AbstractContextManager[None]:
        return storage_errors(f"the medium {folder}", kind=MediumDamaged)


class _Cursor:
    """Walks along the pieces of a part, segment by segment."""

    def __init__(self, work: _Work) -> None:
        self._work = work
        self._piece = 0
        self._done = 0

    def over(self, segment: memoryview) -> Iterator[tuple[Slice, int, memoryview, Digester]]:
        """Yield which piece fills which stretch of ``segment``: piece, offset within it, view, digester."""
        while segment:
            piece, digester = self._work[self._piece]
            length = min(len(segment), piece.length - self._done)
            yield piece, self._done, segment[:length], digester
            segment = segment[length:]
            self._done += length
            if self._done == piece.length:
                self._piece, self._done = self._piece + 1, 0


class HashedReads:
    """A stream that hashes what is read through it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.sha256 = hashlib.sha256()

    def readinto(self, into: memoryview, /) -> int:
        """As ``RawIOBase.readinto``."""
        count: int = self._stream.readinto(into)  # type: ignore[attr-defined]
        self.sha256.update(into[:count])
        return count

    def read(self, size: int, /) -> bytes:
        """As ``RawIOBase.read``; only asked for at the end, where nothing should come."""
        return self._stream.read(size)
