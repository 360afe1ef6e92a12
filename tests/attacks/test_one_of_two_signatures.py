"""One release signer out of the two that the root asks for: a single stolen key, or a single person, must not be enough."""

import pytest

from registry.errors import SignatureRefused
from registry.trust.drafts import sign_draft
from registry.trust.keys import new_signer
from registry.trust.refresh import OfferedMetadata, adopt_publisher, fingerprint, refresh
from registry.trust.roles import RoleKeys, new_root, new_snapshot, new_targets, new_timestamp


@pytest.fixture
def two_of_three(now):
    """A publisher whose list needs two of three release signers."""
    signers = [new_signer() for _ in range(3)]
    root, station = new_signer(), new_signer()
    alone = RoleKeys([station.public_key])
    roles = {
        "root": RoleKeys([root.public_key]),
        "targets": RoleKeys([each.public_key for each in signers], 2),
        "snapshot": alone,
        "timestamp": alone,
    }

    def offer(targets):
        snapshot = new_snapshot(1, targets, [station], now)
        return OfferedMetadata((new_root(1, roles, [root], now),), new_timestamp(1, snapshot, [station], now), snapshot, targets)

    return signers, offer


def test_refused(two_of_three, now):
    signers, offer = two_of_three
    offered = offer(new_targets(1, {}, signers[:1], now))
    trusted = adopt_publisher(offered, fingerprint(offered.roots[0]))
    with pytest.raises(SignatureRefused, match=r"targets.json: not signed by whom the root says.*1/2"):
        refresh(trusted, offered, now=now, floor=None)


def test_two_are_enough(two_of_three, now):
    signers, offer = two_of_three
    offered = offer(new_targets(1, {}, signers[1:], now))
    trusted = adopt_publisher(offered, fingerprint(offered.roots[0]))
    assert refresh(trusted, offered, now=now, floor=None).trusted.targets == offered.targets


def test_signatures_of_the_same_key_count_once(two_of_three, now):
    """The same key twice: signing again adds nothing, and a file that lists it twice is no metadata."""
    signers, offer = two_of_three
    once = new_targets(1, {}, signers[:1], now)
    assert sign_draft(once, signers[0]) == once
    head, _, tail = once.partition(b'"signatures":[')
    entry, _, rest = tail.partition(b"]")
    twice = head + b'"signatures":[' + entry + b"," + entry + b"]" + rest
    offered = offer(once)
    forged = OfferedMetadata(offered.roots, offered.timestamp, offered.snapshot, twice)
    trusted = adopt_publisher(offered, fingerprint(offered.roots[0]))
    with pytest.raises(Exception, match=r"targets.json: not TUF metadata|not in canonical form"):
        refresh(trusted, forged, now=now, floor=None)


def test_a_stranger_beside_enough_signers_is_refused_too(two_of_three, now):
    signers, offer = two_of_three
    offered = offer(new_targets(1, {}, [*signers[:2], new_signer()], now))
    trusted = adopt_publisher(offered, fingerprint(offered.roots[0]))
    with pytest.raises(SignatureRefused, match="signed by an unknown key"):
        refresh(trusted, offered, now=now, floor=None)
