"""Digests: the name of bytes (OCI image-spec, descriptor, "Digests")."""

from __future__ import annotations

import hashlib
import re
from typing import NewType

from registry.errors import FormatRefused

__all__ = ["Digest", "digest_of", "from_hex", "hex_of", "parse_digest"]

Digest = NewType("Digest", str)
"""``sha256:`` and 64 lower-case hexadecimal digits.  Only this module makes one from text."""

_FORM = re.compile(r"sha256:[0-9a-f]{64}\Z")


def parse_digest(text: object, *, what: str = "digest") -> Digest:
    """Return ``text`` as a digest.

    Raises:
        FormatRefused: anything but ``sha256:`` and 64 lower-case hexadecimal digits.
    """
    if not isinstance(text, str) or not _FORM.match(text):
        raise FormatRefused(f"{what}: not a digest", why=f"expected sha256: and 64 lower-case hexadecimal digits, found {str(text)[:80]!r}")
    return Digest(text)


def digest_of(data: bytes | bytearray | memoryview) -> Digest:
    """Return the digest of ``data``."""
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def from_hex(hexadecimal: str) -> Digest:
    """Return the digest with these 64 lower-case hexadecimal digits, or refuse them."""
    return parse_digest("sha256:" + hexadecimal)


def hex_of(digest: Digest) -> str:
    """Return the 64 hexadecimal digits of ``digest``."""
    return digest[7:]
