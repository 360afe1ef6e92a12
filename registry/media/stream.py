"""Sealed streams: Google Tink's streaming AEAD, AES256_GCM_HKDF_1MB, on reused buffers.

Wire format (Tink, "AES-GCM-HKDF streaming AEAD"): one byte header length (40), 32 bytes salt, 7 bytes nonce prefix, then ciphertext segments of
1,048,576 bytes each; the first is 40 bytes shorter, the last as long as it needs to be.  The key of a stream is HKDF-SHA256 of the set key with
the salt and, as info, the associated data; a segment's nonce is the prefix, its number as four bytes big-endian, and one byte that is 1 for the
last.  A segment carries its 16-byte tag at its end.  An empty stream is one empty segment.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import IO, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from registry.content import canonical
from registry.errors import MediumDamaged

__all__ = ["HEADER_BYTES", "SEGMENT_BYTES", "Opener", "Sealer", "Source", "associated_data", "open_bytes", "plain_size", "seal_bytes", "sealed_size"]

SEGMENT_BYTES = 1 << 20
"""Ciphertext bytes of a full segment, its tag included."""
TAG_BYTES = 16
HEADER_BYTES = 40
_SALT_BYTES = 32
_PREFIX_BYTES = 7
_PLAIN_BYTES = SEGMENT_BYTES - TAG_BYTES
_FIRST_PLAIN_BYTES = _PLAIN_BYTES - HEADER_BYTES


def associated_data(set_id: str, role: str, number: int) -> bytes:
    """Return what binds a sealed file to its place: format, set id, role (``index`` or ``part``) and number (0 for the index)."""
    return canonical.dump({"format": "airlock-set-v1", "number": number, "role": role, "set": set_id})


def sealed_size(plain: int) -> int:
    """Return how many bytes a stream of ``plain`` bytes has once sealed."""
    segments = 1 if plain <= _FIRST_PLAIN_BYTES else 1 + -(-(plain - _FIRST_PLAIN_BYTES) // _PLAIN_BYTES)
    return HEADER_BYTES + plain + segments * TAG_BYTES


class Source(Protocol):
    """What is read from: an unbuffered binary file, or something that reads through one."""

    def readinto(self, into: memoryview, /) -> int:
        """Fill ``into`` as far as possible; return the number of bytes, 0 at the end."""

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes."""


class _Segments:
    """What sealing and opening share: the key, and the nonce of each segment in turn."""

    def __init__(self, set_key: bytes, salt: bytes, prefix: bytes, associated: bytes) -> None:
        self._aead = AESGCM(HKDF(SHA256(), 32, salt, associated).derive(set_key))
        self._prefix = prefix
        self._number = 0

    def _nonce(self, *, last: bool) -> bytes:
        nonce = self._prefix + self._number.to_bytes(4, "big") + (b"\x01" if last else b"\x00")
        self._number += 1
        return nonce


class Sealer(_Segments):
    """Seals one stream of a known length, segment by segment, into ``sink``.

    The caller fills :attr:`room` (a view of exactly the bytes the next segment takes) and calls :meth:`seal`; no byte is copied twice.
    """

    def __init__(self, sink: IO[bytes], plain: int, set_key: bytes, associated: bytes) -> None:
        salt, prefix = secrets.token_bytes(_SALT_BYTES), secrets.token_bytes(_PREFIX_BYTES)
        super().__init__(set_key, salt, prefix, associated)
        self._sink = sink
        self._left = plain
        self._out = memoryview(bytearray(SEGMENT_BYTES))
        _write_all(sink, bytes([HEADER_BYTES]) + salt + prefix)

    @property
    def wants(self) -> int:
        """Plaintext bytes of the next segment."""
        return min(self._left, _FIRST_PLAIN_BYTES if self._number == 0 else _PLAIN_BYTES)

    @property
    def done(self) -> bool:
        """Whether the last segment has been written."""
        return self._left == 0 and self._number > 0

    def seal(self, segment: memoryview) -> None:
        """Seal and write the next segment; it must have exactly :attr:`wants` bytes."""
        if len(segment) != self.wants or self.done:
            raise ValueError("a segment of another length than the stream wants")
        self._left -= len(segment)
        written = self._aead.encrypt_into(self._nonce(last=self._left == 0), segment, None, self._out[: len(segment) + TAG_BYTES])
        _write_all(self._sink, self._out[:written])


