"""Sealed streams: Tink's wire format, and every way in which a stream can be wrong."""

import io

import pytest

from registry.errors import MediumDamaged
from registry.media.stream import HEADER_BYTES, SEGMENT_BYTES, Opener, Sealer, associated_data, open_bytes, plain_size, seal_bytes, sealed_size

KEY, SET = bytes(range(32)), "01M7ZR2K3RRPWNSYSEJR59BV9J"
AD = associated_data(SET, "part", 1)


def seal(data, key=KEY, ad=AD):
    sink = io.BytesIO()
    seal_bytes(sink, data, key, ad)
    return sink.getvalue()


def reopen(sealed, key=KEY, ad=AD, limit=1 << 30):
    return open_bytes(io.BytesIO(sealed), len(sealed), key, ad, what="it", limit=limit)


def test_place_is_bound():
    assert AD == b'{"format":"airlock-set-v1","number":1,"role":"part","set":"01M7ZR2K3RRPWNSYSEJR59BV9J"}'


def test_layout():
    sealed = seal(b"hello")
    assert sealed[0] == HEADER_BYTES == 40
    assert len(sealed) == 40 + 5 + 16
    assert seal(b"hello")[:40] != sealed[:40], "salt and prefix are fresh each time"


@pytest.mark.parametrize(("plain", "sealed"), [(0, 56), (1, 57), (1048520, 1048576), (1048521, 1048593), (1048520 + 1048560, 2097152)])
def test_sizes(plain, sealed):
    assert sealed_size(plain) == sealed
    assert plain_size(sealed, what="it") == plain


@pytest.mark.parametrize("sealed", [0, 39, 40, 55, 1048577, 1048592, 2097152 + 16])
def test_sizes_that_no_stream_has(sealed):
    with pytest.raises(MediumDamaged, match="no sealed stream has"):
        plain_size(sealed, what="it")


@pytest.mark.parametrize(
    ("sealed", "key", "ad"),
    [
        (seal(b"x"), bytes(32), AD),
        (seal(b"x"), KEY, associated_data(SET, "part", 2)),
        (seal(b"x"), KEY, associated_data(SET, "index", 1)),
        (seal(b"x"), KEY, associated_data(SET[:-1] + "K", "part", 1)),
        (b"\x29" + seal(b"x")[1:], KEY, AD),
        (seal(b"x")[:-1] + b"?", KEY, AD),
    ],
    ids=["key", "number", "role", "set", "length byte", "tag"],
)
def test_does_not_open(sealed, key, ad):
    with pytest.raises(MediumDamaged, match="it: damaged"):
        reopen(sealed, key, ad)


def test_segments_cannot_move():
    """Two full segments exchanged, one repeated, the last one left out."""
    data = bytes(1048520) + b"\x01" * 1048560 + b"\x02" * 1048560 + b"\x03"
    sealed = seal(data)
    one, two, rest = sealed[:SEGMENT_BYTES], sealed[SEGMENT_BYTES : 2 * SEGMENT_BYTES], sealed[2 * SEGMENT_BYTES :]
    assert reopen(sealed) == data
    for wrong in (one + rest[:SEGMENT_BYTES] + two + rest[SEGMENT_BYTES:], one + two + two + rest[SEGMENT_BYTES:], one + two):
        with pytest.raises(MediumDamaged):
            reopen(wrong)


def test_limit():
    assert reopen(seal(b"12345"), limit=5) == b"12345"
    with pytest.raises(MediumDamaged, match="at most 4 are allowed"):
        reopen(seal(b"12345"), limit=4)


@pytest.mark.parametrize(("expected", "message"), [(4, "not what was sealed|longer"), (6, "shorter")])
def test_length_must_be_the_expected_one(expected, message):
    opener = Opener(io.BytesIO(seal(b"12345")), expected, KEY, AD, what="it")
    with pytest.raises(MediumDamaged, match=message):
        opener.copy(lambda _: None, memoryview(bytearray(SEGMENT_BYTES)))


def test_bytes_behind_the_end():
    opener = Opener(io.BytesIO(seal(b"12345") + b"6"), 5, KEY, AD, what="it")
    with pytest.raises(MediumDamaged, match="longer than its index says"):
        opener.copy(lambda _: None, memoryview(bytearray(SEGMENT_BYTES)))


def test_nothing_unauthenticated_is_left_in_the_buffer():
    sealed = bytearray(seal(b"secret weights"))
    sealed[-1] ^= 1
    opener = Opener(io.BytesIO(bytes(sealed)), 14, KEY, AD, what="it")
    buffer = memoryview(bytearray(b"?" * 14))
    with pytest.raises(MediumDamaged):
        opener.open(buffer)
    assert bytes(buffer) == bytes(14)


def test_sealer_wants_what_it_says():
    sealer = Sealer(io.BytesIO(), 2_000_000, KEY, AD)
    assert sealer.wants == 1048520
    with pytest.raises(ValueError):
        sealer.seal(memoryview(bytes(10)))
    sealer.seal(memoryview(bytes(1048520)))
    assert sealer.wants == 2_000_000 - 1048520
    sealer.seal(memoryview(bytes(sealer.wants)))
    assert sealer.done


class Trickle(io.RawIOBase):
    """A device that gives and takes a few bytes at a time."""

    def __init__(self, data=b""):
        super().__init__()
        self.data, self.written = data, bytearray()

    def readable(self):
        return True

    def writable(self):
        return True

    def readinto(self, into):
        count = min(7, len(into), len(self.data))
        into[:count], self.data = self.data[:count], self.data[count:]
        return count

    def write(self, data):
        self.written += data[:7]
        return min(7, len(data))


def test_short_reads_and_writes():
    sink = Trickle()
    seal_bytes(sink, b"x" * 1000, KEY, AD)
    sealed = bytes(sink.written)
    assert open_bytes(Trickle(sealed), len(sealed), KEY, AD, what="it", limit=2000) == b"x" * 1000
