"""Split and join: whatever the objects' sizes and the part size, what comes out of the parts is what went in."""

import dataclasses
import hashlib
import io
import random
import secrets
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import registry.media.index as index_module
from registry.content.digest import digest_of
from registry.errors import MediumDamaged
from registry.media.index import MIN_PART_BYTES, Index, Object
from registry.media.parity import group_parts
from registry.media.seal import Seal
from registry.media.stream import SEGMENT_BYTES, associated_data, open_bytes, plain_size, seal_bytes, sealed_size
from registry.store.blobs import LocalBlobStore
from registry.store.medium import SetFolder
from registry.workflow.parts import Parts
from registry.workflow.progress import Silent
from registry.workflow.receive import Receiver

SET = "01M7ZR2K3RRPWNSYSEJR59BV9J"
DIGEST = "sha256:" + "0" * 64


def index_of(contents, part_size):
    objects, offset = [], 0
    for data in contents:
        objects.append(Object(digest_of(data), offset, len(data)))
        offset += len(data)
    return Index(SET, DIGEST, "2026-11-21T18:09:00Z", "0" * 64, 1, (), (), tuple(objects), part_size, (1, DIGEST))


# Around everything that has an edge: one byte, a segment, the first segment (40 bytes shorter), a part, two parts.
EDGES = [1, SEGMENT_BYTES - 56, SEGMENT_BYTES - 16, SEGMENT_BYTES, MIN_PART_BYTES * 2]
OBJECT_SIZES = st.sampled_from(EDGES).flatmap(lambda edge: st.integers(max(1, edge - 2), edge + 2)) | st.integers(1, 5000)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(OBJECT_SIZES, min_size=1, max_size=5),
    part_size=st.integers(MIN_PART_BYTES, MIN_PART_BYTES + 100),
    share=st.sampled_from([Fraction(0), Fraction(1, 10), Fraction(1, 2), Fraction(1)]),
    sealed=st.booleans(),
    order=st.randoms(use_true_random=False),
)
def test_split_and_join(tmp_path_factory, sizes, part_size, share, sealed, order):
    """Parts in any order, on two media, with an interruption in between; of each parity group as many parts are lost as it has parity parts."""
    top = tmp_path_factory.mktemp("parts")
    contents = [bytes([number]) + random.Random(number).randbytes(size - 1) for number, size in enumerate(sizes)]  # no two alike
    index = index_of(contents, part_size)
    index = dataclasses.replace(index, parity=group_parts(index.parts, share))
    seal = Seal(SET, secrets.token_bytes(32) if sealed else None)
    sources = {}
    for data in contents:
        sources[digest_of(data)] = top / hashlib.sha256(data).hexdigest()
        sources[digest_of(data)].write_bytes(data)
    (top / "set/parts").mkdir(parents=True)
    with Parts(index, seal, sources) as parts:
        parts.write(top / "set", index.numbers, lambda _: None)
    sums = parts.read_back(top / "set", index.numbers, lambda _: None)
    files = sorted((top / "set/parts").iterdir())
    assert sums == {f"parts/{file.name}": hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    assert [file.stat().st_size for file in files] == [seal.size(index.part_length(number)) for number in index.numbers]
    assert sum(map(index.part_length, range(1, index.parts + 1))) == sum(sizes)

    lost = [number for group in index.parity for number in order.sample(group.data + group.parity, len(group.parity))]
    folder = {f"parts/{file.name}": (file, file.stat().st_size) for file in files if int(file.stem) not in lost}
    names = sorted(folder)
    order.shuffle(names)
    cut = order.randrange(len(names) + 1)
    blobs = LocalBlobStore(top / "blobs")
    settled = []
    for chosen in (names[:cut], names[cut:]):
        receiver = Receiver(top / "incoming", blobs, index, seal)
        medium = SetFolder(SET, top / "set", {name: folder[name] for name in chosen})
        receiver.receive([medium], Silent(), settled.append)
    if receiver.missing:  # parity parts of the first medium were not kept while no part was known to be lost with the second
        receiver = Receiver(top / "incoming", blobs, index, seal)
        receiver.receive([SetFolder(SET, top / "set", folder)], Silent(), settled.append)
    assert receiver.missing == []
    assert sorted(settled) == sorted(digest_of(data) for data in contents)
    for data in contents:
        assert blobs.path(digest_of(data)).read_bytes() == data
    assert [path.name for path in (top / "incoming").iterdir() if len(path.name) == 64] == []


@given(st.lists(st.integers(1, 3_000), min_size=1, max_size=8, unique=True), st.integers(1, 700))
def test_slices_cover_every_byte_once(sizes, part_size):
    """The arithmetic alone, for part sizes that no medium has."""
    contents = [bytes([number % 256]) * size for number, size in enumerate(sizes)]
    index = index_of(contents, part_size)
    stream = b"".join(contents)
    rebuilt = {each.digest: bytearray(each.size) for each in index.objects}
    found = {each.digest: [] for each in index.objects}
    for number in range(1, index.parts + 1):
        part = stream[(number - 1) * part_size : number * part_size]
        assert index.part_length(number) == len(part)
        for piece in index.slices(number):
            rebuilt[piece.object.digest][piece.start : piece.start + piece.length] = part[: piece.length]
            found[piece.object.digest].append(number)
            part = part[piece.length :]
        assert part == b""
    assert [bytes(each) for each in rebuilt.values()] == contents
    assert found == {each.digest: list(index.parts_of(each)) for each in index.objects}
    assert index_module.MIN_PART_BYTES == MIN_PART_BYTES


@given(st.integers(0, 2**40))
def test_sizes_agree(plain):
    assert plain_size(sealed_size(plain), what="x") == plain


@given(st.integers(0, 3 << 20))
def test_no_size_between(sealed):
    """A length that no stream has is refused before anything is opened."""
    try:
        plain = plain_size(sealed, what="x")
    except MediumDamaged:
        return
    assert sealed_size(plain) == sealed


AD = associated_data(SET, "part", 1)


@settings(max_examples=30, deadline=None)
@given(OBJECT_SIZES | st.just(0))
def test_seal_and_open(size):
    data, key = random.Random(size).randbytes(size), secrets.token_bytes(32)
    sink = io.BytesIO()
    seal_bytes(sink, data, key, AD)
    sealed = sink.getvalue()
    assert len(sealed) == sealed_size(size)
    assert open_bytes(io.BytesIO(sealed), len(sealed), key, AD, what="x", limit=1 << 30) == data


@given(st.binary(max_size=200))
def test_any_bytes_as_a_stream(data):
    with pytest.raises(MediumDamaged):
        open_bytes(io.BytesIO(data), len(data), bytes(32), AD, what="x", limit=1 << 30)
