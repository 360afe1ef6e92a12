"""Names: what both sides must spell the same."""

import json
import re

import pytest

from registry.content import canonical
from registry.errors import FormatRefused
from registry.media.seal import Seal
from registry.media.sets import SET_ID, Header, metadata_names, new_set_id, parse_header


def test_set_ids_sort_by_time():
    ids = [new_set_id(milliseconds, b"\xff" * 10) for milliseconds in (0, 1, 1_700_000_000_000, 2**48 - 1)]
    assert ids == sorted(ids)
    assert all(SET_ID.match(each) for each in ids)
    assert ids[0] == "0000000000" + "Z" * 16
    assert ids[-1] == "7" + "Z" * 25


def test_known_ulid():
    assert new_set_id(1469918176385, bytes(10))[:10] == "01ARYZ6S41"  # from the ULID specification


@pytest.mark.parametrize(
    "text",
    ["", "01M7ZR2K3RRPWNSYSEJR59BV9", "8" + "Z" * 25, "01M7ZR2K3RRPWNSYSEJR59BV9I", "01m7zr2k3rrpwnsysejr59bv9j", "../../../../../../etc/pass"],
)
def test_not_a_set_id(text):
    assert not SET_ID.match(text)


def test_file_names():
    assert Seal(new_set_id(1, bytes(10)), bytes(32)).part_name(1) == "parts/00000001.sealed"
    assert metadata_names(2) == [
        "metadata/1.root.json",
        "metadata/2.root.json",
        "metadata/timestamp.json",
        "metadata/snapshot.json",
        "metadata/targets.json",
    ]


def test_header_keeps_extensions():
    header = Header(new_set_id(1, bytes(10)), {"0" * 64: bytes(1168)}, {"note": {"a": [1]}})
    assert parse_header(header.to_bytes(), what="x") == header


SET = new_set_id(1, bytes(10))
PLAIN_SET = {"extensions": {}, "format": "airlock-set-v1", "keys": {}, "requires": ["plain"], "set": SET, "suite": "plain"}
SEALED_SET = json.loads(Header(SET, {"0" * 64: bytes(1168)}).to_bytes())
REQUIRES = {
    "plain": PLAIN_SET,
    "plain with everything": {**PLAIN_SET, "requires": ["have", "parity", "plain"]},
    "sealed": SEALED_SET,
    "sealed with parity": {**SEALED_SET, "requires": ["parity"]},
    "sealed, things left out": {**SEALED_SET, "requires": ["have", "parity"]},
}


@pytest.mark.parametrize("document", REQUIRES.values(), ids=REQUIRES)
def test_requires(document):
    header = parse_header(canonical.dump(document), what="x")
    assert header.requires == tuple(document["requires"])
    assert header.to_bytes() == canonical.dump(document)


ODD = {
    "sealed, and says plain": ({**SEALED_SET, "requires": ["plain"]}, "doesn't fit its suite"),
    "plain, and doesn't say so": ({**PLAIN_SET, "requires": []}, "doesn't fit its suite"),
    "plain, and says only parity": ({**PLAIN_SET, "requires": ["parity"]}, "doesn't fit its suite"),
    "plain with a key": ({**PLAIN_SET, "keys": SEALED_SET["keys"]}, "its recipients are not in canonical form"),
    "sealed without a key": ({**SEALED_SET, "keys": {}}, "its recipients are not in canonical form"),
    "out of order": ({**SEALED_SET, "requires": ["parity", "have"]}, "not in canonical form"),
    "twice": ({**SEALED_SET, "requires": ["parity", "parity"]}, "not in canonical form"),
    "text": ({**SEALED_SET, "requires": "parity"}, "not in canonical form|members|type"),
    "null": ({**SEALED_SET, "requires": None}, "a member is missing or has another type"),
    "numbers": ({**SEALED_SET, "requires": [1]}, "1"),
    "a list in it": ({**SEALED_SET, "requires": [["parity"]]}, "parity"),
    "suite null": ({**SEALED_SET, "suite": None}, "another type"),
}


@pytest.mark.parametrize(("document", "why"), ODD.values(), ids=ODD)
def test_odd_requires(document, why):
    with pytest.raises(FormatRefused) as refusal:
        parse_header(canonical.dump(document), what="x")
    assert re.search(why, refusal.value.why)


def test_a_feature_of_tomorrow_is_named():
    with pytest.raises(FormatRefused) as refusal:
        parse_header(canonical.dump({**SEALED_SET, "requires": ["parity", "teleport"]}), what="set.json")
    assert (refusal.value.what, refusal.value.why) == ("set.json: needs features that this airlock doesn't have", "teleport")
    assert refusal.value.hint == "update airlock on this machine first"
