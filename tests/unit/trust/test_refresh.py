"""The TUF client workflow over a medium: each test one thing that a publisher, a thief or a courier may do."""

import dataclasses
from datetime import timedelta

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata

from registry.errors import FormatRefused, SignatureRefused, TrustRefused
from registry.trust.keys import new_signer
from registry.trust.refresh import Age, OfferedMetadata, TrustedMetadata, adopt_publisher, fingerprint, issued_at, refresh
from registry.trust.roles import new_snapshot, new_timestamp, serialise

HOUR = timedelta(hours=1)


@pytest.fixture
def site(publisher):
    """A site that trusts the publisher and imported its first set."""
    return Site(publisher).accept(publisher.publish())


@dataclasses.dataclass
class Site:
    publisher: object
    trusted: TrustedMetadata = None
    floor: object = None

    def __post_init__(self):
        self.trusted = self.trusted or TrustedMetadata(tuple(self.publisher.roots[:1]))

    def judge(self, offered, now=None):
        return refresh(self.trusted, offered, now=now or self.publisher.now, floor=self.floor)

    def accept(self, offered, age=Age.NEWER):
        done = self.judge(offered)
        assert done.age is age
        self.trusted, self.floor = done.trusted, max(filter(None, (self.floor, done.issued)))
        return self

    def refuses(self, offered, error=TrustRefused, match=None, now=None):
        before = self.trusted
        with pytest.raises(error, match=match) as refusal:
            self.judge(offered, now)
        assert self.trusted == before
        return refusal.value


def resigned(data, change, *signers):
    """Metadata changed and signed again."""
    metadata = Metadata.from_bytes(data)
    change(metadata.signed)
    metadata.signatures.clear()
    for signer in signers:
        metadata.sign(signer, append=True)
    return serialise(metadata)


def test_first_import(publisher):
    site = Site(publisher)
    offered = publisher.publish()
    done = site.judge(offered)
    assert done.age is Age.NEWER
    assert done.issued == issued_at(offered.timestamp) == publisher.now
    assert set(done.targets.targets) == {f"{digest[7:]}.json" for digest in publisher.statements}
    assert done.keys("timestamp") == ((publisher.keys["timestamp"][0].public_key,), 1)


def test_same_again(site, publisher):
    site.accept(publisher.publish())
    again = site.trusted
    site.accept(OfferedMetadata(again.roots, again.timestamp, again.snapshot, again.targets), Age.SAME)


def test_newer_then_older(site, publisher):
    old = publisher.publish()
    publisher.state("second")
    site.accept(publisher.publish())
    trusted = site.trusted
    site.accept(old, Age.OLDER)
    assert site.trusted == trusted
    assert len(site.judge(old).targets.targets) == 2, "an older set is judged by the newest list"


def test_every_file_is_needed_from_one_issue(site, publisher):
    first, second = publisher.publish(), publisher.publish()
    for name in ("timestamp", "snapshot", "targets"):
        site.refuses(dataclasses.replace(second, **{name: getattr(first, name)}), match="does not belong")


def test_three_root_rotations_missed(site, publisher):
    """A site catches up over a chain of roots, each signed by the one before."""
    for _ in range(3):
        publisher.rotate("root", "targets", "snapshot", "timestamp")
    site.accept(publisher.publish())
    assert len(site.trusted.roots) == 4
    publisher.rotate("root")
    site.accept(publisher.publish())


def test_forty_root_rotations_missed(site, publisher):
    for _ in range(40):
        publisher.rotate("root")
    site.accept(publisher.publish())
    assert len(site.trusted.roots) == 41


def test_rotation_without_the_old_key(site, publisher):
    """Somebody who took over the medium, not the root key, makes a root of their own."""
    publisher.keys["root"] = [new_signer()]
    publisher.sign_root()
    site.refuses(publisher.publish(), SignatureRefused, match="root.json: not signed by whom the root says")


def test_rotation_without_the_new_key(site, publisher):
    """A root must be signed by itself, too: else a typing error could lock everybody out."""
    old, publisher.keys["root"] = publisher.keys["root"], [new_signer()]
    publisher.sign_root(extra=old)
    data = Metadata.from_bytes(publisher.roots[-1])
    del data.signatures[publisher.keys["root"][0].public_key.keyid]
    publisher.roots[-1] = serialise(data)
    site.refuses(publisher.publish(), SignatureRefused)


def test_a_root_left_out(site, publisher):
    for _ in range(3):
        publisher.rotate("root")
    offered = publisher.publish()
    site.refuses(dataclasses.replace(offered, roots=(offered.roots[0], *offered.roots[2:])), match="2.root.json: has another version")


def test_forked_root(site, publisher):
    """Two roots with one number, both signed with the true key: a second history."""
    fork = list(publisher.roots)
    publisher.rotate("timestamp")
    site.accept(publisher.publish())
    publisher.roots = fork
    publisher.rotate("timestamp")
    refusal = site.refuses(publisher.publish(), match="root 2 is not the one trusted here")
    assert "second history" in refusal.hint