class Opener(_Segments):
    """Opens one stream of a known plaintext length from ``source``; bytes come out only after their segment was authenticated.

    Args:
        source: the sealed bytes, unbuffered (``readinto``).
        plain: expected plaintext bytes; a stream of another length is refused.
        what: the file's name in an error, such as ``part 3 of set 01J…``.

    Raises:
        MediumDamaged: cut, longer than expected, or changed in any bit.
    """

    def __init__(self, source: Source, plain: int, set_key: bytes, associated: bytes, *, what: str) -> None:
        self._source = source
        self._left = plain
        self._what = what
        self._in = memoryview(bytearray(SEGMENT_BYTES))
        header = self._in[:HEADER_BYTES]
        _read_all(source, header, what)
        if header[0] != HEADER_BYTES:
            raise _damaged(what, "its first byte is not that of a sealed stream")
        super().__init__(set_key, bytes(header[1 : 1 + _SALT_BYTES]), bytes(header[1 + _SALT_BYTES :]), associated)

    @property
    def gives(self) -> int:
        """Plaintext bytes of the next segment."""
        return min(self._left, _FIRST_PLAIN_BYTES if self._number == 0 else _PLAIN_BYTES)

    @property
    def done(self) -> bool:
        """Whether the last segment has been opened."""
        return self._left == 0 and self._number > 0

    def open(self, into: memoryview) -> None:
        """Read the next segment and put its :attr:`gives` plaintext bytes into ``into``, which must have exactly that length."""
        length = self.gives
        sealed = self._in[: length + TAG_BYTES]
        _read_all(self._source, sealed, self._what)
        last = self._left == length
        number = self._number
        try:
            self._aead.decrypt_into(self._nonce(last=last), sealed, None, into)
        except InvalidTag:
            into[:] = bytes(len(into))  # nothing unauthenticated may be left behind, not even in a buffer
            raise _damaged(self._what, f"segment {number} is not what was sealed") from None
        self._left -= length
        if last and self._source.read(1):
            raise _damaged(self._what, "it is longer than its index says")

    def copy(self, sink: Callable[[memoryview], object], buffer: memoryview) -> None:
        """Open every segment that is left and hand each to ``sink``."""
        while not self.done:
            room = buffer[: self.gives]
            self.open(room)
            sink(room)


def seal_bytes(sink: IO[bytes], data: bytes, set_key: bytes, associated: bytes) -> None:
    """Seal a small stream that lies in memory."""
    sealer = Sealer(sink, len(data), set_key, associated)
    view = memoryview(data)
    while not sealer.done:
        length = sealer.wants
        sealer.seal(view[:length])
        view = view[length:]


def open_bytes(source: Source, sealed: int, set_key: bytes, associated: bytes, *, what: str, limit: int) -> bytes:
    """Return the plaintext of a small sealed stream of ``sealed`` bytes, refusing more than ``limit`` bytes of plaintext."""
    plain = plain_size(sealed, what=what)
    if plain > limit:
        raise _damaged(what, f"it holds {plain} bytes, at most {limit} are allowed")
    opener = Opener(source, plain, set_key, associated, what=what)
    out = bytearray()
    opener.copy(out.extend, memoryview(bytearray(SEGMENT_BYTES)))
    return bytes(out)


def plain_size(sealed: int, *, what: str) -> int:
    """Return the plaintext length of a stream of ``sealed`` bytes, or refuse a length that no stream has."""
    segments = max(1, -(-sealed // SEGMENT_BYTES))
    plain = sealed - HEADER_BYTES - segments * TAG_BYTES
    if plain < 0 or sealed_size(plain) != sealed:
        raise _damaged(what, f"no sealed stream has {sealed} bytes")
    return plain


def _write_all(sink: IO[bytes], data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[sink.write(view) :]


def _read_all(source: Source, into: memoryview, what: str) -> None:
    filled = 0
    while filled < len(into):
        count = source.readinto(into[filled:])
        if not count:
            raise _damaged(what, "it is shorter than its index says")
        filled += count


def _damaged(what: str, why: str) -> MediumDamaged:
    return MediumDamaged(f"{what}: damaged", why=why, hint="copy the medium again or ask for a fresh export; parts that arrived well are kept")
