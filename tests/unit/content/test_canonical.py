"""Canonical JSON: one value, one sequence of bytes."""

import pytest

from registry.content.canonical import MAX_DEPTH, MAX_INTEGER, dump, load
from registry.errors import FormatRefused


def read(data, limit=1000):
    return load(data, what="it", limit=limit)


def test_form():
    value = {"b": [1, None, True], "a": {"ü": "\n\x7f/"}, "": -0}
    assert dump(value) == '{"":0,"a":{"ü":"\\n\x7f/"},"b":[1,null,true]}'.encode()
    assert read(dump(value)) == value


def test_keys_sort_by_code_point():
    assert dump({"é": 1, "z": 2, "Z": 3, "aa": 4, "a": 5}) == '{"Z":3,"a":5,"aa":4,"z":2,"é":1}'.encode()


def deep(levels):
    value = 1
    for _ in range(levels):
        value = [value]
    return value


def test_bounds():
    for value in (MAX_INTEGER, -MAX_INTEGER, deep(MAX_DEPTH)):
        assert read(dump(value)) == value
    for value in (MAX_INTEGER + 1, deep(MAX_DEPTH + 1), 1.0, {1: 2}, b"x", ("a",)):
        with pytest.raises(ValueError):
            dump(value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" 1",
        b"1 ",
        b"1\n",
        b'{"a":1, "b":2}',
        b'{"b":1,"a":2}',
        b'{"a":1,"a":1}',
        b'{"a":1,"a":2}',
        b'"\\u0041"',
        b'"\\/"',
        b'"\\ud800"',
        b'"\xff"',
        b"\xef\xbb\xbf1",
        b"1.0",
        b"1e2",
        b"-0",
        b"NaN",
        b"Infinity",
        b"9007199254740992",
        b"-9007199254740992",
        b"9" * 900,
        b"[" * 900,
        b"[" * 17 + b"]" * 17,
        b"{",
        b"nul",
        b"'a'",
        "١".encode(),
    ],
)
def test_refused(data):
    with pytest.raises(FormatRefused) as refusal:
        read(data)
    assert refusal.value.what.startswith("it: ")
    assert refusal.value.why


def test_length_is_checked_before_parsing():
    assert read(b'"aa"', limit=4) == "aa"
    with pytest.raises(FormatRefused, match="at most 3 bytes are allowed, found 4"):
        read(b'"aa"', limit=3)
