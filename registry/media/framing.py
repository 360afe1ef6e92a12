"""The stream in which a set goes through a one-way link: the files of a medium, each behind a header.

::

    airlock-stream-v1 <set id>                      the opening
    {"name":"metadata/1.root.json","size":1234}     a frame's header; then its 1,234 bytes
    …
    {"end":true}                                    the end

Opening, headers and end have 64 bytes each: one line of ASCII, filled up with blanks.  So a reader takes exactly what belongs to the stream and
not a byte beyond it.  The frames' order is fixed: roots, timestamp, snapshot, targets, perhaps ``medium.json``, then ``set.json``, the index, and
parts with growing numbers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from registry.content import canonical
from registry.errors import FormatRefused
from registry.media.sets import SET_ID

__all__ = ["END", "HEADER_BYTES", "STREAM_FORMAT", "Frame", "announce", "may_follow", "opening", "parse_frame", "parse_opening"]

STREAM_FORMAT = "airlock-stream-v1"
HEADER_BYTES = 64
"""Bytes of the opening, of each header, and of the end."""
_FIRST = "metadata/1.root.json"
_ROOT = re.compile(r"metadata/([1-9][0-9]{0,3})\.root\.json\Z")
_PART = re.compile(r"parts/(?!0{8})([0-9]{8})\.(sealed|plain)\Z")
_AFTER = {
    "metadata/timestamp.json": ("metadata/snapshot.json",),
    "metadata/snapshot.json": ("metadata/targets.json",),
    "metadata/targets.json": ("medium.json", "set.json"),
    "medium.json": ("set.json",),
    "set.json": ("index.sealed", "index.plain"),
}


@dataclass(frozen=True, slots=True)
class Frame:
    """What a header announces: a file's name below the set's folder, and its size in bytes, at least 1."""

    name: str
    size: int


def opening(set_id: str) -> bytes:
    """Return how the stream of a set begins."""
    return _line(f"{STREAM_FORMAT} {set_id}".encode("ascii"))


def announce(name: str, size: int) -> bytes:
    """Return the header of a frame of ``size`` bytes."""
    return _line(canonical.dump({"name": name, "size": size}))


def _line(text: bytes) -> bytes:
    assert len(text) < HEADER_BYTES, text
    return text.ljust(HEADER_BYTES - 1) + b"\n"


END = _line(canonical.dump({"end": True}))
"""How a stream ends."""


def parse_opening(data: bytes) -> str:
    """Return the set id that a stream's first 64 bytes name.

    Raises:
        FormatRefused: anything that :func:`opening` would not write.
    """
    word, _, set_id = data.decode("ascii", "replace").rstrip().partition(" ")
    if not word.startswith("airlock-stream-"):
        raise FormatRefused("this is no stream of airlock", why=f"it begins with {data[:24]!r}", hint="pipe in what airlock export --to - writes")
    if word != STREAM_FORMAT:
        raise FormatRefused("the stream needs another format", why=f"this airlock reads {STREAM_FORMAT}, found {word!r}", hint="update airlock first")
    if not SET_ID.match(set_id) or opening(set_id) != data:
        raise FormatRefused("the stream's opening is not in canonical form", why=f"found {data[:HEADER_BYTES]!r}")
    return set_id


def parse_frame(data: bytes, *, what: str) -> Frame | None:
    """Return the frame that 64 bytes announce, or None for the end of the stream.

    Raises:
        FormatRefused: anything that :func:`announce` would not write.
    """
    if data == END:
        return None
    document = canonical.load(data[:-1].rstrip(b" "), what=what, limit=HEADER_BYTES)
    if isinstance(document, dict) and isinstance(document.get("name"), str) and type(document.get("size")) is int:
        frame = Frame(document["name"], document["size"])
        if frame.size > 0 and announce(frame.name, frame.size) == data:
            return frame
    raise FormatRefused(f"{what}: neither a frame nor the end", why=f"found {data[:HEADER_BYTES]!r}")


def may_follow(name: str | None, before: str | None) -> bool:
    """Tell whether a frame may come after another one.

    Args:
        name: the file it carries; None is the end.
        before: the file of the frame before it; None is the opening.
    """
    if before is None:
        return name == _FIRST
    if root := _ROOT.match(before):
        return name in (f"metadata/{int(root[1]) + 1}.root.json", "metadata/timestamp.json")
    if before in _AFTER:
        return name in _AFTER[before]
    if name is None:
        return True
    part, last = _PART.match(name), _PART.match(before)
    suffix, number = (last[2], last[1]) if last else (before.partition(".")[2], "")
    return part is not None and part[2] == suffix and part[1] > number
