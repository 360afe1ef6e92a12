"""Whatever bytes come, the GGUF parser gives a header or FormatRefused, nothing else."""

import io
import struct

from hypothesis import example, given
from hypothesis import strategies as st

from registry.content.gguf import GgufHeader, parse_gguf
from registry.errors import FormatRefused


def text(value):
    return struct.pack("<Q", len(value)) + value


SOUND = (
    b"GGUF"
    + struct.pack("<IQQ", 3, 2, 4)
    + (text(b"general.architecture") + struct.pack("<I", 8) + text(b"llama"))
    + (text(b"general.alignment") + struct.pack("<II", 4, 32))
    + (text(b"tokens") + struct.pack("<IIQ", 9, 8, 3) + text(b"a") + text(b"") + text(b"bcd"))
    + (text(b"scores") + struct.pack("<IIQ3f", 9, 6, 3, 1, 2, 3))
    + (text(b"t") + struct.pack("<IQQIQ", 2, 4, 2, 0, 0))
    + (text(b"u") + struct.pack("<IQIQ", 1, 32, 8, 32))
)
SOUND += bytes(-len(SOUND) % 32) + bytes(32 + 34)

NUMBERS = st.one_of(st.integers(0, 40), st.sampled_from([2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**63, 2**64 - 1]))


def outcome(data, size=None):
    try:
        header = parse_gguf(io.BytesIO(data), len(data) if size is None else size, what="x")
    except FormatRefused:
        return None
    assert isinstance(header, GgufHeader)
    end = max((tensor.offset + tensor.size for tensor in header.tensors), default=0)
    assert header.data_offset + end <= (len(data) if size is None else size)
    return header


def test_the_example_is_sound():
    assert outcome(SOUND).parameter_count == 40


@given(st.binary(max_size=400), st.booleans())
@example(b"", False)
def test_any_bytes(data, with_magic):
    outcome(b"GGUF\x03\0\0\0" + data if with_magic else data)


@given(st.lists(st.tuples(st.integers(0, len(SOUND) - 8), NUMBERS, st.sampled_from("BIQ")), min_size=1, max_size=4))
def test_a_sound_file_with_numbers_overwritten(changes):
    data = bytearray(SOUND)
    for at, number, form in changes:
        width = struct.calcsize(form)
        struct.pack_into("<" + form, data, at, number % 256**width)
    outcome(bytes(data))


@given(st.integers(0, len(SOUND)), st.binary(max_size=40), st.integers(0, 40))
def test_a_sound_file_with_bytes_put_in_or_taken_out(at, inserted, removed):
    outcome(SOUND[:at] + inserted + SOUND[at + removed :])


@given(st.integers(0, len(SOUND) - 1), st.integers(0, 2**63))
def test_a_size_that_is_wrong(length, size):
    outcome(SOUND[:length], size)
