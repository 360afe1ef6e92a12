"""Parts: the logical stream sealed into files, and checked again where they lie.

One pass: a byte is read once, hashed in a second thread, sealed and written once.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import IO

from registry.content.digest import Digest, hex_of
from registry.errors import MediumDamaged, NotFound, TrustRefused
from registry.media.index import Index, Object, Slice
from registry.media.ring import Digester, Ring, new_digester
from registry.media.sets import part_name
from registry.media.stream import SEGMENT_BYTES, Opener, Sealer, Source, associated_data, sealed_size
from registry.store.files import drop_cache, new_file, storage_errors
from registry.workflow.progress import Advance

__all__ = ["Parts"]

_Work = list[tuple[Slice, Digester]]
"""The slices of one part in order, each with the digester of its object."""


class _Sources:
    """Reads the logical stream from where each object lies, keeping one file open at a time."""

    def __init__(self, paths: Mapping[Digest, Path]) -> None:
        self._paths = paths
        self._open: tuple[Digest, IO[bytes]] | None = None

    def fill(self, piece: Slice, offset: int, into: memoryview) -> None:
        """Read exactly ``len(into)`` bytes of the piece's object, from ``offset`` within the piece on."""
        path = self._paths[piece.object.digest]
        with storage_errors(f"the source {path}"):  # its trouble is not the medium's
            stream = self._stream(piece.object)
            stream.seek(piece.start + offset)
            while into:
                count = stream.readinto(into)  # type: ignore[attr-defined]
                if not count:
                    raise _changed(piece.object, path, "it is shorter now")
                into = into[count:]

    def close(self) -> None:
        """Close the file that is open."""
        if self._open:
            self._open[1].close()
            self._open = None

    def _stream(self, wanted: Object) -> IO[bytes]:
        if self._open is None or self._open[0] != wanted.digest:
            self.close()
            path = self._paths[wanted.digest]
            try:
                stream = path.open("rb", buffering=0)
            except OSError as error:
                raise NotFound(f"{path}: can't be read", why=str(error.strerror), hint="put the file back, or pin the model again") from error
            if os.fstat(stream.fileno()).st_size != wanted.size:
                stream.close()
                raise _changed(wanted, path, f"it has another size than the pin's {wanted.size} bytes")
            self._open = (wanted.digest, stream)
        return self._open[1]


class Parts:
    """The parts of one set in one folder.

    Args:
        folder: the set's folder on the medium.
        index: what is in the set.
        set_key: 32 bytes.
    """

    def __init__(self, folder: Path, index: Index, set_key: bytes) -> None:
        self.folder = folder
        self.index = index
        self._set_key = set_key

    def write(self, sources: Mapping[Digest, Path], advance: Advance) -> None:
        """Write every part that is not there yet, checking each object against its digest on the way.

        Parts that are there already are opened instead of written, so that an interrupted export continues.

        Raises:
            TrustRefused: a source no longer holds what was pinned; the parts that took from it are removed again.
            NotFound: a source is not there.
            MediumDamaged: the medium is full, read-only, or gone.
        """
        hashing: dict[Digest, Digester] = {}
        with ExitStack() as stack:
            ring = stack.enter_context(Ring(SEGMENT_BYTES))
            reader = _Sources(sources)
            stack.callback(reader.close)
            for number in range(1, self.index.parts + 1):
                work = [(each, hashing.setdefault(each.object.digest, new_digester())) for each in self.index.slices(number)]
                if self._is_whole(number):
                    self._rehash(number, ring, work, advance)
                else:
                    self._seal(number, ring, work, reader, advance)
                ring.settle()
                for each, digester in work:
                    if each.start + each.length == each.object.size and digester.hexdigest() != hex_of(each.object.digest):
                        self._remove_parts_of(each.object)
                        raise _changed(each.object, sources[each.object.digest], "its content is no longer what was pinned")

    def read_back(self, advance: Advance) -> dict[str, str]:
        """Read every part from the device, past the page cache, and open every segment; return each name's SHA-256 in hexadecimal.

        Raises:
            MediumDamaged: the medium gives back other bytes than were written.
        """
        sums: dict[str, str] = {}
        buffer = memoryview(bytearray(SEGMENT_BYTES))
        for number in range(1, self.index.parts + 1):
            with self._medium(), self._path(number).open("rb", buffering=0) as stream:
                os.fsync(stream.fileno())
                drop_cache(stream.fileno())
                hashing = _HashedReads(stream)
                self._opener(number, hashing).copy(lambda view: advance(len(view)), buffer)
            sums[part_name(number)] = hashing.sha256.hexdigest()
        return sums

    def _seal(self, number: int, ring: Ring, work: _Work, reader: _Sources, advance: Advance) -> None:
        with self._medium(), new_file(self._path(number)) as sink:
            sealer = Sealer(sink, self.index.part_length(number), self._set_key, associated_data(self.index.set_id, "part", number))
            cursor = _Cursor(work)
            while not sealer.done:
                buffer = ring.take()
                segment = buffer[: sealer.wants]
                jobs = []
                for piece, offset, view, digester in cursor.over(segment):
                    reader.fill(piece, offset, view)
                    jobs.append((digester, view))
                ring.hand_over(buffer, jobs)
                sealer.seal(segment)
                advance(len(segment))

    def _is_whole(self, number: int) -> bool:
        """Tell whether a part of an interrupted export is there and good."""
        path = self._path(number)
        if not path.exists() or path.stat().st_size != sealed_size(self.index.part_length(number)):
            return False
        try:
            with self._medium(), path.open("rb", buffering=0) as stream:
                self._opener(number, stream).copy(lambda _: None, memoryview(bytearray(SEGMENT_BYTES)))
        except MediumDamaged:
            return False
        return True

    def _rehash(self, number: int, ring: Ring, work: _Work, advance: Advance) -> None:
        """Feed the plaintext of a part that is there to the digesters."""
        with self._medium(), self._path(number).open("rb", buffering=0) as stream:
            opener = self._opener(number, stream)
            cursor = _Cursor(work)
            while not opener.done:
                buffer = ring.take()
                segment = buffer[: opener.gives]
                opener.open(segment)
                ring.hand_over(buffer, [(digester, view) for _, _, view, digester in cursor.over(segment)])
                advance(len(segment))

    def _opener(self, number: int, source: Source) -> Opener:
        label = f"part {number} of set {self.index.set_id}"
        return Opener(source, self.index.part_length(number), self._set_key, associated_data(self.index.set_id, "part", number), what=label)

    def _path(self, number: int) -> Path:
        return self.folder / part_name(number)

    def _remove_parts_of(self, wrong: Object) -> None:
        """Remove every part that holds bytes of an object which turned out to be another one."""
        for number in range(1, self.index.parts + 1):
            if any(each.object.digest == wrong.digest for each in self.index.slices(number)):
                self._path(number).unlink(missing_ok=True)

    def _medium(self) -> AbstractContextManager[None]:
        return storage_errors(f"the medium {self.folder}", kind=MediumDamaged)


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


class _HashedReads:
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


def _changed(wanted: Object, path: Path, why: str) -> TrustRefused:
    return TrustRefused(
        f"{path}: no longer matches its pin",
        why=f"{why} ({wanted.digest})",
        hint="put the pinned file back and run the same command again; or pin what is there now: airlock pin NAME --from …",
    )
