"""Sealing suites from ``site init`` to import: one per set, named in site.pub and set.json."""

import base64
import json

import pytest

from registry.media.recipients import new_identity
from registry.media.sets import parse_header
from registry.media.suites import SUITE_MLKEM1024_P384, SUITE_P384, SUITE_XWING, SUITES
from registry.store.home import Home
from registry.store.keystore import Keystore, create_keystore, open_keystore
from registry.workflow.identities import identities_in, with_identities
from registry.workflow.site_card import parse_site_card
from registry.workflow.station import open_keys, open_station


def lay_out(world, suites):
    """A station, and a site for each suite."""
    world.ok("out", "init")
    world.model("one.gguf", 1)
    world.ok("out", "pin", "tiny:1b", "--from", "file:one.gguf")
    for home, suite in suites.items():
        done = world.airlock("--home", home, "--passphrase-file", "passphrase", "site", "init", "--suite", suite, "--json")
        assert done.code == 0, done.err
        assert done.json["suite"] == suite


def header_of(folder):
    return parse_header((folder / "set.json").read_bytes(), what="set.json")


def make_old(home, passphrase):
    """Rewrite a keystore as it was before there was more than one suite."""
    keystore = open_keystore(home, passphrase)
    identity = next(each for each in identities_in(keystore) if each.suite == SUITE_XWING)
    private = {name: value for name, value in keystore.private.items() if not name.startswith("seal:")}
    private["seal"] = base64.b64encode(identity.secret).decode()
    public = {"keys": keystore.public["keys"], "recipient": base64.b64encode(identity.recipient.public).decode()}
    create_keystore(home, passphrase, Keystore(private, public))
    return identity


@pytest.mark.parametrize("suite", [SUITE_P384, SUITE_MLKEM1024_P384, SUITE_XWING])
def test_a_set_travels_in_every_suite(make_world, suite):
    world = make_world("empty")
    lay_out(world, {"in": SUITES[suite].short})
    assert parse_site_card(world.path("in/site.pub").read_bytes(), what="site.pub").recipient.suite == suite
    folder = world.export("usb")
    assert header_of(folder).suite == suite
    assert world.airlock("inspect", "usb", "--json").json["suite"] == suite
    assert world.ok("in", "inspect", "usb", "--open", "--json").json["opened"]
    assert world.ok("out", "inspect", "usb", "--open", "--json").json["opened"]  # the station is a recipient too
    world.ok("in", "trust", "add", "usb", "--fingerprint", world.fingerprint())
    world.ok("in", "import", "usb")
    assert world.releases() == [("library/tiny:1b", 1, "quarantine")]


def test_sites_of_one_suite_share_a_set(make_world):
    world = make_world("empty")
    lay_out(world, {"in": "p384", "there": "p384"})
    folder = world.export("usb", recipients=("in/site.pub", "there/site.pub"))
    assert len(header_of(folder).keys) == 3


def test_sites_of_two_suites_are_refused(make_world, tree):
    world = make_world("empty")
    lay_out(world, {"in": "p384", "there": "xwing"})
    world.path("usb").mkdir()
    done = world.outside("export", "--to", "usb", "--recipient", "in/site.pub", "--recipient", "there/site.pub")
    assert done.code == 2
    assert done.lines["error"] == "these sites share no sealing suite"
    assert "p384: site " in done.lines["why"]
    assert "xwing: site " in done.lines["why"]
    assert "once per suite" in done.lines["hint"]
    assert tree(world.path("usb")) == {}
    for medium, card in (("one", "in/site.pub"), ("two", "there/site.pub")):
        world.export(medium, recipients=(card,))


def test_an_unfinished_set_in_another_suite_continues(make_world):
    world = make_world("empty")
    lay_out(world, {"in": "mlkem1024-p384"})
    folder = world.export("usb")
    with open_station(Home(world.path("out")), lambda: world.passphrase, "test") as station:
        station.log.db.execute("UPDATE sets SET finished = NULL")
        station.log.db.execute("DELETE FROM written_media")
    next(folder.glob("parts/*")).unlink()
    assert world.export("usb") == folder


