"""The index changed on the way, cut, or not there."""

import pytest


def flip(data, place):
    changed = bytearray(data)
    changed[place] ^= 1
    return bytes(changed)


CHANGES = {
    "first byte": lambda data: flip(data, 0),
    "body": lambda data: flip(data, 200),
    "tag": lambda data: flip(data, -1),
    "cut": lambda data: data[:-1],
    "empty": lambda data: b"",
    "longer": lambda data: data + b"\0",
    "something else": lambda data: b"hello",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_edited(offered, refuses, change):
    index = offered.folder("stick") / "index.sealed"
    index.write_bytes(change(index.read_bytes()))
    refuses(offered, "stick", code=3, error=r"set \w{26}: index: damaged", hint="copy the medium again", commits_metadata=True)


def test_missing(offered, refuses):
    (offered.folder("stick") / "index.sealed").unlink()
    refuses(offered, "stick", code=3, error=r"set \w{26}: index is missing", hint="copy the medium again", commits_metadata=True)
