"""Roots that no publisher writes: a threshold of nothing, algorithms nobody chose, a key under another key's id."""

import json

import pytest

from registry.errors import Refused
from registry.trust.keys import new_signer
from registry.trust.refresh import OfferedMetadata, adopt_publisher, fingerprint
from registry.trust.roles import RoleKeys, new_root, new_snapshot, new_targets, new_timestamp


@pytest.fixture
def forged_root(now):
    """Return a function: change the members of a root before the root key signs them."""
    from securesystemslib.formats import encode_canonical

    signer = new_signer()
    alone = RoleKeys([signer.public_key])
    honest = new_root(1, dict.fromkeys(("root", "targets", "snapshot", "timestamp"), alone), [signer], now)
    targets = new_targets(1, {}, [signer], now)
    snapshot = new_snapshot(1, targets, [signer], now)
    timestamp = new_timestamp(1, snapshot, [signer], now)

    def forge(change):
        document = json.loads(honest)
        change(document["signed"])
        document["signatures"] = [signer.sign(encode_canonical(document["signed"]).encode()).to_dict()]
        root = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
        return OfferedMetadata((root,), timestamp, snapshot, targets)

    return forge


def refused(offered):
    with pytest.raises(Refused) as caught:
        adopt_publisher(offered, fingerprint(offered.roots[0]))
    return str(caught.value)


def test_unchanged_is_accepted(forged_root):
    offered = forged_root(lambda signed: None)
    assert adopt_publisher(offered, fingerprint(offered.roots[0])).roots == offered.roots


@pytest.mark.parametrize("threshold", [0, -1])
def test_threshold_of_nothing(forged_root, threshold):
    def change(signed):
        signed["roles"]["targets"]["threshold"] = threshold

    assert refused(forged_root(change))


@pytest.mark.parametrize("scheme", ["rsassa-pss-sha256", "none", "ed25519ph"])
def test_unknown_algorithm(forged_root, scheme):
    def change(signed):
        for key in signed["keys"].values():
            key["scheme"] = scheme

    assert refused(forged_root(change))


def test_key_under_another_id(forged_root):
    """Two ids for one key would let one person count twice."""

    def change(signed):
        [(keyid, key)] = signed["keys"].items()
        signed["keys"]["ab" * 32] = key
        signed["roles"]["root"]["keyids"].append("ab" * 32)
        signed["roles"]["root"]["threshold"] = 1
        assert keyid

    assert "a key id is not that of its key" in refused(forged_root(change))


def test_unknown_members(forged_root):
    def change(signed):
        signed["roles"]["mirrors"] = signed["roles"]["root"]

    assert refused(forged_root(change))