def test_old_homes_keep_opening(exported):
    """A site and a station whose keystores know only X-Wing."""
    site, station = make_old(exported.path("in"), exported.passphrase), make_old(exported.path("out"), exported.passphrase)
    assert open_keys(Home(exported.path("in")), exported.passphrase)[1] == (site,)
    assert exported.ok("out", "inspect", "usb", "--open", "--json").json["opened"]
    exported.ok("in", "trust", "add", "usb", "--fingerprint", exported.fingerprint())
    exported.ok("in", "import", "usb")
    assert len(exported.releases()) == 2
    exported.export("usb2")
    assert station in open_keys(Home(exported.path("out")), exported.passphrase)[1]


def test_an_old_station_learns_the_other_suites_once(exported):
    old = make_old(exported.path("out"), exported.passphrase)
    assert exported.airlock("--home", "new", "--passphrase-file", "passphrase", "site", "init", "--suite", "p384").code == 0
    folder = exported.export("usb2", recipients=("new/site.pub",))
    assert header_of(folder).suite == SUITE_P384
    identities = open_keys(Home(exported.path("out")), exported.passphrase)[1]
    assert sorted(each.suite for each in identities) == sorted(SUITES)
    assert old in identities
    exported.export("usb3", recipients=("new/site.pub",))
    assert open_keys(Home(exported.path("out")), exported.passphrase)[1] == identities
    assert exported.ok("out", "inspect", "usb", "--open", "--json").json["opened"]  # what was sealed to its first identity


def test_a_new_identity_stands_before_the_one_it_replaces():
    first, second = new_identity(SUITE_P384), new_identity(SUITE_P384)
    keystore = with_identities(Keystore({"actor": "x"}, {"keys": {}}), [first])
    assert identities_in(keystore) == (first,)
    assert identities_in(with_identities(keystore, [second])) == (second, first)
    assert identities_in(Keystore({"actor": "x"}, {"keys": {}})) == ()


def test_the_public_half_of_a_keystore_holds_no_private_key(make_world):
    world = make_world("empty")
    lay_out(world, {"in": "p384"})
    for home in ("in", "out"):
        text = world.path(home, "keystore.json").read_text()
        public = json.dumps(json.loads(text)["public"])
        for identity in open_keys(Home(world.path(home)), world.passphrase)[1]:
            assert base64.b64encode(identity.secret).decode() not in text
            assert identity.secret.hex() not in text
            assert identity.recipient.key_id in public


def test_a_site_pub_with_an_unknown_suite_is_refused(make_world):
    world = make_world("empty")
    lay_out(world, {"in": "xwing"})
    card = json.loads(world.path("in/site.pub").read_bytes())
    payload = base64.b64decode(card["payload"]).replace(SUITE_XWING.encode(), b"suite-of-tomorrow")
    with open_station(Home(world.path("out")), lambda: world.passphrase, "test"):
        pass  # the station itself is sound
    card["payload"] = base64.b64encode(payload).decode()
    world.path("odd.pub").write_text(json.dumps(card, sort_keys=True, separators=(",", ":")))
    done = world.outside("export", "--to", ".", "--recipient", "odd.pub")
    assert done.code == 3  # changed after it was signed; a site that signs it itself is told apart below


@pytest.mark.parametrize("suites", [["suite-of-tomorrow"], [], [SUITE_XWING, SUITE_P384], [["x"]]])
def test_a_card_that_advertises_no_one_suite_of_ours_is_refused(suites):
    from registry.content import canonical
    from registry.errors import FormatRefused
    from registry.media.sets import FORMAT
    from registry.trust.envelope import SITE_TYPE, envelop
    from registry.trust.keys import new_signer, public_to_json

    receipt = new_signer()
    public = base64.b64encode(new_identity(SUITE_XWING).recipient.public).decode()
    members = {"v": 1, "site": receipt.public_key.keyid, "recipient": public, "receipt_key": public_to_json(receipt.public_key)}
    data = envelop(canonical.dump({**members, "formats": [FORMAT], "suites": suites}), SITE_TYPE, [receipt])
    with pytest.raises(FormatRefused, match="reads no format that this station writes"):
        parse_site_card(data, what="site.pub")
