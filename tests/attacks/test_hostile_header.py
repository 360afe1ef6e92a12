"""``set.json`` is read before anything is verified: giants, depths, twins and odd numbers must end in a refusal, quickly."""

import json

import pytest

from registry.media.sets import MAX_HEADER_BYTES
from registry.media.suites import SUITE_P384


def members(data, **changes):
    return json.dumps({**json.loads(data), **changes}, separators=(",", ":"), sort_keys=True).encode()


BAD = {
    "too large": (lambda data: b'{"a":"' + b"x" * MAX_HEADER_BYTES + b'"}', "larger than any|too large"),
    "16 MB": (lambda data: b"[" * (16 << 20), "larger than any"),
    "deep": (lambda data: b"[" * 100_000 + b"]" * 100_000, "not readable as JSON|not canonical"),
    "deeper than 16": (lambda data: b"[" * 17 + b"]" * 17, "not canonical JSON"),
    "duplicate member": (lambda data: data.replace(b'"format"', b'"extensions":{},"format"', 1), "not canonical JSON"),
    "integer beyond 2^53": (lambda data: members(data, extensions={"a": 2**53}), "not canonical JSON"),
    "giant integer": (lambda data: data.replace(b'"extensions":{}', b'"extensions":{"a":' + b"9" * 5000 + b"}"), "not readable as JSON"),
    "float": (lambda data: members(data, extensions={"a": 1.5}), "not readable as JSON"),
    "NaN": (lambda data: data.replace(b'"extensions":{}', b'"extensions":{"a":NaN}'), "not readable as JSON"),
    "white space": (lambda data: data.replace(b",", b", ", 1), "not canonical JSON"),
    "newline": (lambda data: data + b"\n", "not canonical JSON"),
    "byte order mark": (lambda data: b"\xef\xbb\xbf" + data, "not readable as JSON"),
    "not UTF-8": (lambda data: b"\xff" + data, "not readable as JSON"),
    "lone surrogate": (lambda data: data.replace(b'"extensions":{}', b'"extensions":{"a":"\\ud800"}'), "not canonical JSON"),
    "null byte": (lambda data: data + b"\0", "not readable as JSON"),
    "empty": (lambda data: b"", "not readable as JSON"),
    "an array": (lambda data: b"[]", "needs another format"),
    "unknown member": (lambda data: members(data, more=1), "not a set's header"),
    "no recipients": (lambda data: members(data, keys={}), "not a set's header"),
    "65 recipients": (lambda data: members(data, keys={f"{number:064x}": "aaaa" for number in range(65)}), "not a set's header"),
    "recipient id in upper case": (lambda data: members(data, keys={"A" * 64: "aaaa"}), "not a set's header"),
    "base64 in another spelling": (
        lambda data: members(data, keys={key: value + "\n" for key, value in json.loads(data)["keys"].items()}),
        "not a set's",
    ),
    "keys of another type": (lambda data: members(data, keys=[1]), "not a set's header"),
    "key of another type": (lambda data: members(data, keys={"0" * 64: 1}), "not a set's header"),
    "extensions of another type": (lambda data: members(data, extensions=[]), "not a set's header"),
    "set id": (lambda data: members(data, set="../../../../etc"), "not a set's header"),
    "suite": (lambda data: members(data, suite="none"), "sealed with a suite that this airlock doesn't know"),
    "another suite": (lambda data: members(data, suite=SUITE_P384), "not a set's header"),
    "suite of another type": (lambda data: members(data, suite=["none"]), "not a set's header"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD)
def test_refused(offered, refuses, change, message):
    path = offered.folder("stick") / "set.json"
    path.write_bytes(change(path.read_bytes()))
    scanned = path.stat().st_size > MAX_HEADER_BYTES
    refuses(offered, "stick", code=3, error=message, commits_metadata=not scanned)


def test_missing(offered, refuses):
    (offered.folder("stick") / "set.json").unlink()
    refuses(offered, "stick", code=3, error="set.json is missing", commits_metadata=True)


def test_extension_that_nobody_signed(offered, refuses):
    """Allowed in the format, but the signed index names the header's digest."""
    path = offered.folder("stick") / "set.json"
    path.write_bytes(members(path.read_bytes(), extensions={"note": "hello"}))
    refuses(offered, "stick", code=3, error="index belongs to another set or to another header", commits_metadata=True)
