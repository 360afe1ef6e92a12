"""Opening, headers and end of a stream: exactly one spelling each, in exactly one order."""

import itertools

import pytest

from registry.errors import FormatRefused
from registry.media.framing import END, HEADER_BYTES, Frame, announce, may_follow, opening, parse_frame, parse_opening

SET = "01M7ZR2K3RRPWNSYSEJR59BV9J"
NAMES = [
    "metadata/1.root.json",
    "metadata/2.root.json",
    "metadata/3.root.json",
    "metadata/timestamp.json",
    "metadata/snapshot.json",
    "metadata/targets.json",
    "medium.json",
    "set.json",
    "index.sealed",
    "parts/00000001.sealed",
    "parts/00000003.sealed",
    "parts/00010000.sealed",
]


def test_bytes():
    """Byte for byte as docs/reference/format.md says."""
    assert opening(SET) == b"airlock-stream-v1 01M7ZR2K3RRPWNSYSEJR59BV9J                   \n"
    assert announce("set.json", 2100) == b'{"name":"set.json","size":2100}                                \n'
    assert END == b'{"end":true}                                                   \n'
    assert {len(opening(SET)), len(announce("metadata/9999.root.json", 2**32)), len(END)} == {HEADER_BYTES}


def test_what_is_written_is_read():
    assert parse_opening(opening(SET)) == SET
    assert parse_frame(announce("parts/00000001.sealed", 4278190080), what="x") == Frame("parts/00000001.sealed", 4278190080)
    assert parse_frame(END, what="x") is None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x1f\x8b\x08" + bytes(61), "no stream of airlock"),
        (bytes(64), "no stream of airlock"),
        (opening(SET).replace(b"-v1", b"-v2"), "needs another format"),
        (opening(SET).replace(b"-v1", b"-v1.1"), "needs another format"),
        (opening(SET.lower()), "not in canonical form"),
        (opening("../../../etc"), "not in canonical form"),
        (opening(SET)[:-1] + b" ", "not in canonical form"),
        (opening(SET + " x"), "not in canonical form"),
        (opening(SET).replace(b" 01", b"  01")[:64], "not in canonical form"),
    ],
)
def test_openings_refused(data, message):
    with pytest.raises(FormatRefused, match=message):
        parse_opening(data)


@pytest.mark.parametrize(
    "data",
    [
        b'{"name":"set.json","size":0}',
        b'{"name":"set.json","size":-1}',
        b'{"name":"set.json","size":true}',
        b'{"name":"set.json","size":1.0}',
        b'{"name":"set.json","size":"1"}',
        b'{"name":["set.json"],"size":1}',
        b'{"name":"set.json"}',
        b'{"size":1}',
        b'{"name":"set.json","size":1,"x":1}',
        b'{"size":1,"name":"set.json"}',
        b'{"name": "set.json","size":1}',
        b' {"name":"set.json","size":1}',
        b'{"name":"set.json","size":1}\t',
        b'{"end":false}',
        b'{"end":1}',
        b'{"end":true,"size":1}',
        b"[]",
        b"null",
        b'"end"',
        b"",
        b"\xff",
        b"[" * 63,
    ],
)
def test_headers_refused(data):
    with pytest.raises(FormatRefused):
        parse_frame(data.ljust(63) + b"\n", what="x")
    with pytest.raises(FormatRefused):
        parse_frame(data + b"\n", what="x")


@pytest.mark.parametrize("last", [b" ", b"\r", b"}"])
def test_a_line_ends(last):
    with pytest.raises(FormatRefused):
        parse_frame(announce("set.json", 1)[:-1] + last, what="x")


def test_the_order():
    """Each name comes after the one before it; without the note on the medium; nothing else does."""
    allowed = set(itertools.pairwise(NAMES))
    allowed |= {
        ("metadata/1.root.json", "metadata/timestamp.json"),
        ("metadata/2.root.json", "metadata/timestamp.json"),
        ("metadata/targets.json", "set.json"),
        ("index.sealed", "parts/00000003.sealed"),
        ("index.sealed", "parts/00010000.sealed"),
        ("parts/00000001.sealed", "parts/00010000.sealed"),
    }
    found = {(before, name) for before in NAMES for name in NAMES if may_follow(name, before)}
    assert found == allowed
    assert [name for name in NAMES if may_follow(name, None)] == ["metadata/1.root.json"]
    assert [before for before in [None, *NAMES] if may_follow(None, before)] == NAMES[8:]


@pytest.mark.parametrize(
    "name",
    [
        "parts/00000000.sealed",
        "parts/1.sealed",
        "parts/00000001.plain",
        "parts/00000001.sealed/../x",
        "../00000001.sealed",
        "/etc/passwd",
        "parts/",
        "",
        "README.txt",
        "SHA256SUMS",
        "PARTS/00000001.SEALED",
        "parts/0000000١.sealed",
    ],
)
def test_names_that_no_part_has(name):
    assert not may_follow(name, "index.sealed")
    assert not may_follow(name, "parts/00000000.sealed")


def test_plain_sets_have_plain_parts():
    assert may_follow("parts/00000001.plain", "index.plain")
    assert may_follow("parts/00000002.plain", "parts/00000001.plain")
    assert not may_follow("parts/00000002.sealed", "parts/00000001.plain")
