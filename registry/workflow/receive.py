"""Receiving: parts from media become blobs in the store, or nothing.

Plaintext goes to ``incoming/<hex>``, one file per object, at its place.  A part that was opened to its end is recorded once its bytes are on disk,
so that the same command continues after any interruption.  An object gets its name in the store only after its SHA-256 was compared.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from registry.content.digest import Digest, hex_of
from registry.errors import MediumDamaged, TrustRefused
from registry.media.index import Index, Object, Slice
from registry.media.parity import Group
from registry.media.ring import Digester, Ring, new_digester
from registry.media.seal import PartReader, Seal
from registry.media.stream import SEGMENT_BYTES, Source
from registry.store.blobs import LocalBlobStore
from registry.store.files import new_file, storage_errors, write_all, write_steadily
from registry.store.medium import SetFolder, differs_from_sums
from registry.workflow.arrivals import Arrivals
from registry.workflow.logical import LogicalStream
from registry.workflow.parity_parts import rebuild
from registry.workflow.progress import Advance, Progress

__all__ = ["Receiver"]

Settled = Callable[[Digest], None]
"""Is told each object that has come into the store."""


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
        seal: how its files are sealed.
    """

    def __init__(self, incoming: Path, blobs: LocalBlobStore, index: Index, seal: Seal) -> None:
        self._incoming = incoming
        self._blobs = blobs
        self._index = index
        self._seal = seal
        self.arrivals = Arrivals(incoming, index.set_id)
        self.refused: dict[Digest, TrustRefused] = {}
        """Objects that are not what the statement says although their seal is good: the station's doing."""
        self.damaged: dict[int, MediumDamaged] = {}
        """Parts that no medium at hand gives whole."""
        self._healed: dict[int, Sequence[int]] = {}
        self._taken: dict[int, SetFolder] = {}
        self._blamed: set[tuple[int, Path]] = set()
        self._arriving = {
            each.digest: _Arriving(each, incoming / hex_of(each.digest), new_digester())
            for each in index.objects
            if not blobs.holds(each.digest, each.size)
        }
        self._slices = {number: pieces for number in range(1, index.parts + 1) if (pieces := list(self._wanted_in(number)))}
        self._done = {number for number in self.arrivals.done if self._still_here(number)}

    @property
    def missing(self) -> list[int]:
        """The parts that are still needed."""
        return sorted(self._slices.keys() - self._done)

    @property
    def healed(self) -> list[int]:
        """The parts that came back by parity."""
        return sorted(self._healed)

    @property
    def bytes_to_come(self) -> int:
        """Plaintext bytes that must still be written to our disk."""
        return sum(each.length for number in self.missing for each in self._slices[number])

    @property
    def bytes_to_open(self) -> int:
        """Plaintext bytes of the parts that must still be opened, wanted or not."""
        return sum(map(self._index.part_length, self.missing))

    def receive(self, folders: Sequence[SetFolder], progress: Progress, settled: Settled) -> None:
        """Open every needed part that is on these media; move each object into the store when its last byte is there.

        A part that is damaged on one medium is taken from another that has it too.  What is then still missing comes back by parity where enough
        parity parts are here.  :attr:`missing`, :attr:`damaged` and :attr:`refused` say what didn't arrive, and why.

        Raises:
            StoreFailed: our disk is full or failing.
        """
        with storage_errors(f"the store {self._incoming.parent}"):
            self._incoming.mkdir(mode=0o700, exist_ok=True)
        with Ring(SEGMENT_BYTES) as ring:
            with progress.task(f"set {self._index.set_id}", self.bytes_to_open) as advance:
                self._settle(ring, settled)
                wanted = self.missing
                while wanted:
                    for number in wanted:
                        self._take_from_any(number, folders, lambda number, source: self._take(number, source, ring, advance))
                        self._settle(ring, settled)
                    wanted = self._copied(folders)
            while self.missing and self._index.parity:
                self._take_parity(folders, progress)
                if not self._heal(progress):
                    return
                self._settle(ring, settled)  # what healed to other bytes than those that are signed is missing again

    def _wanted_in(self, number: int) -> Iterator[Slice]:
        return (each for each in self._index.slices(number) if each.object.digest in self._arriving)

    def _still_here(self, number: int) -> bool:
        """Tell whether what a part filled in an earlier run is still there."""
        if number > self._index.parts:
            return self.arrivals.parity_file(number).exists()
        return number in self._slices and all(self._arriving[each.object.digest].path.exists() for each in self._slices[number])

    def _take_from_any(self, number: int, folders: Sequence[SetFolder], take: Callable[[int, Source], None]) -> None:
        """Take a part from the first medium that gives it whole, make it durable, and record it."""
        name, expected = self._seal.part_name(number), self._seal.size(self._index.part_length(number))
        for folder in folders:
            if (number, folder.path) in self._blamed or (size := folder.size(name)) is None:
                continue
            try:
                _refuse_odd_size(f"part {number} of set {self._index.set_id}", expected, size)
                with storage_errors(f"the medium {folder.path}", kind=MediumDamaged):
                    source = folder.open(name)
                with source:
                    take(number, source)
            except MediumDamaged as damage:
                self.damaged[number] = damage
                continue
            self._record(number)
            self._taken[number] = folder
            return

    def _copied(self, folders: Sequence[SetFolder]) -> list[int]:
        """Return the parts that were taken and turned out to be damaged, and that lie on another medium, too."""
        names = {number: self._seal.part_name(number) for number in {number for number, _ in self._blamed}.intersection(self.missing)}
        return sorted(
            number for number, name in names.items() if any(name in each.files and (number, each.path) not in self._blamed for each in folders)
        )

    def _record(self, *numbers: int) -> None:
        self._done.update(numbers)
        self.arrivals.add(*numbers)
        for number in numbers:
            self.damaged.pop(number, None)

    def _take(self, number: int, source: Source, ring: Ring, advance: Advance) -> None:
        """Open one part to its end, write what is wanted of it, and make that durable."""
        reader = self._reader(number, source)
        with ExitStack() as stack:
            files = self._open_files(number, stack)
            begin = (number - 1) * self._index.part_size
            while not reader.done:
                buffer = ring.take()
                segment = buffer[: reader.gives]
                try:
                    with storage_errors(f"part {number} of set {self._index.set_id}", kind=MediumDamaged):
                        reader.open(segment)
                except MediumDamaged:
                    ring.hand_over(buffer, [])
                    raise
                jobs = []
                for piece, start, view in self._spread(number, begin, segment):
                    if (job := self._to_hash(piece, start, view)) is not None:
                        jobs.append(job)
                    _write_at(files[piece.object.digest], view, start)
                    write_steadily(files[piece.object.digest], start, len(view))
                ring.hand_over(buffer, jobs)
                begin += len(segment)
                advance(len(segment))
            for descriptor in files.values():
                os.fsync(descriptor)

    def _reader(self, number: int, source: Source) -> PartReader:
        with storage_errors(f"part {number} of set {self._index.set_id}", kind=MediumDamaged):
            return self._seal.part_reader(source, self._index.part_length(number), number)

    def _open_files(self, number: int, stack: ExitStack) -> dict[Digest, int]:
        stack.enter_context(storage_errors(f"the store {self._incoming.parent}"))
        files = {}
        for each in self._slices[number]:
            path = self._arriving[each.object.digest].path
            files[each.object.digest] = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            stack.callback(os.close, files[each.object.digest])
        return files

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

    def _take_parity(self, folders: Sequence[SetFolder], progress: Progress) -> None:
        """Keep the parity parts at hand of every group that lacks a part."""
        wanted = sorted(number for group in self._lacking() for number in group.parity if number not in self._done)  # as they come in a stream
        with progress.task("parity", sum(map(self._index.part_length, wanted))) as advance:
            for number in wanted:
                self._take_from_any(number, folders, lambda number, source: self._keep_parity(number, source, advance))
                self.damaged.pop(number, None)  # what is lost is a way to heal; the parts that need it are missing themselves

    def _keep_parity(self, number: int, source: Source, advance: Advance) -> None:
        reader = self._reader(number, source)
        buffer = memoryview(bytearray(SEGMENT_BYTES))
        with storage_errors(f"the store {self._incoming.parent}"), new_file(self.arrivals.parity_file(number), mode=0o600) as sink:
            while not reader.done:
                segment = buffer[: reader.gives]
                with storage_errors(f"part {number} of set {self._index.set_id}", kind=MediumDamaged):
                    reader.open(segment)
                write_all(sink, segment)
                advance(len(segment))

    def _lacking(self) -> list[Group]:
        missing = set(self.missing)
        return [group for group in self._index.parity if missing.intersection(group.data)]

    def _heal(self, progress: Progress) -> bool:
        """Bring back what is missing of each group of which enough is here; tell whether there was any."""
        healing = [(group, here) for group in self._lacking() if len(here := self._usable(group)) == len(group.data)]
        total = sum(self._index.part_length(number) for group, _ in healing for number in group.data if number in self.missing)
        with progress.task("healing by parity", total) as advance, ExitStack() as stack:
            paths = {each.digest: self._path_of(each) for each in self._index.objects}
            stream = LogicalStream(self._index, paths, whole=False)
            stack.callback(stream.close)
            for group, here in healing:
                self._heal_group(group, here, stream, advance)
        return bool(healing)

    def _usable(self, group: Group) -> list[int]:
        """Return parts and parity parts that are here, at most as many as the group has parts."""
        refused = {number for number in group.data if any(each.object.digest in self.refused for each in self._index.slices(number))}
        parts = [number for number in group.data if number not in self.missing and number not in refused]
        return [*parts, *(number for number in group.parity if number in self._done)][: len(group.data)]

    def _heal_group(self, group: Group, here: Sequence[int], stream: LogicalStream, advance: Advance) -> None:
        missing = [number for number in group.data if number in self.missing]
        with ExitStack() as stack:
            files = {number: self._open_files(number, stack) for number in missing}
            parity = {number: stack.enter_context(self.arrivals.parity_file(number).open("rb")) for number in here if number > self._index.parts}

            def read(number: int, offset: int, into: memoryview) -> None:
                if number in parity:
                    filled = os.preadv(parity[number].fileno(), [into], offset)
                    into[filled:] = bytes(len(into) - filled)
                else:
                    stream.read_part(number, offset, into)

            for offset, contents in rebuild(self._index, group, missing, here, read):
                for number, content in zip(missing, contents, strict=True):
                    for piece, start, view in self._spread(number, (number - 1) * self._index.part_size + offset, content):
                        _write_at(files[number][piece.object.digest], view, start)
                    advance(len(content))
            for descriptor in {each for opened in files.values() for each in opened.values()}:
                os.fsync(descriptor)
        self._record(*missing)
        self._healed |= {number: tuple(parity) for number in missing}

    def _path_of(self, wanted: Object) -> Path:
        arriving = self._arriving.get(wanted.digest)
        return arriving.path if arriving else self._blobs.path(wanted.digest)

    def _settle(self, ring: Ring, settled: Settled) -> None:
        """Move every object whose last byte is there into the store."""
        waiting = {each.object.digest for number in self.missing for each in self._slices[number]}
        ring.settle()
        for digest, arriving in list(self._arriving.items()):
            if digest in waiting:
                continue  # nothing of it is hashed from disk before its last byte is there
            with storage_errors(f"the store {self._incoming.parent}"):
                if arriving.hashed != arriving.object.size:
                    arriving.digester = _hash_file(arriving.path)
                if arriving.digester.hexdigest() != hex_of(digest):
                    self._blame_or_refuse(arriving)
                    continue  # one bad object holds back the releases that need it, and no others
                del self._arriving[digest]
                self._blobs.adopt(arriving.path, digest)
            settled(digest)
        self._slices = {number: pieces for number in self._slices if (pieces := list(self._wanted_in(number)))}

    def _blame_or_refuse(self, arriving: _Arriving) -> None:
        covering = [
            number for number in range(1, self._index.parts + 1) if any(each.object == arriving.object for each in self._index.slices(number))
        ]
        healed = [number for number in covering if number in self._healed]
        if healed or self._seal.key is None:
            self._blame(arriving.object, covering, healed)
        else:
            self._refuse(arriving)

    def _refuse(self, arriving: _Arriving) -> None:
        digest, found = arriving.object.digest, arriving.digester.hexdigest()
        del self._arriving[digest]
        arriving.path.unlink()
        self.refused[digest] = TrustRefused(
            f"object {digest[:19]}… of set {self._index.set_id}: not what its statement says",
            why=f"its content has the digest sha256:{found}",
            hint="the medium is whole, so the station sealed other bytes than it signed; ask the publisher by phone",
        )

    def _blame(self, wrong: Object, covering: Sequence[int], healed: Sequence[int]) -> None:
        """Take back the parts of an object that are damaged where no seal tells.

        In a plain set those are the parts that ``SHA256SUMS`` names, else all that the object came from.  What came back by parity is wrong if
        any part it came from is; where none of them is known to be, the parity parts that helped are.
        """
        taken = {number: self._taken.pop(number) for number in covering if number in self._taken}
        named = (
            [number for number, folder in taken.items() if differs_from_sums(folder, self._seal.part_name(number))] if self._seal.key is None else []
        )
        bad = sorted({*named, *healed}) or list(covering)
        parity = set() if named else {number for each in healed for number in self._healed[each]}
        taken |= {number: self._taken.pop(number) for number in parity if number in self._taken}
        self._blamed.update((number, taken[number].path) for number in (*bad, *parity) if number in taken)
        touched = {piece.object.digest for number in bad for piece in self._slices.get(number, ())}
        for digest in touched & self._arriving.keys():  # what was hashed on the way may not be what is on disk in the end
            self._arriving[digest].digester, self._arriving[digest].hashed = new_digester(), 0
        self._done.difference_update(bad, parity)
        self.arrivals.remove(*bad, *parity)
        for number in healed:
            del self._healed[number]
        for number in parity:
            self.arrivals.parity_file(number).unlink(missing_ok=True)
        cause = "" if named else " after it came back by parity" if healed else "; any of its parts may be the cause"
        for number in bad:
            self.damaged[number] = MediumDamaged(
                f"part {number} of set {self._index.set_id}: damaged",
                why=f"object {wrong.digest[:19]}… has another digest{cause}",
                hint="sha256sum -c SHA256SUMS shows which file differs; copy the medium again or ask for a fresh export",
            )


def _refuse_odd_size(what: str, expected: int, found: int) -> None:
    if found != expected:
        raise MediumDamaged(
            f"{what}: {'incomplete' if found < expected else 'too long'}",
            why=f"expected {expected:,} bytes, found {found:,}",
            hint="if it is still being copied, wait and run the same command again; otherwise copy the medium again",
        )


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
