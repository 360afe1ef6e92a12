"""Receiving: parts from a medium become blobs in the store, or nothing.

Plaintext goes to ``incoming/<hex>``, one file per object, at its place.  A part that was opened to its end is recorded once its bytes are on disk,
so that the same command continues after any interruption.  An object gets its name in the store only after its SHA-256 was compared.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from registry.content import canonical
from registry.content.digest import Digest, hex_of
from registry.errors import FormatRefused, MediumDamaged, TrustRefused
from registry.media.index import Index, Object, Slice
from registry.media.ring import Digester, Ring, new_digester
from registry.media.sets import part_name
from registry.media.stream import SEGMENT_BYTES, Opener, associated_data, sealed_size
from registry.store.blobs import LocalBlobStore
from registry.store.files import read_limited, replace_file, storage_errors
from registry.store.medium import SetFolder
from registry.workflow.progress import Advance

__all__ = ["Receiver", "forget"]

_JOURNAL_BYTES = 1 << 20


@dataclass(slots=True)
class _Arriving:
    """An object on its way in: its file, and the digest of its first ``hashed`` bytes as long as they came in order."""

    object: Object
    path: Path
    digester: Digester
    hashed: int = 0


class Receiver:
    """Takes the parts of one set.

    Args:
        incoming: the directory for what is not whole yet.
        blobs: where whole objects go.
        index: the set's verified index.
        set_key: 32 bytes.
    """

    def __init__(self, incoming: Path, blobs: LocalBlobStore, index: Index, set_key: bytes) -> None:
        self._incoming = incoming
        self._blobs = blobs
        self._index = index
        self._set_key = set_key
        self.refused: dict[Digest, TrustRefused] = {}
        """Objects that are not what the statement says although their seal is good: the station's doing."""
        self._journal = _journal(incoming, index.set_id)
        self._arriving = {
            each.digest: _Arriving(each, incoming / hex_of(each.digest), new_digester())
            for each in index.objects
            if not blobs.holds(each.digest, each.size)
        }
        self._slices = {number: pieces for number in range(1, index.parts + 1) if (pieces := list(self._missing_in(number)))}
        self._done = self._recorded()

    @property
    def bytes_to_come(self) -> int:
        """Plaintext bytes that must still be written to our disk."""
        return sum(each.length for number, pieces in self._slices.items() if number not in self._done for each in pieces)

    @property
    def bytes_to_open(self) -> int:
        """Plaintext bytes of the parts that must still be opened, wanted or not."""
        return sum(self._index.part_length(number) for number in self._slices if number not in self._done)

    def absent(self, folders: Iterable[SetFolder]) -> list[int]:
        """Return the parts that are still needed and are on none of these media."""
        there = {name for folder in folders for name in folder.files}
        return [number for number in self._slices if number not in self._done and part_name(number) not in there]

    def receive(self, folders: Iterable[SetFolder], advance: Advance, settled: Callable[[Digest], None]) -> None:
        """Open every needed part that is on these media; move each object into the store when its last byte is there.

        Args:
            folders: this set on each medium at hand.
            advance: told how many bytes of plaintext went by.
            settled: told each object that has come into the store.

        Raises:
            MediumDamaged: a part is cut, edited or can't be read.  What arrived before stays.
            StoreFailed: our disk is full or failing.
        """
        with storage_errors(f"the store {self._incoming.parent}"):
            self._incoming.mkdir(mode=0o700, exist_ok=True)
        where = {name: folder for folder in folders for name in folder.files}
        with Ring(SEGMENT_BYTES) as ring:
            self._settle(ring, settled)
            for number in sorted(set(self._slices) - self._done):
                if part_name(number) in where:
                    self._take(number, where[part_name(number)], ring, advance)
                    self._settle(ring, settled)

    def _missing_in(self, number: int) -> Iterator[Slice]:
        return (each for each in self._index.slices(number) if each.object.digest in self._arriving)

    def _recorded(self) -> set[int]:
        """Return the parts that an earlier run took in, as far as what they filled is still there."""
        try:
            numbers = canonical.load(
                read_limited(self._journal, _JOURNAL_BYTES, what=self._journal.name), what=self._journal.name, limit=_JOURNAL_BYTES
            )
        except (FileNotFoundError, FormatRefused, MediumDamaged):
            return set()  # taking a part again is always safe
        return {
            number
            for number in numbers
            if number in self._slices and all(self._arriving[each.object.digest].path.exists() for each in self._slices[number])
        }

    def _take(self, number: int, folder: SetFolder, ring: Ring, advance: Advance) -> None:
        """Open one part to its end, write what is wanted of it, make that durable, and record it."""
        what = f"part {number} of set {self._index.set_id}"
        length = self._index.part_length(number)
        size = folder.files[part_name(number)][1]
        if size != sealed_size(length):
            raise MediumDamaged(
                f"{what}: {'incomplete' if size < sealed_size(length) else 'too long'}",
                why=f"expected {sealed_size(length):,} bytes, found {size:,}",
                hint="if it is still being copied, wait and run the same command again; otherwise copy the medium again",
            )
        with ExitStack() as stack:
            stack.enter_context(storage_errors(f"the store {self._incoming.parent}"))
            files = {each.object.digest: self._open(each.object, stack) for each in self._slices[number]}
            with storage_errors(f"the medium {folder.path}", kind=MediumDamaged):
                source = stack.enter_context(folder.open(part_name(number)))
                opener = Opener(source, length, self._set_key, associated_data(self._index.set_id, "part", number), what=what)
            begin = (number - 1) * self._index.part_size
            while not opener.done:
                buffer = ring.take()
                segment = buffer[: opener.gives]
                with storage_errors(f"the medium {folder.path}", kind=MediumDamaged):
                    opener.open(segment)
                jobs = []
                for piece, start, view in self._spread(number, begin, segment):
                    if (job := self._to_hash(piece, start, view)) is not None:
                        jobs.append(job)
                    _write_at(files[piece.object.digest], view, start)
                ring.hand_over(buffer, jobs)
                begin += len(segment)
                advance(len(segment))
            for descriptor in files.values():
                os.fsync(descriptor)
            self._done.add(number)
            replace_file(self._journal, canonical.dump(sorted(self._done)), mode=0o600)

    def _open(self, wanted: Object, stack: ExitStack) -> int:
        descriptor = os.open(self._arriving[wanted.digest].path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        stack.callback(os.close, descriptor)
        return descriptor

    def _spread(self, number: int, begin: int, segment: memoryview) -> Iterator[tuple[Slice, int, memoryview]]:
        """Yield which wanted object gets which stretch of ``segment``, and where; ``begin`` is its place in the logical stream."""
        end = begin + len(segment)
        for piece in self._slices[number]:
            place = piece.object.offset + piece.start
            first, last = max(begin, place), min(end, place + piece.length)
            if first < last:
                yield piece, first - piece.object.offset, segment[first - begin : last - begin]

    def _to_hash(self, piece: Slice, start: int, view: memoryview) -> tuple[Digester, memoryview] | None:
        arriving = self._arriving[piece.object.digest]
        if arriving.hashed != start:
            return None  # an earlier run took the bytes before these: the object is hashed from disk when it is whole
        arriving.hashed += len(view)
        return arriving.digester, view

    def _settle(self, ring: Ring, settled: Callable[[Digest], None]) -> None:
        """Move every object whose last byte is there into the store."""
        waiting = {each.object.digest for number, pieces in self._slices.items() if number not in self._done for each in pieces}
        ring.settle()
        for digest, arriving in list(self._arriving.items()):
            if digest in waiting:
                continue
            with storage_errors(f"the store {self._incoming.parent}"):
                if arriving.hashed != arriving.object.size:
                    arriving.digester = _hash_file(arriving.path)
                del self._arriving[digest]
                if arriving.digester.hexdigest() != hex_of(digest):
                    arriving.path.unlink()
                    self.refused[digest] = TrustRefused(
                        f"object {digest[:19]}… of set {self._index.set_id}: not what its statement says",
                        why=f"its content has the digest sha256:{arriving.digester.hexdigest()}",
                        hint="the medium is whole, so the station sealed other bytes than it signed; ask the publisher by phone",
                    )
                    continue  # one bad object holds back the releases that need it, and no others
                self._blobs.adopt(arriving.path, digest)
            settled(digest)
        self._slices = {number: pieces for number in self._slices if (pieces := list(self._missing_in(number)))}


def forget(incoming: Path, set_id: str) -> None:
    """Remove what only an unfinished import of this set needs."""
    _journal(incoming, set_id).unlink(missing_ok=True)


def _journal(incoming: Path, set_id: str) -> Path:
    return incoming / f"{set_id}.parts"


def _write_at(descriptor: int, data: memoryview, offset: int) -> None:
    while data:
        count = os.pwrite(descriptor, data, offset)
        data, offset = data[count:], offset + count


def _hash_file(path: Path) -> Digester:
    digester = new_digester()
    buffer = memoryview(bytearray(SEGMENT_BYTES))
    with path.open("rb", buffering=0) as stream:
        while count := stream.readinto(buffer):
            digester.update(buffer[:count])
    return digester
