"""How the files of one set lie on a medium: sealed to its recipients, or plain.

A plain set (``export --no-seal``) is for media that are encrypted themselves.  Its files hold the same bytes without the sealed stream around them,
under names that end in ``.plain``; nothing else changes.  What a seal would notice in a part, the digests of the objects notice.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Protocol

from registry.errors import MediumDamaged
from registry.media.stream import SEGMENT_BYTES, Opener, Sealer, Source, associated_data, open_bytes, seal_bytes, sealed_size

__all__ = ["PartReader", "PartWriter", "Seal"]


class PartWriter(Protocol):
    """Writes one part: fill a view of exactly :attr:`wants` bytes, hand it to :meth:`seal`, until it is :attr:`done`."""

    @property
    def wants(self) -> int:
        """Plaintext bytes of the next segment."""

    @property
    def done(self) -> bool:
        """Whether the last segment has been written."""

    def seal(self, segment: memoryview) -> None:
        """Write the next segment."""


class PartReader(Protocol):
    """Reads one part: give a view of exactly :attr:`gives` bytes to :meth:`open`, until it is :attr:`done`."""

    @property
    def gives(self) -> int:
        """Plaintext bytes of the next segment."""

    @property
    def done(self) -> bool:
        """Whether the last segment has been read."""

    def open(self, into: memoryview) -> None:
        """Read the next segment."""

    def copy(self, sink: Callable[[memoryview], object], buffer: memoryview) -> None:
        """Read every segment that is left and hand each to ``sink``."""


@dataclass(frozen=True, slots=True, repr=False)
class Seal:
    """The seal of one set: its key of 32 bytes, or None for a plain set."""

    set_id: str
    key: bytes | None

    @property
    def index_name(self) -> str:
        """The name of the index below the set's folder."""
        return "index.plain" if self.key is None else "index.sealed"

    def part_name(self, number: int) -> str:
        """Return the name of part ``number`` below the set's folder, such as ``parts/00000001.sealed``."""
        return f"parts/{number:08d}.{'plain' if self.key is None else 'sealed'}"

    def size(self, plain: int) -> int:
        """Return how many bytes a file of ``plain`` bytes of content has."""
        return plain if self.key is None else sealed_size(plain)

    def part_writer(self, sink: IO[bytes], plain: int, number: int) -> PartWriter:
        """Return what writes part ``number``, of ``plain`` bytes, into ``sink``."""
        return _Plain(sink, plain) if self.key is None else Sealer(sink, plain, self.key, associated_data(self.set_id, "part", number))

    def part_reader(self, source: Source, plain: int, number: int) -> PartReader:
        """Return what reads part ``number``, of ``plain`` bytes, from ``source``, unbuffered.

        Raises (while reading):
            MediumDamaged: cut, longer than expected, or, in a sealed set, changed in any bit.
        """
        what = f"part {number} of set {self.set_id}"
        if self.key is None:
            return _Unsealed(source, plain, what)
        return Opener(source, plain, self.key, associated_data(self.set_id, "part", number), what=what)

    def index_file(self, envelope: bytes) -> bytes:
        """Return the content of the index's file around ``envelope``."""
        if self.key is None:
            return envelope
        sink = io.BytesIO()
        seal_bytes(sink, envelope, self.key, associated_data(self.set_id, "index", 0))
        return sink.getvalue()

    def open_index(self, source: Source, size: int, *, limit: int) -> bytes:
        """Return the index's envelope from a file of ``size`` bytes, at most ``limit`` bytes of it."""
        what = f"set {self.set_id}: index"
        if self.key is not None:
            return open_bytes(source, size, self.key, associated_data(self.set_id, "index", 0), what=what, limit=limit)
        if size > limit:
            raise _damaged(what, f"it holds {size} bytes, at most {limit} are allowed")
        out = bytearray()
        _Unsealed(source, size, what).copy(out.extend, memoryview(bytearray(SEGMENT_BYTES)))
        return bytes(out)


class _Plain:
    """A part without a seal, on its way out."""

    def __init__(self, sink: IO[bytes], plain: int) -> None:
        self._sink, self._left = sink, plain

    @property
    def wants(self) -> int:
        return min(self._left, SEGMENT_BYTES)

    @property
    def done(self) -> bool:
        return self._left == 0

    def seal(self, segment: memoryview) -> None:
        self._left -= len(segment)
        while segment:
            segment = segment[self._sink.write(segment) :]


class _Unsealed:
    """A part without a seal, on its way in."""

    def __init__(self, source: Source, plain: int, what: str) -> None:
        self._source, self._left, self._what = source, plain, what

    @property
    def gives(self) -> int:
        return min(self._left, SEGMENT_BYTES)

    @property
    def done(self) -> bool:
        return self._left == 0

    def open(self, into: memoryview) -> None:
        self._left -= len(into)
        while into:
            count = self._source.readinto(into)
            if not count:
                raise _damaged(self._what, "it is shorter than its index says")
            into = into[count:]
        if self.done and self._source.read(1):
            raise _damaged(self._what, "it is longer than its index says")

    def copy(self, sink: Callable[[memoryview], object], buffer: memoryview) -> None:
        while not self.done:
            room = buffer[: self.gives]
            self.open(room)
            sink(room)


def _damaged(what: str, why: str) -> MediumDamaged:
    return MediumDamaged(f"{what}: damaged", why=why, hint="copy the medium again or ask for a fresh export; parts that arrived well are kept")
