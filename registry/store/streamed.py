"""A set that comes as a stream: the counterpart of a set's folder, for what can't be read twice.

The small files are kept in memory.  Parts are handed out as they come; what is not asked for is read over.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from registry.errors import AirlockError, FormatRefused, MediumDamaged
from registry.media.framing import HEADER_BYTES, Frame, may_follow, parse_frame, parse_opening
from registry.media.sets import FOLDER
from registry.media.stream import SEGMENT_BYTES, Source
from registry.store.files import storage_errors
from registry.store.medium import OpenFile, SetFolder, find_sets, limit_of

__all__ = ["MAX_SMALL_BYTES", "STREAM", "Inlet", "StreamedSet", "sets_at"]

STREAM = Path("-")
"""What a stream is called in the place of a medium's directory."""
MAX_SMALL_BYTES = 256 << 20
"""Of everything before the parts: it is kept in memory."""


@dataclass(frozen=True, slots=True)
class Inlet:
    """The end of a one-way link from which a stream comes, unbuffered."""

    source: Source


def sets_at(medium: Path | Inlet) -> list[SetFolder]:
    """Return the sets on a medium, newest first, or the one that a stream brings.

    Raises:
        NotFound: as :func:`find_sets`.
        FormatRefused: a medium as :func:`find_sets`; what comes is no stream of airlock, or its files are in no order that airlock writes.
        MediumDamaged: the medium can't be read; the stream ended before its parts.
    """
    return [_begin(Frames(medium.source))] if isinstance(medium, Inlet) else find_sets(medium)


class Frames:
    """Reads a stream frame by frame.

    ``frame`` is the one whose content comes next, None after the end and where the stream is broken; ``broken`` then says how.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._left = 0
        self._before: str | None = None
        self._what = "the stream"
        self.frame: Frame | None = None
        self.broken: AirlockError | None = None
        self.set_id = parse_opening(self._line())
        self._what = f"set {self.set_id}: the stream"
        self.advance()

    @property
    def untouched(self) -> bool:
        """Whether no byte of the frame's content was read yet."""
        return self.frame is not None and self._left == self.frame.size

    def advance(self, told: Callable[[int], None] = lambda _: None) -> None:
        """Read over what is left of this frame, then the header of the next one; ``told`` hears how many bytes are read over.

        Raises:
            FormatRefused: it is no frame, or one that can't stand here.
            MediumDamaged: the stream ended early.
        """
        scratch = memoryview(bytearray(min(self._left, SEGMENT_BYTES)))
        while self._left:
            told(self.readinto(scratch))
        line = self._line()
        try:
            frame = parse_frame(line, what=self._what)
            self._refuse_misplaced(frame)
        except FormatRefused as refusal:
            self._break(refusal)
            raise
        self.frame = frame
        if frame:
            self._left, self._before = frame.size, frame.name

    def readinto(self, into: memoryview) -> int:
        """Fill ``into`` with content of this frame as far as possible; return the number of bytes, 0 at its end.

        Raises:
            MediumDamaged: the stream ended early, or can't be read.
        """
        room = into[: self._left]
        if not room or self.frame is None:
            return 0
        count = self._fill(room, f"{self.frame.name} breaks off after {self.frame.size - self._left:,} of {self.frame.size:,} bytes")
        self._left -= count
        return count

    def _line(self) -> bytes:
        line = bytearray(HEADER_BYTES)
        filled = 0
        while filled < HEADER_BYTES:
            why = "not even its first line came" if self._before is None else f"neither a part nor the end came after {self._before}"
            filled += self._fill(memoryview(line)[filled:], why)
        return bytes(line)

    def _fill(self, room: memoryview, otherwise: str) -> int:
        try:
            with storage_errors(self._what, kind=MediumDamaged):
                count = self._source.readinto(room)
        except MediumDamaged as damage:
            self._break(damage)
            raise
        if count:
            return count
        hint = "what arrived whole is kept; outside, run the export again: it sends the whole set"
        cut = MediumDamaged(f"{self._what} ended early", why=otherwise, hint=hint)
        self._break(cut)
        raise cut

    def _break(self, error: AirlockError) -> None:
        self.broken, self.frame, self._left = error, None, 0

    def _refuse_misplaced(self, frame: Frame | None) -> None:
        if not may_follow(frame.name if frame else None, self._before):
            why = f"{repr(frame.name) if frame else 'the end'} can't come {f'after {self._before}' if self._before else 'first'}"
            raise FormatRefused(f"{self._what}: not as airlock writes it", why=why)
        if frame and frame.size > (limit := limit_of(frame.name)):
            raise FormatRefused(
                f"{self._what}: {frame.name} is larger than any airlock writes", why=f"at most {limit} bytes are allowed, found {frame.size}"
            )


