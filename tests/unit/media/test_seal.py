"""How the files of a set lie on a medium: sealed or plain, the same bytes either way."""

import io

import pytest

from registry.errors import MediumDamaged
from registry.media.seal import Seal
from registry.media.stream import SEGMENT_BYTES, sealed_size

SET = "01M7ZR2K3RRPWNSYSEJR59BV9J"
SEALED, PLAIN = Seal(SET, bytes(range(32))), Seal(SET, None)
SEALS = pytest.mark.parametrize("seal", [SEALED, PLAIN], ids=["sealed", "plain"])
LENGTHS = pytest.mark.parametrize("length", [1, 1000, SEGMENT_BYTES - 1, SEGMENT_BYTES, SEGMENT_BYTES + 1, 2 * SEGMENT_BYTES + 7])


class Trickle(io.RawIOBase):
    """A sink, or source, that takes and gives a little at a time, as a kernel may."""

    def __init__(self, data=b""):
        self.data = io.BytesIO(data)

    def write(self, view):
        return self.data.write(view[:100_001])

    def readinto(self, into):
        return self.data.readinto(into[:100_001])

    def read(self, size=-1):
        return self.data.read(size)


def written(seal, data, number=1):
    """The content of a part's file."""
    sink = Trickle() if seal.key is None else io.BytesIO()
    writer, offset = seal.part_writer(sink, len(data), number), 0
    while not writer.done:
        count = writer.wants
        writer.seal(memoryview(bytearray(data[offset : offset + count])))
        offset += count
    assert offset == len(data)
    return (sink.data if seal.key is None else sink).getvalue()


def read(seal, file, length, number=1):
    """What is read from a part's file of ``length`` bytes of content."""
    reader, out = seal.part_reader(Trickle(file) if seal.key is None else io.BytesIO(file), length, number), bytearray()
    while not reader.done:
        into = memoryview(bytearray(reader.gives))
        reader.open(into)
        out += into
    return bytes(out)


def content(length):
    return bytes(range(256)) * (length // 256) + bytes(length % 256)


def test_names():
    assert (SEALED.index_name, SEALED.part_name(1)) == ("index.sealed", "parts/00000001.sealed")
    assert (PLAIN.index_name, PLAIN.part_name(10_000)) == ("index.plain", "parts/00010000.plain")
    assert "key" not in repr(SEALED)
    assert "01020304" not in repr(SEALED)


@SEALS
@LENGTHS
def test_there_and_back(seal, length):
    data = content(length)
    file = written(seal, data)
    assert len(file) == seal.size(length) == (length if seal.key is None else sealed_size(length))
    assert (file == data) == (seal.key is None)
    assert read(seal, file, length) == data
    out = bytearray()
    seal.part_reader(io.BytesIO(file), length, 1).copy(out.extend, memoryview(bytearray(SEGMENT_BYTES)))
    assert out == data


@SEALS
@LENGTHS
def test_cut_or_longer(seal, length):
    file = written(seal, content(length))
    for odd in (file[:-1], file[: len(file) // 2], b"", file + b"x"):
        with pytest.raises(MediumDamaged) as refusal:
            read(seal, odd, length)
        assert refusal.value.what.startswith(f"part 1 of set {SET}: ")
        assert refusal.value.why
        assert refusal.value.hint


def test_only_a_seal_knows_its_place():
    """A plain part in another's place is no error here: the digests tell."""
    data = content(1000)
    with pytest.raises(MediumDamaged):
        read(SEALED, written(SEALED, data, 1), 1000, 2)
    assert read(PLAIN, written(PLAIN, data, 1), 1000, 2) == data


def test_a_part_without_content():
    """No set has one; a plain file is then empty, and a sealed one still says that it is whole."""
    assert written(PLAIN, b"") == b""
    assert read(PLAIN, b"", 0) == b""
    assert read(SEALED, written(SEALED, b""), 0) == b""


@SEALS
@pytest.mark.parametrize("length", [1, 2, 3_000_000])
def test_index(seal, length):
    envelope = content(length)
    file = seal.index_file(envelope)
    assert (file == envelope) == (seal.key is None)
    assert seal.open_index(io.BytesIO(file), len(file), limit=length) == envelope
    with pytest.raises(MediumDamaged):
        seal.open_index(io.BytesIO(file[:-1]), len(file), limit=length)
    with pytest.raises(MediumDamaged):
        seal.open_index(io.BytesIO(file), len(file), limit=length - 1)


@SEALS
def test_an_index_that_grew_since_it_was_looked_at(seal):
    file = seal.index_file(b"envelope")
    with pytest.raises(MediumDamaged):
        seal.open_index(io.BytesIO(file + b"x"), len(file), limit=100)
