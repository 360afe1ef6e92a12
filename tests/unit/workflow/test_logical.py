"""The logical stream: objects and stretches of parts, read from where they lie."""

import random
from pathlib import Path

import pytest

from registry.content.digest import digest_of
from registry.errors import NotFound, TrustRefused
from registry.media.index import Index, Object
from registry.workflow.logical import LogicalStream

DIGEST = "sha256:" + "0" * 64
PART = 1000


@pytest.fixture
def contents():
    return [bytes([number]) + random.Random(number).randbytes(size) for number, size in enumerate((300, 1, 2500, 7, 999, 0))]


@pytest.fixture
def index(contents):
    objects, offset = [], 0
    for data in contents:
        objects.append(Object(digest_of(data), offset, len(data)))
        offset += len(data)
    return Index("01M7ZR2K3RRPWNSYSEJR59BV9J", DIGEST, "2026-11-21T18:09:00Z", "0" * 64, 1, (), (), tuple(objects), PART, (1, DIGEST))


@pytest.fixture
def paths(contents, tmp_path):
    paths = {digest_of(data): tmp_path / f"{number}" for number, data in enumerate(contents)}
    for data in contents:
        paths[digest_of(data)].write_bytes(data)
    return paths


@pytest.fixture
def stream(index, paths):
    found = LogicalStream(index, paths)
    yield found
    found.close()


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


def into(length):
    return memoryview(bytearray(b"\xff" * length))


def test_objects(stream, index, contents):
    for each, data in zip(index.objects, contents, strict=True):
        room = into(len(data))
        stream.read(each, 0, room)
        assert room == data
        room = into(len(data) // 2)
        stream.read(each, len(data) - len(room), room)
        assert room == data[len(data) - len(room) :]


@pytest.mark.parametrize("step", [1000, 256, 333, 1])
def test_parts(stream, index, contents, step):
    """Part after part gives the whole stream; beyond the end of the last one are zeros."""
    whole = b"".join(contents)
    for number in range(1, index.parts + 1):
        got = b""
        for offset in range(0, PART, step):
            room = into(min(step, PART - offset))
            stream.read_part(number, offset, room)
            got += room
        assert got == whole[(number - 1) * PART : number * PART].ljust(PART, b"\0")


def test_beyond_a_part(stream, index):
    room = into(50)
    stream.read_part(index.parts, 5000, room)
    assert room == bytes(50)


def test_chunks(stream, index, contents):
    out = bytearray()
    stream.each_chunk(index.objects[2], 2000, into(64), out.extend)
    assert out == contents[2][:2000]


def test_changed_size(index, paths):
    path = paths[index.objects[0].digest]
    path.write_bytes(path.read_bytes() + b"x")
    stream = LogicalStream(index, paths)
    with pytest.raises(TrustRefused, match="it has another size than the pin's 301 bytes") as refusal:
        stream.read(index.objects[0], 0, into(1))
    assert "put the pinned file back" in refusal.value.hint
    stream.close()
    partial = LogicalStream(index, paths, whole=False)
    partial.read(index.objects[0], 0, into(301))
    with pytest.raises(TrustRefused, match="it is shorter now"):
        partial.read(index.objects[0], 300, into(9))
    partial.close()


def test_not_there(index, paths):
    paths[index.objects[0].digest].unlink()
    with pytest.raises(NotFound, match="can't be read"):
        LogicalStream(index, paths).read(index.objects[0], 0, into(1))


def test_few_files_are_open(tmp_path):
    contents = [number.to_bytes(2, "big") for number in range(100)]
    objects = tuple(Object(digest_of(data), 2 * number, 2) for number, data in enumerate(contents))
    paths = {digest_of(data): tmp_path / data.hex() for data in contents}
    for data in contents:
        (tmp_path / data.hex()).write_bytes(data)
    index = Index("01M7ZR2K3RRPWNSYSEJR59BV9J", DIGEST, "2026-11-21T18:09:00Z", "0" * 64, 1, (), (), objects, PART, (1, DIGEST))
    before = open_files()
    stream = LogicalStream(index, paths)
    for _ in range(2):
        room = into(200)
        stream.read_part(1, 0, room)
        assert room == b"".join(contents)
        assert open_files() <= before + 40
    stream.close()
    assert open_files() == before
