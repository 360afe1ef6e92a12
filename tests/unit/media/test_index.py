"""The index: where each object lies, and everything that can't be so."""

import dataclasses
import json

import pytest

from registry.content import canonical
from registry.errors import FormatRefused
from registry.media.index import MAX_PARTS, MIN_PART_BYTES, Index, Object, parse_index

A, B, H = (f"sha256:{digit * 64}" for digit in "ab0")
INDEX = Index(
    "01M7ZR2K3RRPWNSYSEJR59BV9J",
    H,
    "2026-11-21T18:09:00Z",
    "c" * 64,
    1,
    ("d" * 64,),
    (b"statement",),
    (Object(A, 0, 1_500_000), Object(B, 1_500_000, 700_000)),
    MIN_PART_BYTES,
    (7, H),
)


def edit(**changes):
    return canonical.dump({**json.loads(INDEX.to_bytes()), **changes})


def test_round_trip():
    assert parse_index(INDEX.to_bytes(), what="x") == INDEX


def test_arithmetic():
    assert (INDEX.size, INDEX.parts) == (2_200_000, 3)
    assert [INDEX.part_length(number) for number in (1, 2, 3)] == [1 << 20, 1 << 20, 2_200_000 - (2 << 20)]
    pieces = [[(piece.object.digest, piece.start, piece.length) for piece in INDEX.slices(number)] for number in (1, 2, 3)]
    assert pieces == [[(A, 0, 1048576)], [(A, 1048576, 451424), (B, 0, 597152)], [(B, 597152, 102848)]]


def test_nothing_in_it():
    empty = dataclasses.replace(INDEX, objects=(), statements=())
    assert (empty.size, empty.parts) == (0, 0)
    assert parse_index(empty.to_bytes(), what="x") == empty


def test_extensions_are_kept():
    data = edit(extensions={"note": [1, "two"]})
    assert parse_index(data, what="x").to_bytes() == data


def objects(*each):
    return [{"digest": digest, "offset": offset, "size": size} for digest, offset, size in each]


BAD = {
    "gap": edit(objects=objects((A, 0, 10), (B, 11, 10)), parts=1),
    "overlap": edit(objects=objects((A, 0, 10), (B, 9, 10)), parts=1),
    "not from the start": edit(objects=objects((A, 1, 10)), parts=1),
    "an object twice": edit(objects=objects((A, 0, 10), (A, 10, 10)), parts=1),
    "no size": edit(objects=objects((A, 0, 0)), parts=0),
    "negative size": edit(objects=objects((A, 0, -1)), parts=0),
    "true as size": edit(objects=objects((A, 0, True)), parts=1),
    "true as offset": edit(objects=objects((A, False, 1)), parts=1),
    "another count of parts": edit(parts=4),
    "no parts": edit(parts=0),
    "tiny parts": edit(part_size=1),
    "giant parts": edit(part_size=1 << 40),
    "too many parts": edit(objects=objects((A, 0, MIN_PART_BYTES * (MAX_PARTS + 1))), parts=MAX_PARTS + 1, part_size=MIN_PART_BYTES),
    "version": edit(v=2),
    "unknown member": edit(more=1),
    "bases that this airlock can't have": edit(have=7),
    "set of another type": edit(set=7),
    "root": edit(root=0),
    "site": edit(sites=["D" * 64]),
    "sites of another type": edit(sites="d" * 64),
    "statement": edit(statements=["not base64!"]),
    "statement in another spelling": edit(statements=["c3RhdGVtZW50\n"]),
    "publisher": edit(publisher="c" * 63),
    "header": edit(header="0" * 64),
    "checkpoint": edit(checkpoint={"digest": H}),
    "checkpoint of another type": edit(checkpoint=[]),
    "extensions": edit(extensions=[]),
    "a member less": canonical.dump({key: value for key, value in json.loads(INDEX.to_bytes()).items() if key != "parity"}),
    "an array": b"[]",
    "text": b'"index"',
    "white space": INDEX.to_bytes() + b"\n",
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_refused(data):
    with pytest.raises(FormatRefused):
        parse_index(data, what="x")
