"""A set's name, the names of its files, its header in clear, and ``site.pub``: what both sides must spell the same."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from registry.content import canonical
from registry.errors import FormatRefused
from registry.media.suites import SUITE_XWING, SUITES

__all__ = [
    "FOLDER",
    "FORMAT",
    "MAX_HEADER_BYTES",
    "PLAIN",
    "SET_ID",
    "Header",
    "metadata_names",
    "new_set_id",
    "parse_header",
]

FORMAT = "airlock-set-v1"
FOLDER = "airlock"
MAX_HEADER_BYTES = 256 << 10
MAX_RECIPIENTS = 64
PLAIN = "plain"
"""In the place of a suite: the set is not sealed."""
FEATURES = ("have", "parity", PLAIN)
"""What ``requires`` may name: objects are left out, there are parity parts, the set is not sealed."""

SET_ID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}\Z")
_ULID = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_HEX64 = re.compile(r"[0-9a-f]{64}\Z")


def new_set_id(milliseconds: int, randomness: bytes) -> str:
    """Return a ULID: 26 characters that sort by time.

    Args:
        milliseconds: since 1970, UTC.
        randomness: 10 random bytes.
    """
    number = (milliseconds << 80) | int.from_bytes(randomness, "big")
    return "".join(_ULID[(number >> shift) & 31] for shift in range(125, -1, -5))


def metadata_names(roots: int) -> list[str]:
    """Return the names of the metadata files of a set with ``roots`` root versions."""
    return [f"metadata/{version}.root.json" for version in range(1, roots + 1)] + [
        f"metadata/{role}.json" for role in ("timestamp", "snapshot", "targets")
    ]


@dataclass(frozen=True, slots=True)
class Header:
    """``set.json``: in clear on every medium.  ``keys`` maps a recipient's key id to the set key wrapped for it in ``suite``, the same for all.

    A plain set has the suite :data:`PLAIN` and no keys.  ``requires`` names what a reader must understand, so that one who doesn't can say so.
    ``extensions`` is kept as it is read, although nothing here understands it: the signed index names the digest of the header's bytes.
    """

    set_id: str
    keys: Mapping[str, bytes]
    extensions: Mapping[str, canonical.Json] = field(default_factory=dict)
    suite: str = SUITE_XWING
    requires: tuple[str, ...] = ()

    def to_bytes(self) -> bytes:
        """Return the canonical bytes."""
        return canonical.dump(
            {
                "format": FORMAT,
                "set": self.set_id,
                "suite": self.suite,
                "requires": list(self.requires),
                "keys": {key_id: base64.b64encode(wrapped).decode("ascii") for key_id, wrapped in self.keys.items()},
                "extensions": dict(self.extensions),
            }
        )


def parse_header(data: bytes, *, what: str) -> Header:
    """Return the header that ``data`` spells.

    Raises:
        FormatRefused: another format, a feature this airlock doesn't know, or anything that :meth:`Header.to_bytes` would not write.
    """
    document = canonical.load(data, what=what, limit=MAX_HEADER_BYTES)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        found = document.get("format") if isinstance(document, dict) else None
        raise FormatRefused(
            f"{what}: needs another format", why=f"this airlock reads {FORMAT}, found {str(found)[:40]!r}", hint="update airlock first"
        )
    requires = document.get("requires")
    if isinstance(requires, list) and (unknown := [str(each)[:40] for each in requires if each not in FEATURES]):
        raise FormatRefused(
            f"{what}: needs features that this airlock doesn't have", why=", ".join(unknown), hint="update airlock on this machine first"
        )
    suite = document.get("suite")
    if isinstance(suite, str) and suite not in (*SUITES, PLAIN):
        raise FormatRefused(
            f"{what}: sealed with a suite that this airlock doesn't know", why=f"found {suite[:80]!r}", hint="update airlock on this machine first"
        )
    try:
        keys = {key: base64.b64decode(value, validate=True) for key, value in document["keys"].items()}
        header = Header(str(document["set"]), keys, dict(document["extensions"]), document["suite"], tuple(document["requires"]))
        wrapped_bytes = 0 if header.suite == PLAIN else SUITES[header.suite].wrapped_bytes
    except (KeyError, TypeError, AttributeError, binascii.Error, ValueError):
        raise FormatRefused(f"{what}: not a set's header", why="a member is missing or has another type") from None
    sealed = header.suite != PLAIN
    if not SET_ID.match(header.set_id) or not sealed <= len(header.keys) <= sealed * MAX_RECIPIENTS or not all(map(_HEX64.match, header.keys)):
        raise FormatRefused(f"{what}: not a set's header", why="its set id or its recipients are not in canonical form")
    if any(len(wrapped) != wrapped_bytes for wrapped in keys.values()):
        raise FormatRefused(f"{what}: not a set's header", why=f"a wrapped key has not the {wrapped_bytes} bytes of its suite")
    if list(header.requires) != sorted(set(header.requires)) or sealed == (PLAIN in header.requires):
        raise FormatRefused(f"{what}: not a set's header", why="what it requires is not in canonical form, or doesn't fit its suite")
    if header.to_bytes() != data:
        raise FormatRefused(f"{what}: not a set's header", why="it has members that this airlock doesn't know")
    return header
