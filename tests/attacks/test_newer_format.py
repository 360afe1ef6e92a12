"""A set of a newer airlock: the old one must say "update me" and not "wrong key"."""

import json

import pytest


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "airlock-set-v2"}, "set.json: needs another format"),
        ({"format": "airlock-set-v2", "more": {"a": 1}, "keys": []}, "set.json: needs another format"),
        ({"requires": ["parity-v3"]}, "set.json: needs features that this airlock doesn't have"),
        ({"requires": ["parity-v3"], "suite": "other", "keys": {}}, "set.json: needs features that this airlock doesn't have"),
    ],
    ids=["format", "format and members", "feature", "feature and suite"],
)
def test_says_update(offered, refuses, changes, message):
    path = offered.folder("stick") / "set.json"
    path.write_bytes(json.dumps({**json.loads(path.read_bytes()), **changes}, separators=(",", ":"), sort_keys=True).encode())
    refuses(offered, "stick", code=3, error=message, hint="update airlock", commits_metadata=True)
