"""The index: what is in a set and where (signed as a DSSE payload, then sealed).

The objects stand one after another in the *logical stream*; part *k*, counted from 1, is its bytes from *(k − 1) · part size*.  So any part can be
opened alone, in any order, and says exactly which bytes of which object it fills.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from registry.content import canonical
from registry.content.digest import Digest, parse_digest
from registry.errors import FormatRefused

__all__ = ["MAX_INDEX_BYTES", "MAX_PARTS", "Index", "Object", "Slice", "parse_index"]

MAX_INDEX_BYTES = 64 << 20
MAX_OBJECTS = 100_000
MAX_PARTS = 10_000
MAX_PART_BYTES = (4 << 30) - (16 << 20)  # sealed it stays below FAT32's 4 GiB − 1
MIN_PART_BYTES = 1 << 20
_HEX64 = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True)
class Object:
    """One object of the logical stream; ``offset`` and ``size`` in bytes."""

    digest: Digest
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Slice:
    """The ``length`` bytes of ``object`` from ``start`` on that lie in one part."""

    object: Object
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Index:
    """Everything one export carries.

    ``header`` is the digest of the set's ``set.json``; ``created`` a UTC time; ``root`` the newest root version on the medium; ``sites`` the ids of
    the sites meant; ``statements`` the release statements byte for byte; ``checkpoint`` the sequence number and digest of the station's newest
    log event.  ``extensions`` is kept as it is read.
    """

    set_id: str
    header: Digest
    created: str
    publisher: str
    root: int
    sites: tuple[str, ...]
    statements: tuple[bytes, ...]
    objects: tuple[Object, ...]
    part_size: int
    checkpoint: tuple[int, Digest]
    extensions: Mapping[str, canonical.Json] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of the logical stream."""
        return self.objects[-1].offset + self.objects[-1].size if self.objects else 0

    @property
    def parts(self) -> int:
        """How many parts the stream fills."""
        return -(-self.size // self.part_size)

    def part_length(self, number: int) -> int:
        """Return the plaintext bytes of part ``number``, counted from 1."""
        return min(self.part_size, self.size - (number - 1) * self.part_size)

    def slices(self, number: int) -> Iterator[Slice]:
        """Yield what part ``number`` holds, in order."""
        begin = (number - 1) * self.part_size
        end = begin + self.part_length(number)
        for each in self.objects:
            first, last = max(begin, each.offset), min(end, each.offset + each.size)
            if first < last:
                yield Slice(each, first - each.offset, last - first)

    def to_bytes(self) -> bytes:
        """Return the canonical payload bytes."""
        return canonical.dump(
            {
                "v": 1,
                "set": self.set_id,
                "header": self.header,
                "created": self.created,
                "publisher": self.publisher,
                "root": self.root,
                "sites": list(self.sites),
                "statements": [base64.b64encode(each).decode("ascii") for each in self.statements],
                "objects": [{"digest": each.digest, "offset": each.offset, "size": each.size} for each in self.objects],
                "part_size": self.part_size,
                "parts": self.parts,
                "checkpoint": {"digest": self.checkpoint[1], "sequence": self.checkpoint[0]},
                "extensions": dict(self.extensions),
                "have": [],
                "withdrawals": [],
                "parity": [],
            }
        )


def parse_index(data: bytes, *, what: str) -> Index:
    """Return the index whose payload is ``data``.

    Raises:
        FormatRefused: anything that :meth:`Index.to_bytes` would not write: objects with gaps, an object twice, part counts that don't fit.
    """
    document = canonical.load(data, what=what, limit=MAX_INDEX_BYTES)
    try:
        index = Index(
            set_id=str(document["set"]),
            header=parse_digest(document["header"], what=what),
            created=str(document["created"]),
            publisher=_hex64(document["publisher"], what),
            root=_whole(document["root"], what),
            sites=tuple(_hex64(each, what) for each in document["sites"]),
            statements=tuple(base64.b64decode(each, validate=True) for each in document["statements"]),
            objects=_objects(document["objects"], what),
            part_size=_whole(document["part_size"], what),
            checkpoint=(_whole(document["checkpoint"]["sequence"], what), parse_digest(document["checkpoint"]["digest"], what=what)),
            extensions=dict(document["extensions"]),
        )
    except (KeyError, TypeError, binascii.Error, ValueError):
        raise FormatRefused(f"{what}: not an index of this format", why="a member is missing or has another type") from None
    if not MIN_PART_BYTES <= index.part_size <= MAX_PART_BYTES or index.parts > MAX_PARTS:
        raise FormatRefused(f"{what}: its parts are out of bounds", why=f"{index.parts} parts of {index.part_size} bytes")
    if index.to_bytes() != data:
        raise FormatRefused(
            f"{what}: not an index of this format",
            why="it has members that this airlock doesn't know",
            hint="update airlock on this machine first if the publisher's is newer",
        )
    return index


def _objects(value: Any, what: str) -> tuple[Object, ...]:
    objects = tuple(Object(parse_digest(each["digest"], what=what), each["offset"], _whole(each["size"], what)) for each in value)
    if len(objects) > MAX_OBJECTS or len({each.digest for each in objects}) != len(objects):
        raise FormatRefused(f"{what}: too many objects, or one of them twice")
    offset = 0
    for each in objects:
        if type(each.offset) is not int or each.offset != offset:
            raise FormatRefused(f"{what}: its objects leave a gap or overlap", why=f"expected offset {offset}, found {str(each.offset)[:20]}")
        offset += each.size
    return objects


def _whole(value: Any, what: str) -> int:
    if type(value) is not int or value < 1:
        raise FormatRefused(f"{what}: expected a whole number above 0", why=f"found {str(value)[:20]}")
    return value


def _hex64(value: Any, what: str) -> str:
    if not isinstance(value, str) or not _HEX64.match(value):
        raise FormatRefused(f"{what}: expected 64 lower-case hexadecimal digits", why=f"found {str(value)[:80]!r}")
    return value