def test_retired_root_key_forks_the_chain_for_a_new_site(publisher):
    """Who starts from today's fingerprint can't be led onto a chain that an old, stolen root key continues."""
    retired = dict(publisher.keys)
    publisher.rotate("root")
    today = fingerprint(publisher.roots[-1])
    publisher.roots.pop()
    publisher.keys = retired
    publisher.rotate("root", "targets", "snapshot", "timestamp")
    with pytest.raises(TrustRefused, match="fingerprint"):
        adopt_publisher(publisher.publish(), today)


def test_fingerprint_of_any_root_in_the_chain(publisher):
    for _ in range(2):
        publisher.rotate("root")
    offered = publisher.publish()
    for root in offered.roots:
        assert adopt_publisher(offered, fingerprint(root)).roots == offered.roots
    broken = dataclasses.replace(offered, roots=(*offered.roots[:1], offered.roots[2]))
    with pytest.raises(TrustRefused):
        adopt_publisher(broken, fingerprint(offered.roots[0]))


def test_revoked_release_signer(site, publisher):
    revoked = publisher.keys["targets"]
    publisher.rotate("targets")
    site.accept(publisher.publish())
    publisher.keys["targets"] = revoked
    site.refuses(publisher.publish(), SignatureRefused, match="targets.json: not signed by whom the root says")


def test_set_from_before_a_rotation(site, publisher):
    """Its metadata hold in themselves; but its index must then be signed by the new key, and never is."""
    old = publisher.publish()
    publisher.rotate("timestamp", "snapshot")
    site.accept(publisher.publish())
    site.accept(old, Age.OLDER)
    assert site.judge(old).keys("timestamp") == ((publisher.keys["timestamp"][0].public_key,), 1)


def test_fast_forward_and_its_recovery(site, publisher):
    """A thief of the station's key signs version 2^31: every later version is older.  Rotating the key starts anew (TUF 5.3.11)."""
    stolen = dict(publisher.keys), dict(publisher.versions)
    site.accept(publisher.publish(timestamp=2**31, snapshot=2**31))
    publisher.versions = stolen[1]
    # The way out of the trap without a new key: none.
    assert site.judge(publisher.publish()).age is Age.OLDER
    publisher.rotate("timestamp", "snapshot")
    publisher.state("after the theft")
    site.accept(publisher.publish(timestamp=1, snapshot=1))
    site.accept(publisher.publish())
    publisher.keys = stolen[0]
    site.refuses(publisher.publish(timestamp=2**31 + 1, snapshot=2**31 + 1), SignatureRefused)


@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_rolled_back(site, publisher, role):
    for _ in range(3):
        site.accept(publisher.publish())
    site.refuses(publisher.publish(**{role: 1}), match="rolled back or mixed")


def test_two_lists_with_one_version(site, publisher):
    site.accept(publisher.publish())
    publisher.state("other")
    same = dict(publisher.versions)
    site.refuses(publisher.publish(**same), match="two different lists with the version number 2")


def test_vanished_statement(site, publisher):
    publisher.state("second")
    site.accept(publisher.publish())
    publisher.statements.popitem()
    refusal = site.refuses(publisher.publish(), match="1 statement.s. vanished")
    assert "withdraws by saying so" in refusal.hint


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_stray_signature(site, publisher, role):
    """A signature beyond the threshold that is not valid, or by a key that doesn't speak for the role, hides nothing."""
    offered = publisher.publish()
    stranger = Metadata.from_bytes(getattr(offered, role))
    stranger.sign(new_signer(), append=True)
    files = {"targets": offered.targets, "snapshot": offered.snapshot, "timestamp": offered.timestamp, role: serialise(stranger)}
    files = bound(publisher, **files)
    site.refuses(dataclasses.replace(offered, **files), SignatureRefused, match=f"{role}.json: signed by an unknown key")


def bound(publisher, targets, snapshot, timestamp):
    """The files above a changed one, signed again so that their hashes fit; the changed one itself stays as it is."""
    versions = publisher.versions
    fitting = new_snapshot(versions["snapshot"], targets, publisher.keys["snapshot"], publisher.now)
    if Metadata.from_bytes(fitting).signed.meta != Metadata.from_bytes(snapshot).signed.meta:
        snapshot = fitting
    fitting = new_timestamp(versions["timestamp"], snapshot, publisher.keys["timestamp"], publisher.now)
    if Metadata.from_bytes(fitting).signed.snapshot_meta != Metadata.from_bytes(timestamp).signed.snapshot_meta:
        timestamp = fitting
    return {"targets": targets, "snapshot": snapshot, "timestamp": timestamp}


def test_signature_of_a_threshold_that_is_not_valid(site, publisher):
    """Two keys for a role, threshold one: a bad second signature is refused all the same."""
    publisher.keys["timestamp"].append(new_signer())
    publisher.sign_root()
    offered = publisher.publish()
    assert site.judge(offered)
    metadata = Metadata.from_bytes(offered.timestamp)
    second = metadata.signatures[publisher.keys["timestamp"][1].public_key.keyid]
    second.signature = "00" * 64
    site.refuses(dataclasses.replace(offered, timestamp=serialise(metadata)), SignatureRefused, match="its signature is not valid")


