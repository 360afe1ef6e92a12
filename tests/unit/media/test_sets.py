"""Names: what both sides must spell the same."""

import pytest

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