class _Content:
    """The content of the frame that comes next."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave what was not read: the next frame's reader reads over it."""

    def readable(self) -> bool:
        return True

    def readinto(self, into: bytearray | memoryview, /) -> int:
        return self._frames.readinto(memoryview(into))

    def read(self, size: int, /) -> bytes:
        buffer = bytearray(size)
        return bytes(buffer[: self.readinto(buffer)])


@dataclass(frozen=True, slots=True)
class StreamedSet(SetFolder):
    """A set that comes as a stream; ``small`` is the content of everything but the parts."""

    small: Mapping[str, bytes] = field(kw_only=True)
    frames: Frames = field(kw_only=True)

    def read(self, name: str, limit: int) -> bytes:
        """As :meth:`SetFolder.read`."""
        if name.lower() not in self.small:
            raise FormatRefused(f"set {self.set_id}: {name} is missing", why="the stream doesn't bring it")
        data = self.small[name.lower()]
        if len(data) > limit:
            raise MediumDamaged(f"set {self.set_id}: {name}: larger than any airlock writes", why=f"at most {limit} bytes are allowed")
        return data

    def size(self, name: str) -> int | None:
        """Return how many bytes a file has; read over the parts before it.  None where it doesn't come, or came before."""
        if name in self.small:
            return len(self.small[name])
        while self.frames.frame and self.frames.frame.name < name:
            self._advance(lambda _: None)
        frame = self.frames.frame
        return frame.size if frame and frame.name == name and self.frames.untouched else None

    def open(self, name: str) -> OpenFile:
        """As :meth:`SetFolder.open`; of the parts only the one whose :meth:`size` was asked for last."""
        if name in self.small:
            return io.BytesIO(self.small[name])
        return _Content(self.frames)

    def end(self, advance: Callable[[int], None]) -> AirlockError | None:
        """Read on to the end, and return how the stream is broken, if it is; ``advance`` is told how much is read over for that."""
        while self.frames.frame:
            self._advance(advance)
        return self.frames.broken

    def _advance(self, told: Callable[[int], None]) -> None:
        with contextlib.suppress(FormatRefused, MediumDamaged):  # end() returns it
            self.frames.advance(told)


def _begin(frames: Frames) -> StreamedSet:
    """Read everything before the parts into memory."""
    small: dict[str, bytes] = {}
    while (frame := frames.frame) and not frame.name.startswith("parts/"):
        if sum(map(len, small.values())) + frame.size > MAX_SMALL_BYTES:
            raise FormatRefused(
                f"set {frames.set_id}: the stream: what comes before the parts is too large", why=f"at most {MAX_SMALL_BYTES} bytes are allowed"
            )
        content = memoryview(bytearray(frame.size))
        filled = 0
        while filled < frame.size:
            filled += frames.readinto(content[filled:])
        small[frame.name] = bytes(content)
        frames.advance()
    path = STREAM / FOLDER / frames.set_id
    files = {name: (path / name, len(data)) for name, data in small.items()}
    return StreamedSet(frames.set_id, path, files, small=small, frames=frames)
