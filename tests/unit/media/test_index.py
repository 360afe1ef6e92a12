"""The index: where each object lies, and everything that can't be so."""

import dataclasses
import json

import pytest

from registry.content import canonical
from registry.errors import FormatRefused
from registry.media.index import MAX_PARTS, MIN_PART_BYTES, Held, Index, Object, parse_index
from registry.media.parity import Group

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


# Three parts of INDEX, and what may be said of objects that are left out and of parity over the parts.
HELD = {"digest": "sha256:" + "9" * 64, "set": "01M7ZR2K3RRPWNSYSEJR59BV9J", "size": 5}
GROUP = {"data": [1, 2, 3], "parity": [4]}


def test_left_out_and_parity():
    data = edit(
        have=[HELD, {**HELD, "digest": "sha256:" + "8" * 64, "set": None}], parity=[{"data": [1, 3], "parity": [4, 6]}, {"data": [2], "parity": [5]}]
    )
    index = parse_index(data, what="x")
    assert index.to_bytes() == data
    assert index.have[0] == Held(HELD["digest"], 5, HELD["set"])
    assert index.have[1].set_id is None
    assert index.numbers == range(1, 7)
    assert index.group_of(6) == index.group_of(3) == Group((1, 3), (4, 6))
    assert [index.part_length(number) for number in (4, 5, 6)] == [1 << 20] * 3
    alone = parse_index(edit(parity=[{"data": [1, 2], "parity": [4]}, {"data": [3], "parity": [5]}]), what="x")
    assert alone.part_length(5) == alone.part_length(3) < 1 << 20
    assert parse_index(edit(), what="x").group_of(1) is None


ODD = {
    "have: null": edit(have=None),
    "have: an object": edit(have={}),
    "have: twice": edit(have=[HELD, HELD]),
    "have: twice, by two sets": edit(have=[HELD, {**HELD, "set": None}]),
    "have: in the set as well": edit(have=[{**HELD, "digest": A}]),
    "have: no digest": edit(have=[{**HELD, "digest": "9" * 64}]),
    "have: no size": edit(have=[{**HELD, "size": 0}]),
    "have: size true": edit(have=[{**HELD, "size": True}]),
    "have: size as text": edit(have=[{**HELD, "size": "5"}]),
    "have: no set id": edit(have=[{**HELD, "set": "x"}]),
    "have: set id in lower case": edit(have=[{**HELD, "set": HELD["set"].lower()}]),
    "have: set of another type": edit(have=[{**HELD, "set": 7}]),
    "have: a member more": edit(have=[{**HELD, "more": 1}]),
    "have: a member less": edit(have=[{"digest": HELD["digest"], "size": 5}]),
    "have: a number": edit(have=[7]),
    "parity: null": edit(parity=None),
    "parity: an object": edit(parity={}),
    "parity: a part is left out": edit(parity=[{**GROUP, "data": [1, 2]}]),
    "parity: a part twice": edit(parity=[{"data": [1, 2, 3], "parity": [4]}, {"data": [3], "parity": [5]}]),
    "parity: part 0": edit(parity=[{**GROUP, "data": [0, 1, 2, 3]}]),
    "parity: a part too many": edit(parity=[{"data": [1, 2, 3, 4], "parity": [5]}]),
    "parity: out of order": edit(parity=[{**GROUP, "data": [1, 3, 2]}]),
    "parity: parity out of order": edit(parity=[{**GROUP, "parity": [5, 4]}]),
    "parity: a gap": edit(parity=[{**GROUP, "parity": [5]}]),
    "parity: a part as parity": edit(parity=[{"data": [1, 2], "parity": [3, 4]}]),
    "parity: a parity part twice": edit(parity=[{"data": [1, 2], "parity": [4]}, {"data": [3], "parity": [4]}]),
    "parity: none in a group": edit(parity=[{**GROUP, "parity": []}]),
    "parity: no data in a group": edit(parity=[GROUP, {"data": [], "parity": [5]}]),
    "parity: thirty-three": edit(parity=[{**GROUP, "parity": list(range(4, 34))}]),
    "parity: one as text": edit(parity=[{**GROUP, "data": "123"}]),
    "parity: true": edit(parity=[{**GROUP, "data": [True, 2, 3]}]),
    "parity: a member more": edit(parity=[{**GROUP, "more": 1}]),
    "parity: a member less": edit(parity=[{"data": [1, 2, 3]}]),
    "parity: a number": edit(parity=[7]),
    "parity: over nothing": edit(objects=[], parts=0, parity=[{"data": [], "parity": [1]}]),
    "withdrawals": edit(withdrawals=[1]),
}


@pytest.mark.parametrize("data", ODD.values(), ids=ODD)
def test_odd(data):
    """Every refusal says why, or what to do."""
    with pytest.raises(FormatRefused) as refusal:
        parse_index(data, what="x")
    assert refusal.value.why or refusal.value.hint


def test_parts_and_parity_parts_together_are_bounded():
    whole = objects((A, 0, MIN_PART_BYTES * MAX_PARTS))
    groups = [{"data": [number], "parity": [MAX_PARTS + number]} for number in range(1, MAX_PARTS + 1)]
    assert parse_index(edit(objects=whole, parts=MAX_PARTS), what="x").parts == MAX_PARTS
    with pytest.raises(FormatRefused, match="out of bounds"):
        parse_index(edit(objects=whole, parts=MAX_PARTS, parity=groups), what="x")
