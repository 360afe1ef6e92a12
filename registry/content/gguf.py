"""GGUF: what the header of a model file says, or that it is none.

The format is ggml's (``docs/gguf.md`` of ggml-org/ggml); versions 2 and 3, little endian.  The parser is stricter than the engines are:
whatever two readers could understand differently is refused (a key or tensor named twice, tensors that overlap, leave holes or end before the
file does, another alignment than a power of two).  It reads the header once, keeps a few values of it, and skips vocabularies
without storing them, so that memory stays small whatever the file says.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import BinaryIO, NoReturn

from registry.errors import FormatRefused

__all__ = ["MAX_HEADER_BYTES", "GgufHeader", "Tensor", "parse_gguf"]

MAX_HEADER_BYTES = 256 * 1024 * 1024
"""Everything before the tensor data; the largest headers of today's models have about 20 MiB."""

_MAX_KEYS = 16_384
_MAX_KEY_BYTES = 1024
_MAX_TENSORS = 65_536
_MAX_NAME_BYTES = 256  # ggml itself allows 63
_MAX_DIMENSIONS = 4  # GGML_MAX_DIMS
_MAX_KEPT_TEXT = 1024
_MAX_STRINGS = 4 * 1024 * 1024  # in all arrays together: a vocabulary has 10^4 to 10^6
_MAX_ALIGNMENT = 1024 * 1024
_CHUNK = 1024 * 1024

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_SCALARS = {
    number: struct.Struct("<" + letter)
    for number, letter in {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}.items()
}
_UINT32, _BOOL, _STRING, _ARRAY = 4, 7, 8, 9