def test_one_of_two_signatures(site, publisher):
    publisher.keys["targets"].append(new_signer())
    publisher.threshold["targets"] = 2
    publisher.sign_root()
    site.accept(publisher.publish())
    both, publisher.keys["targets"] = publisher.keys["targets"], publisher.keys["targets"][:1]
    refusal = site.refuses(publisher.publish(), SignatureRefused, match="targets.json: not signed by whom the root says")
    assert "1/2" in refusal.why
    publisher.keys["targets"] = both
    site.accept(publisher.publish())


def test_the_same_key_twice_is_one_signature(site, publisher):
    """A root that lists one key twice to reach its threshold is not a root."""
    publisher.keys["targets"] *= 2
    publisher.threshold["targets"] = 2
    with pytest.raises(ValueError):
        publisher.sign_root()


def test_unknown_algorithm(publisher):
    """A key of an algorithm that airlock doesn't use speaks for nobody."""
    publisher.keys["timestamp"] = [CryptoSigner.generate_rsa()]
    publisher.sign_root(extra=publisher.keys["root"])
    site = Site(publisher)
    with pytest.raises((FormatRefused, SignatureRefused, TrustRefused)):
        site.judge(publisher.publish())


def test_key_id_that_is_not_its_keys(site, publisher):
    offered = publisher.publish()

    def rename(root):
        [keyid] = root.roles["timestamp"].keyids
        key = root.keys.pop(keyid)
        key.keyid = "0" * 64
        root.keys["0" * 64] = key
        root.roles["timestamp"].keyids = ["0" * 64]

    publisher.rotate("timestamp")
    forged = resigned(publisher.roots[-1], rename, *publisher.keys["root"])
    with pytest.raises((FormatRefused, SignatureRefused)):
        site.judge(dataclasses.replace(offered, roots=(*offered.roots, forged)))


@pytest.mark.parametrize("change", [lambda text: text.upper(), lambda text: text[:-1] + "0", lambda text: text[:-2]], ids=["case", "digit", "length"])
def test_signature_in_another_spelling(site, publisher, change):
    offered = publisher.publish()
    metadata = Metadata.from_bytes(offered.timestamp)
    [signature] = metadata.signatures.values()
    before = signature.signature
    signature.signature = change(before)
    if signature.signature == before:
        return
    site.refuses(dataclasses.replace(offered, timestamp=serialise(metadata)), (FormatRefused, SignatureRefused))


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
@pytest.mark.parametrize("where", ["file", "signature"])
def test_members_that_no_signature_covers(site, publisher, role, where):
    """Whoever carries the medium could write there whatever they like."""
    publisher.rotate("root")
    offered = publisher.publish()
    data = offered.roots[1] if role == "root" else getattr(offered, role)
    change = (b'{"keyid"', b'{"a":1,"keyid"') if where == "signature" else (b'{"signatures"', b'{"a":1,"signatures"')
    edited = data.replace(*change, 1)
    changes = {"roots": (offered.roots[0], edited)} if role == "root" else {role: edited}
    site.refuses(dataclasses.replace(offered, **changes), FormatRefused, match="not in canonical form")


def test_another_role_in_a_roles_place(site, publisher):
    offered = publisher.publish()
    site.refuses(dataclasses.replace(offered, snapshot=offered.targets), FormatRefused, match="snapshot.json: has another type")


@pytest.mark.parametrize("issued", ["2026-11-21", "2026-11-21T18:09:00+00:00", "tomorrow", 7, None])
def test_no_time_of_issue(site, publisher, issued):
    offered = publisher.publish()

    def change(signed):
        signed.unrecognized_fields["issued"] = issued

    site.refuses(
        dataclasses.replace(offered, timestamp=resigned(offered.timestamp, change, *publisher.keys["timestamp"])),
        FormatRefused,
        match="says no time of issue",
    )


def test_time(site, publisher):
    offered = publisher.publish()
    site.refuses(offered, match="too old to be imported", now=publisher.now + timedelta(days=92))
    assert site.judge(offered, publisher.now + timedelta(days=92) - timedelta(seconds=1))
    site.refuses(offered, match="clock runs behind", now=site.floor - timedelta(seconds=1))
    assert site.judge(offered, site.floor)


def test_issued_in_the_future(publisher):
    site = Site(publisher)
    offered = publisher.publish()
    site.refuses(offered, match="issued in the future", now=publisher.now - timedelta(hours=24, seconds=1))
    assert site.judge(offered, publisher.now - timedelta(hours=24))


def test_another_publisher(site):
    other = type(site.publisher)()
    site.refuses(other.publish(), match="by another publisher")


def test_a_root_that_expired(site, publisher):
    """Ten years without a new root; the last one can't be used for imports any more, only replaced."""
    publisher.now += timedelta(days=3649)
    site.accept(publisher.publish())
    publisher.now += timedelta(days=2)
    site.refuses(publisher.publish(), match="expired|too old")
    publisher.rotate("root")
    site.accept(publisher.publish())
