"""The index: what is in a set and where (signed as a DSSE payload, then sealed).

The objects stand one after another in the *logical stream*; part *k*, counted from 1, is its bytes from *(k − 1) · part size*.  So any part can be
opened alone, in any order, and says exactly which bytes of which object it fills.  Parity parts are numbered after them.
"""

from __future__ import annotations

import base64
import binascii
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from registry.content import canonical
from registry.content.digest import Digest, parse_digest
from registry.errors import FormatRefused
from registry.media.parity import MAX_SHARES, Group
from registry.media.sets import SET_ID

__all__ = ["MAX_INDEX_BYTES", "MAX_PARTS", "Held", "Index", "Object", "Slice", "parse_index"]

MAX_INDEX_BYTES = 64 << 20
MAX_OBJECTS = 100_000
MAX_PARTS = 10_000
MAX_PART_BYTES = (4 << 30) - (16 << 20)  # sealed it stays below FAT32's 4 GiB − 1
MIN_PART_BYTES = 1 << 20
_HEX64 = re.compile(r"[0-9a-f]{64}\Z")
_BY_PHONE = "the station signed it so; ask the publisher by phone"


@dataclass(frozen=True, slots=True)
class Object:
    """One object of the logical stream; ``offset`` and ``size`` in bytes."""

    digest: Digest
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Held:
    """An object that is left out because every site meant holds it; ``set_id`` is the set that brought it, None where no set did."""

    digest: Digest
    size: int
    set_id: str | None


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
    log event.  ``have`` names the objects that are left out, ``parity`` the groups over which the parity parts are.  ``extensions`` is kept as it is
    read.
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
    have: tuple[Held, ...] = ()
    parity: tuple[Group, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of the logical stream."""
        return self.objects[-1].offset + self.objects[-1].size if self.objects else 0

    @property
    def parts(self) -> int:
        """How many parts the stream fills."""
        return -(-self.size // self.part_size)

    @property
    def numbers(self) -> range:
        """The numbers of all parts, then of all parity parts."""
        return range(1, self.parts + sum(len(each.parity) for each in self.parity) + 1)

    def group_of(self, number: int) -> Group | None:
        """Return the group to which a part or a parity part belongs, or None."""
        return next((each for each in self.parity if number in each.data or number in each.parity), None)

    def part_length(self, number: int) -> int:
        """Return the plaintext bytes of part ``number``, counted from 1; a parity part is as long as the longest of its group."""
        if number > self.parts:
            group = self.group_of(number)
            assert group is not None
            number = group.data[0]
        return min(self.part_size, self.size - (number - 1) * self.part_size)

    def parts_of(self, wanted: Object) -> range:
        """Return the numbers of the parts over which an object is spread."""
        return range(wanted.offset // self.part_size + 1, (wanted.offset + wanted.size - 1) // self.part_size + 2)

    def slices(self, number: int) -> Iterator[Slice]:
        """Yield what part ``number`` holds, in order."""
        begin = (number - 1) * self.part_size
        end = begin + self.part_length(number)
        place = bisect_right(self.objects, begin, key=lambda each: each.offset) - 1
        for each in islice(self.objects, place, None):
            if each.offset >= end:
                return
            first, last = max(begin, each.offset), min(end, each.offset + each.size)
            yield Slice(each, first - each.offset, last - first)

    def crossing(self, last: int) -> Slice | None:
        """Return the slice at the end of part ``last`` whose object goes on in the part after it, or None."""
        pieces = list(self.slices(last)) if 0 < last < self.parts else []
        return pieces[-1] if pieces and pieces[-1].start + pieces[-1].length < pieces[-1].object.size else None

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
                "have": [{"digest": each.digest, "set": each.set_id, "size": each.size} for each in self.have],
                "withdrawals": [],
                "parity": [{"data": list(each.data), "parity": list(each.parity)} for each in self.parity],
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
            have=_have(document["have"], what),
            parity=tuple(Group(_numbers(each["data"], what), _numbers(each["parity"], what)) for each in document["parity"]),
        )
    except (KeyError, TypeError, binascii.Error, ValueError):
        raise FormatRefused(f"{what}: not an index of this format", why="a member is missing or has another type") from None
    if not MIN_PART_BYTES <= index.part_size <= MAX_PART_BYTES or len(index.numbers) > MAX_PARTS:
        raise FormatRefused(f"{what}: its parts are out of bounds", why=f"{len(index.numbers)} parts of {index.part_size} bytes")
    _refuse_odd_groups(index, what)
    if {each.digest for each in index.have} & {each.digest for each in index.objects}:
        raise FormatRefused(f"{what}: an object is in the set and left out of it", hint=_BY_PHONE)
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
        raise FormatRefused(f"{what}: too many objects, or one of them twice", hint=_BY_PHONE)
    offset = 0
    for each in objects:
        if type(each.offset) is not int or each.offset != offset:
            raise FormatRefused(f"{what}: its objects leave a gap or overlap", why=f"expected offset {offset}, found {str(each.offset)[:20]}")
        offset += each.size
    return objects


def _have(value: Any, what: str) -> tuple[Held, ...]:
    held = tuple(Held(parse_digest(each["digest"], what=what), _whole(each["size"], what), _set_id(each["set"], what)) for each in value)
    if len(held) > MAX_OBJECTS or len({each.digest for each in held}) != len(held):
        raise FormatRefused(f"{what}: too many objects are left out, or one of them twice", hint=_BY_PHONE)
    return held


def _refuse_odd_groups(index: Index, what: str) -> None:
    """Refuse groups that don't deal out every part and every parity part once."""
    if not index.parity:
        return
    data = sorted(number for each in index.parity for number in each.data)
    parity = sorted(number for each in index.parity for number in each.parity)
    sized = all(each.data and each.parity and len(each.data) + len(each.parity) <= MAX_SHARES for each in index.parity)
    ordered = all(list(numbers) == sorted(numbers) for each in index.parity for numbers in (each.data, each.parity))
    if not sized or not ordered or data != list(range(1, index.parts + 1)) or parity != list(range(index.parts + 1, index.parts + len(parity) + 1)):
        raise _odd_groups(what)


def _odd_groups(what: str) -> FormatRefused:
    return FormatRefused(
        f"{what}: its parity groups don't fit its parts", why=f"each part is in one group, of at most {MAX_SHARES}, in order", hint=_BY_PHONE
    )


def _numbers(value: Any, what: str) -> tuple[int, ...]:
    if not isinstance(value, list) or len(value) > MAX_SHARES:
        raise _odd_groups(what)
    return tuple(_whole(each, what) for each in value)


def _set_id(value: Any, what: str) -> str | None:
    if value is not None and (not isinstance(value, str) or not SET_ID.match(value)):
        raise FormatRefused(f"{what}: expected a set id", why=f"found {str(value)[:40]!r}")
    return value


def _whole(value: Any, what: str) -> int:
    if type(value) is not int or value < 1:
        raise FormatRefused(f"{what}: expected a whole number above 0", why=f"found {str(value)[:20]}")
    return value


def _hex64(value: Any, what: str) -> str:
    if not isinstance(value, str) or not _HEX64.match(value):
        raise FormatRefused(f"{what}: expected 64 lower-case hexadecimal digits", why=f"found {str(value)[:80]!r}")
    return value
