"""Bases: what a set leaves out must be here, whole, before anything is made of it; what was adopted is taken into the store on the way."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from io import FileIO

from registry.content.digest import Digest, hex_of
from registry.errors import MediumDamaged
from registry.media.index import Held, Index
from registry.sources.old_shares import open_unlinked
from registry.store.files import new_file, storage_errors, write_all
from registry.trust.verifier import VerifiedRelease
from registry.workflow.adopted import AdoptedFile, read_adopted
from registry.workflow.progress import Advance, Progress
from registry.workflow.site import OpenSite

__all__ = ["Bases", "Checked"]

_CHUNK = 4 << 20
_WITHOUT = "or ask the publisher for an export without --since"


@dataclass(frozen=True, slots=True)
class Checked:
    """The releases whose left-out objects are all here, a refusal for each of the others, and what came into the store on the way."""

    releases: tuple[VerifiedRelease, ...]
    refused: tuple[MediumDamaged, ...]
    copied: frozenset[Digest]


@dataclass(frozen=True, slots=True)
class _Lacking:
    """Why an object that was left out can't be used, and what helps."""

    why: str
    hint: str


@dataclass(slots=True)
class Bases:
    """Checks what sets leave out, each object once per import, however many sets leave it out."""

    site: OpenSite
    progress: Progress
    _whole: set[Digest] = field(default_factory=set)

    def check(self, index: Index, wanted: Sequence[VerifiedRelease]) -> Checked:
        """Return which of ``wanted`` can be made of what the set carries and what is here.

        Raises:
            StoreFailed: our own disk is full or failing.
        """
        held = [each for each in _needed(index, wanted) if each.digest not in self._whole]
        if not held:
            return Checked(tuple(wanted), (), frozenset())
        lacking: dict[Digest, _Lacking] = {}
        copied: set[Digest] = set()
        with self.progress.task("checking what was left out", sum(each.size for each in held)) as advance:
            for each in held:
                found = self._check_stored(each, advance) if self.site.blobs.path(each.digest).exists() else self._adopt(each, advance, copied)
                if found is None:
                    self._whole.add(each.digest)
                else:
                    lacking[each.digest] = found
        usable = tuple(each for each in wanted if not any(blob.digest in lacking for blob in each.release.carried))
        for digest in copied - {blob.digest for each in usable for blob in each.release.carried}:
            copied.discard(digest)
            self._whole.discard(digest)
            self.site.blobs.remove(digest)  # for refused releases only: nothing of them stays
        return Checked(usable, tuple(_refusal(index, each, lacking) for each in wanted if each not in usable), frozenset(copied))

    def look(self, index: Index, wanted: Sequence[VerifiedRelease]) -> tuple[MediumDamaged, ...]:
        """Return what :meth:`check` would surely refuse, from names and sizes alone; nothing is hashed and nothing is copied."""
        adopted = read_adopted(self.site.home) if index.have else {}
        lacking = {
            each.digest: _Lacking("it is not in the store", _remedy(each))
            for each in _needed(index, wanted)
            if not self.site.blobs.holds(each.digest, each.size) and not (each.digest in adopted and adopted[each.digest].is_unchanged())
        }
        return tuple(_refusal(index, each, lacking) for each in wanted if any(blob.digest in lacking for blob in each.release.carried))

    def _check_stored(self, held: Held, advance: Advance) -> _Lacking | None:
        path = self.site.blobs.path(held.digest)
        sha256, size = hashlib.sha256(), 0
        with storage_errors(f"the store {self.site.home.root}"), open_unlinked(path) as stream:
            for chunk in _chunks(stream, advance):
                sha256.update(chunk)
                size += len(chunk)
        if (sha256.hexdigest(), size) == (hex_of(held.digest), held.size):
            return None
        return _Lacking(f"the store has it, damaged: {size:,} bytes with the digest sha256:{sha256.hexdigest()}", f"rm {path}\n{_remedy(held)}")

    def _adopt(self, held: Held, advance: Advance, copied: set[Digest]) -> _Lacking | None:
        """Take an adopted file into the store, if there is one."""
        file = read_adopted(self.site.home).get(held.digest)
        if file is None:
            return _Lacking("it is not in the store", _remedy(held))
        if file.size != held.size or not self._copy(file, held.digest, advance):
            return _Lacking(
                f"it was adopted from {file.path}, which has changed since or is gone", f"airlock adopt DIR   # where it lies now\n{_WITHOUT}"
            )
        copied.add(held.digest)
        return None

    def _copy(self, file: AdoptedFile, digest: Digest, advance: Advance) -> bool:
        """Copy a file into the store, hashed on the way; tell whether it is what it was adopted as."""
        incoming = self.site.home.incoming
        arriving = incoming / f"{hex_of(digest)}.adopted"
        try:
            source = open_unlinked(file.path)
        except OSError:
            return False
        sha256 = hashlib.sha256()
        with source, storage_errors(f"the store {self.site.home.root}"):
            incoming.mkdir(mode=0o700, exist_ok=True)
            with new_file(arriving, mode=0o600) as sink:
                for chunk in _chunks(source, advance):
                    sha256.update(chunk)
                    write_all(sink, chunk)
            if sha256.hexdigest() != hex_of(digest):
                arriving.unlink()
                return False
            self.site.blobs.adopt(arriving, digest)
        return True


def _needed(index: Index, wanted: Sequence[VerifiedRelease]) -> list[Held]:
    digests = {blob.digest for each in wanted for blob in each.release.carried}
    return [each for each in index.have if each.digest in digests]


def _chunks(stream: FileIO, advance: Advance) -> Iterator[memoryview]:
    """Yield what can be read; what can't be has another digest than it should, and that is found out anyway."""
    buffer = memoryview(bytearray(_CHUNK))
    with suppress(OSError):
        while count := stream.readinto(buffer):
            advance(count)
            yield buffer[:count]


def _remedy(held: Held) -> str:
    first = f"import set {held.set_id} first, then this one again" if held.set_id else "airlock adopt DIR   # where its file lies, then import again"
    return f"{first}\n{_WITHOUT}"


def _refusal(index: Index, verified: VerifiedRelease, lacking: Mapping[Digest, _Lacking]) -> MediumDamaged:
    """Return the refusal of a release: which of its blobs are lacking, which set brings each, and what helps."""
    held = {each.digest: each for each in index.have}
    missing = [held[blob.digest] for blob in verified.release.carried if blob.digest in lacking]
    lines = [f"{each.digest} ({each.size:,} bytes) is left out of set {index.set_id}: {lacking[each.digest].why}" for each in missing]
    hints = dict.fromkeys(line for each in missing for line in lacking[each.digest].hint.splitlines() if line != _WITHOUT)
    return MediumDamaged(
        f"{verified.release.name}: what it is based on is missing here",
        why="\n".join(lines),
        hint="\n".join([*hints, _WITHOUT]),
        details={"missing": [{"digest": each.digest, "size": each.size, "set": each.set_id} for each in missing]},
    )
