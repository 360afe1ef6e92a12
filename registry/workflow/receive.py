"""Receiving: parts from media become blobs in the store, or nothing.

Plaintext goes to ``incoming/<hex>``, one file per object, at its place.  A part that was opened to its end is recorded once its bytes are on disk,
so that the same command continues after any interruption.  An object gets its name in the store only after its SHA-256 was compared.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from registry.content.digest import Digest, hex_of
from registry.errors import MediumDamaged, TrustRefused
from registry.media.index import Index, Object
from registry.media.parity import Group
from registry.media.ring import Ring
from registry.media.seal import PartReader, Seal
from registry.media.stream import SEGMENT_BYTES, Source
from registry.store.blobs import LocalBlobStore
from registry.store.files import new_file, storage_errors, write_all, write_steadily
from registry.store.medium import SetFolder, differs_from_sums
from registry.workflow.arrivals import Arrivals
from registry.workflow.healing import Healer
from registry.workflow.incoming import Arriving, Incoming
from registry.workflow.progress import Advance, Progress

__all__ = ["Receiver"]

Settled = Callable[[Digest], None]
"""Is told each object that has come into the store."""


class Receiver:
    """Takes the parts of one set.

    Args:
        incoming: the directory for what is not whole yet.
        blobs: where whole objects go.
        index: the set's verified index.
        seal: how its files are sealed.
    """

    def __init__(self, incoming: Path, blobs: LocalBlobStore, index: Index, seal: Seal) -> None:
        self._incoming = Incoming(incoming, blobs, index)
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
        self._done = {number for number in self.arrivals.done if self._still_here(number)}

    @property
    def missing(self) -> list[int]:
        """The parts that are still needed."""
        return sorted(self._incoming.wanted.keys() - self._done)

    @property
    def healed(self) -> list[int]:
        """The parts that came back by parity."""
        return sorted(self._healed)

    @property
    def bytes_to_come(self) -> int:
        """Plaintext bytes that must still be written to our disk."""
        return sum(each.length for number in self.missing for each in self._incoming.wanted[number])

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
        with self._store():
            self._incoming.directory.mkdir(mode=0o700, exist_ok=True)
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

    def _still_here(self, number: int) -> bool:
        """Tell whether what a part filled in an earlier run is still there."""
        if number > self._index.parts:
            return self.arrivals.parity_file(number).exists()
        return self._incoming.filled(number)

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

    def _store(self) -> AbstractContextManager[None]:
        return storage_errors(f"the store {self._incoming.directory.parent}")

    def _record(self, *numbers: int) -> None:
        self._done.update(numbers)
        self.arrivals.add(*numbers)
        for number in numbers:
            self.damaged.pop(number, None)

    def _take(self, number: int, source: Source, ring: Ring, advance: Advance) -> None:
        """Open one part to its end, write what is wanted of it, and make that durable."""
        reader = self._reader(number, source)
        with ExitStack() as stack:
            files = self._incoming.open_files(number, stack)
            offset = 0
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
                for each in self._incoming.stretches(number, offset, segment):
                    if each.arriving.to_hash(each.start, len(each.data)):
                        jobs.append((each.arriving.digester, each.data))
                    each.write(files)
                    write_steadily(files[each.arriving.object.digest], each.start, len(each.data))
                ring.hand_over(buffer, jobs)
                offset += len(segment)
                advance(len(segment))
            for descriptor in files.values():
                os.fsync(descriptor)

    def _reader(self, number: int, source: Source) -> PartReader:
        with storage_errors(f"part {number} of set {self._index.set_id}", kind=MediumDamaged):
            return self._seal.part_reader(source, self._index.part_length(number), number)

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
        with self._store(), new_file(self.arrivals.parity_file(number), mode=0o600) as sink:
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
        with progress.task("healing by parity", total) as advance, Healer(self._index, self._incoming) as healer:
            for group, here in healing:
                missing = [number for number in group.data if number in self.missing]
                parity = {number: self.arrivals.parity_file(number) for number in here if number > self._index.parts}
                healer.heal(group, missing, [number for number in here if number not in parity], parity, advance)
                self._record(*missing)
                self._healed |= {number: tuple(parity) for number in missing}
        return bool(healing)

    def _usable(self, group: Group) -> list[int]:
        """Return parts and parity parts that are here, at most as many as the group has parts."""
        refused = {number for number in group.data if any(each.object.digest in self.refused for each in self._index.slices(number))}
        parts = [number for number in group.data if number not in self.missing and number not in refused]
        return [*parts, *(number for number in group.parity if number in self._done)][: len(group.data)]

    def _settle(self, ring: Ring, settled: Settled) -> None:
        """Move every object whose last byte is there into the store."""
        waiting = {each.object.digest for number in self.missing for each in self._incoming.wanted[number]}
        ring.settle()
        for digest, arriving in list(self._incoming.objects.items()):
            if digest in waiting:
                continue  # nothing of it is hashed from disk before its last byte is there
            with self._store():
                arriving.hash_file()
                if arriving.digester.hexdigest() != hex_of(digest):
                    self._blame_or_refuse(arriving)
                    continue  # one bad object holds back the releases that need it, and no others
                self._incoming.adopt(arriving)
            settled(digest)

    def _blame_or_refuse(self, arriving: Arriving) -> None:
        covering = self._index.parts_of(arriving.object)
        healed = [number for number in covering if number in self._healed]
        if healed or self._seal.key is None:
            self._blame(arriving.object, covering, healed)
        else:
            self._refuse(arriving)

    def _refuse(self, arriving: Arriving) -> None:
        digest, found = arriving.object.digest, arriving.digester.hexdigest()
        self._incoming.refuse(arriving)
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
        for each in {piece.object.digest for number in bad for piece in self._incoming.wanted.get(number, ())}:
            self._incoming.objects[each].forget_hash()
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