# ggml_type: elements per block, bytes per block.  4 was Q4_2, gone before GGUF existed; Ollama 0.11 gave the number to MXFP4 (gpt-oss).
# fmt: off
_TYPES = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 4: (32, 17), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 40),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292),
    16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136),
    24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2),
    34: (256, 54), 35: (256, 66), 39: (32, 17), 40: (64, 36), 41: (128, 18),
}
# fmt: on


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor: ``shape`` in elements, fastest dimension first; ``kind`` is ggml's number; ``offset`` (in the data) and ``size`` are in bytes."""

    name: str
    kind: int
    shape: tuple[int, ...]
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What the header says.

    ``architecture``, ``name`` and ``kind`` are ``general.architecture``, ``general.name`` and ``general.type`` (the last two empty when
    absent); ``file_type`` is ``general.file_type`` if that is a 32-bit number; ``parameter_count`` is the number of elements of all tensors;
    ``block_count`` and ``vision_block_count`` are 0 when absent; ``shards`` is the number of files that the model is split over;
    ``data_offset`` is where tensor data begins, in bytes from the start of the file.
    """

    version: int
    architecture: str
    name: str
    kind: str
    file_type: int | None
    block_count: int
    vision_block_count: int
    shards: int
    has_chat_template: bool
    alignment: int
    parameter_count: int
    tensors: tuple[Tensor, ...]
    data_offset: int


def parse_gguf(file: BinaryIO, size: int, *, what: str) -> GgufHeader:
    """Return what the header at the start of ``file`` says.

    Args:
        file: readable and seekable; it is read from its beginning, and its position afterwards is anywhere.
        size: the file's length in bytes.
        what: the file's name in an error.

    Raises:
        FormatRefused: not a GGUF file, or one that is cut, has bytes to spare, or says something absurd or ambiguous.
        OSError: the file can't be read.
    """
    file.seek(0)
    cursor = _Cursor(file, size, what)
    version, tensor_count, key_count = _preamble(cursor, size)
    values, kinds = _metadata(cursor, key_count)
    tensors = tuple(_tensor(cursor) for _ in range(tensor_count))
    alignment = _alignment(cursor, values, kinds)
    data_offset = _align(cursor.position, alignment)
    _check_layout(cursor, tensors, data_offset, alignment, size)
    architecture = values.get("general.architecture")
    if not isinstance(architecture, str) or not architecture:
        cursor.refuse("general.architecture is missing or not a short text")
    return GgufHeader(
        version=version,
        architecture=architecture,
        name=_text(values, "general.name"),
        kind=_text(values, "general.type"),
        file_type=_number(values, kinds, "general.file_type"),
        block_count=_number(values, kinds, f"{architecture}.block_count") or 0,
        vision_block_count=_number(values, kinds, f"{architecture}.vision.block_count") or 0,
        shards=int(values.get("split.count", 1)) if isinstance(values.get("split.count", 1), int) else 1,
        has_chat_template=kinds.get("tokenizer.chat_template") == _STRING,
        alignment=alignment,
        parameter_count=sum(math.prod(tensor.shape) for tensor in tensors),
        tensors=tensors,
        data_offset=data_offset,
    )


_Values = dict[str, int | float | bool | str]


def _preamble(cursor: _Cursor, size: int) -> tuple[int, int, int]:
    magic = cursor.take(4) if size >= 4 else b""
    if magic != b"GGUF":
        raise FormatRefused(f"{cursor.what}: not a GGUF file", why=f"it begins with {magic!r}, a GGUF file begins with b'GGUF'")
    version = cursor.u32()
    if version not in (2, 3):
        big = version & 0xFFFF == 0 and version >> 24 in (1, 2, 3)
        cursor.refuse("it is big endian" if big else f"version {version} is unknown; 2 and 3 are known")
    tensor_count, key_count = cursor.u64(), cursor.u64()
    if tensor_count > _MAX_TENSORS or key_count > _MAX_KEYS:
        cursor.refuse(f"it claims {tensor_count} tensors and {key_count} keys; at most {_MAX_TENSORS} and {_MAX_KEYS} are allowed")
    return version, tensor_count, key_count


def _metadata(cursor: _Cursor, count: int) -> tuple[_Values, dict[str, int]]:
    """Return the scalar values and short general texts by key, and the type number of every key."""
    values: _Values = {}
    kinds: dict[str, int] = {}
    strings_left = _MAX_STRINGS
    for _ in range(count):
        key = cursor.text(_MAX_KEY_BYTES, "a key")
        if key in kinds:
            cursor.refuse(f"the key {key[:80]!r} is there twice")
        kind = kinds[key] = cursor.u32()
        if kind == _ARRAY:
            strings_left -= _skip_array(cursor, key, strings_left)
        elif kind == _STRING:
            length = cursor.u64()
            if key.startswith("general.") and length <= _MAX_KEPT_TEXT:
                values[key] = cursor.decode(cursor.take(length), "a value")
            else:
                cursor.skip(length)
        else:
            values[key] = _scalar(cursor, key, kind)
    return values, kinds


def _scalar(cursor: _Cursor, key: str, kind: int) -> int | float | bool:
    form = _SCALARS.get(kind)
    if form is None:
        cursor.refuse(f"the key {key[:80]!r} has the unknown type {kind}")
    value: int | float = form.unpack(cursor.take(form.size))[0]
    if kind == _BOOL:
        if value not in (0, 1):
            cursor.refuse(f"the key {key[:80]!r} is neither true nor false but {value}")
        return bool(value)
    return value


def _skip_array(cursor: _Cursor, key: str, strings_left: int) -> int:
    """Skip an array; return how many strings it held."""
    kind, count = cursor.u32(), cursor.u64()
    if kind in _SCALARS:
        cursor.skip(count * _SCALARS[kind].size)
        return 0
    if kind != _STRING:
        cursor.refuse(f"the key {key[:80]!r} is an array of the {'nested' if kind == _ARRAY else 'unknown'} type {kind}")
    if count > strings_left:
        cursor.refuse(f"the key {key[:80]!r} claims {count} strings; at most {_MAX_STRINGS} are allowed altogether")
    cursor.skip_strings(count)
    return count


def _tensor(cursor: _Cursor) -> Tensor:
    name = cursor.text(_MAX_NAME_BYTES, "a tensor's name")
    dimensions = cursor.u32()
    if dimensions > _MAX_DIMENSIONS:
        cursor.refuse(f"tensor {name!r} has {dimensions} dimensions; at most {_MAX_DIMENSIONS} are allowed")
    shape = tuple(cursor.u64() for _ in range(dimensions))
    kind, offset = cursor.u32(), cursor.u64()
    if kind not in _TYPES:
        cursor.refuse(f"tensor {name!r} has the unknown type {kind}")
    per_block, block_bytes = _TYPES[kind]
    elements = math.prod(shape)
    if elements == 0 or (shape[0] if shape else 1) % per_block:
        cursor.refuse(f"tensor {name!r} with shape {list(shape)} is not made of whole blocks of {per_block}")
    return Tensor(name, kind, shape, offset, elements // per_block * block_bytes)


def _alignment(cursor: _Cursor, values: _Values, kinds: dict[str, int]) -> int:
    value = _number(values, kinds, "general.alignment") if "general.alignment" in kinds else 32
    if value is None or not 8 <= value <= _MAX_ALIGNMENT or value & (value - 1):
        cursor.refuse(f"general.alignment is not a power of two from 8 to {_MAX_ALIGNMENT} as a 32-bit number")
    return value


def _check_layout(cursor: _Cursor, tensors: tuple[Tensor, ...], data_offset: int, alignment: int, size: int) -> None:
    """Refuse tensors that do not lie one after another, each at the next aligned place, from the data's start to the file's end."""
    if len({tensor.name for tensor in tensors}) < len(tensors):
        cursor.refuse("two tensors have one name")
    end = 0
    for tensor in sorted(tensors, key=lambda tensor: (tensor.offset, tensor.size)):
        if tensor.offset != _align(end, alignment):
            problem = "overlaps the one before it" if tensor.offset < end else "does not begin where it must"
            cursor.refuse(f"tensor {tensor.name!r} {problem}: expected offset {_align(end, alignment)}, found {tensor.offset}")
        end = tensor.offset + tensor.size
        if data_offset + end > size:
            cursor.refuse(f"tensor {tensor.name!r} ends at byte {data_offset + end}, the file already at {size}: it is cut, or its header wrong")
    if size > data_offset + _align(end, alignment):
        cursor.refuse(f"{size - data_offset - _align(end, alignment)} bytes follow the last tensor and belong to nothing")


def _align(position: int, alignment: int) -> int:
    return (position + alignment - 1) // alignment * alignment


def _text(values: _Values, key: str) -> str:
    value = values.get(key)
    return value if isinstance(value, str) else ""


def _number(values: _Values, kinds: dict[str, int], key: str) -> int | None:
    """Return a value of type uint32, the only one Ollama looks at for these keys (``KV.Uint`` in ``fs/ggml/ggml.go``)."""
    value = values.get(key)
    return value if kinds.get(key) == _UINT32 and isinstance(value, int) else None


class _Cursor:
    """Reads a header forward through one chunk of memory, never beyond the file's end or the header's greatest length."""

    __slots__ = ("_at", "_base", "_buffer", "_file", "_limit", "_size", "what")

    def __init__(self, file: BinaryIO, size: int, what: str) -> None:
        self._file = file
        self._size = size
        self._limit = min(size, MAX_HEADER_BYTES)
        self._buffer = b""
        self._base = 0  # position of the buffer's first byte in the file
        self._at = 0
        self.what = what

    @property
    def position(self) -> int:
        return self._base + self._at

    def refuse(self, why: str) -> NoReturn:
        raise FormatRefused(f"{self.what}: damaged or not a proper GGUF file", why=why)

    def u32(self) -> int:
        value: int = _U32.unpack(self.take(4))[0]
        return value

    def u64(self) -> int:
        value: int = _U64.unpack(self.take(8))[0]
        return value

    def text(self, limit: int, name: str) -> str:
        length = self.u64()
        if length > limit:
            self.refuse(f"{name} claims {length} bytes; at most {limit} are allowed")
        return self.decode(self.take(length), name)

    def decode(self, data: bytes, name: str) -> str:
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            self.refuse(f"{name} is not UTF-8: {data[:40]!r}")

    def take(self, count: int) -> bytes:
        """Return the next ``count`` bytes; ``count`` is far below the chunk's size."""
        self._need(count)
        start, self._at = self._at, self._at + count
        return self._buffer[start : self._at]

    def skip(self, count: int) -> None:
        target = self.position + count
        if target > self._limit:
            self._refuse_end(target)
        self._at += count
        if self._at > len(self._buffer):
            self._file.seek(target)
            self._base, self._buffer, self._at = target, b"", 0

    def skip_strings(self, count: int) -> None:
        """Skip ``count`` strings; the inner loop is what a header of half a million strings costs."""
        unpack = _U64.unpack_from
        while count:
            self._need(8)
            buffer, at, last = self._buffer, self._at, len(self._buffer) - 8
            while count and at <= last:
                at += 8 + unpack(buffer, at)[0]
                count -= 1
            self.skip(at - self._at)

    def _need(self, count: int) -> None:
        if self.position + count > self._limit:
            self._refuse_end(self.position + count)
        if self._at + count <= len(self._buffer):
            return
        self._base, self._buffer, self._at = self.position, self._buffer[self._at :], 0
        while len(self._buffer) < count:
            more = self._file.read(_CHUNK)
            if not more:
                self.refuse(f"it ends at byte {self._base + len(self._buffer)} instead of {self._size}")
            self._buffer += more

    def _refuse_end(self, position: int) -> NoReturn:
        if self._limit < self._size:
            self.refuse(f"its header is longer than {MAX_HEADER_BYTES} bytes")
        self.refuse(f"its header goes on to byte {position} at least, the file ends at {self._size}")
