"""Roots change over the years: a site that missed forty of them catches up, and nobody whose key was retired can lead it astray."""

import pytest

from registry.errors import Refused, SignatureRefused, TrustRefused
from registry.trust.keys import new_signer
from registry.trust.refresh import Age, OfferedMetadata, TrustedMetadata, adopt_publisher, fingerprint, refresh
from registry.trust.roles import RoleKeys, new_root, new_snapshot, new_targets, new_timestamp


class Publisher:
    """A publisher with one key per role, each of which can be replaced."""

    def __init__(self, now):
        self.now = now
        self.keys = {"root": new_signer(), "targets": new_signer(), "station": new_signer()}
        self.roots = [new_root(1, self.roles(), [self.keys["root"]], now)]

    def roles(self):
        station = RoleKeys([self.keys["station"].public_key])
        return {
            "root": RoleKeys([self.keys["root"].public_key]),
            "targets": RoleKeys([self.keys["targets"].public_key]),
            "snapshot": station,
            "timestamp": station,
        }

    def rotate(self, *names):
        """Replace keys by a root that the old and the new root key sign."""
        old = self.keys["root"]
        self.keys |= {name: new_signer() for name in names}
        signers = {each.public_key.keyid: each for each in (old, self.keys["root"])}
        self.roots.append(new_root(len(self.roots) + 1, self.roles(), signers.values(), self.now))

    def offer(self, version, *, roots=None):
        targets = new_targets(version, {}, [self.keys["targets"]], self.now)
        snapshot = new_snapshot(version, targets, [self.keys["station"]], self.now)
        return OfferedMetadata(tuple(roots or self.roots), new_timestamp(version, snapshot, [self.keys["station"]], self.now), snapshot, targets)


@pytest.fixture
def publisher(now):
    return Publisher(now)


def trust(publisher, version=1):
    """What a site trusts after it imported ``version``."""
    offered = publisher.offer(version)
    return refresh(adopt_publisher(offered, fingerprint(offered.roots[0])), offered, now=publisher.now, floor=None).trusted


def test_forty_rotations_missed(publisher, now):
    trusted = trust(publisher)
    for number in range(40):
        publisher.rotate("root", "targets") if number % 2 else publisher.rotate("root", "station")
    caught_up = refresh(trusted, publisher.offer(2), now=now, floor=None)
    assert (caught_up.age, len(caught_up.trusted.roots)) == (Age.NEWER, 41)


def test_new_site_starts_from_todays_root(publisher):
    publisher.rotate("root")
    publisher.rotate("targets")
    offered = publisher.offer(1)
    assert adopt_publisher(offered, fingerprint(offered.roots[2])) == TrustedMetadata(tuple(publisher.roots))


def test_revoked_signer(publisher, now):
    """A release signer whose key was taken out of the root signs a newer list: refused."""
    trusted = trust(publisher)
    revoked = publisher.keys["targets"]
    publisher.rotate("targets")
    publisher.keys["targets"] = revoked
    with pytest.raises(SignatureRefused, match="targets.json: not signed by whom the root says"):
        refresh(trusted, publisher.offer(2), now=now, floor=None)


def test_retired_root_keys_fork_the_chain(publisher, now):
    """The holder of a retired root key signs another second root: sites that know the true one refuse the other history."""
    retired = publisher.keys["root"]
    publisher.rotate("root")
    trusted = trust(publisher)
    forger = Publisher(now)
    forger.keys["root"] = retired
    forged = new_root(2, forger.roles(), [retired], now)
    with pytest.raises(TrustRefused, match="root 2 is not the one trusted here"):
        refresh(trusted, forger.offer(9, roots=[publisher.roots[0], forged]), now=now, floor=None)
    # A new site compares the fingerprint of today's root by phone: it is nowhere in the forged chain.
    with pytest.raises(TrustRefused, match="not that of this publisher"):
        adopt_publisher(forger.offer(9, roots=[publisher.roots[0], forged]), fingerprint(publisher.roots[1]))


def test_root_not_signed_by_its_predecessor(publisher, now):
    trusted = trust(publisher)
    old = publisher.keys["root"]
    publisher.rotate("root")
    for signers in ([old], [publisher.keys["root"]]):
        publisher.roots[1] = new_root(2, publisher.roles(), signers, now)
        with pytest.raises(Refused, match=r"root.json: not signed by whom the root says"):
            refresh(trusted, publisher.offer(2), now=now, floor=None)


def test_fast_forwarded_version_and_its_recovery(publisher, now):
    """A thief of the station's key signs version 2^31: the publisher rotates that key and goes on counting where it was."""
    trusted = refresh(trust(publisher), publisher.offer(2**31), now=now, floor=None).trusted
    publisher.rotate("station", "targets")
    recovered = refresh(trusted, publisher.offer(2), now=now, floor=None)
    assert recovered.age is Age.NEWER
    assert b'"version":2,' in recovered.trusted.timestamp or b'"version":2}' in recovered.trusted.timestamp


def test_without_rotation_there_is_no_way_back(publisher, now):
    trusted = refresh(trust(publisher), publisher.offer(2**31), now=now, floor=None).trusted
    assert refresh(trusted, publisher.offer(3), now=now, floor=None).age is Age.OLDER
