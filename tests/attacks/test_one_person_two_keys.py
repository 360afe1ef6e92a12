"""One person poses as two, with a second key, an accomplice of their own making, or a log they wrote into."""

from datetime import UTC, datetime

import pytest

from registry.store import people, site
from registry.store.home import Home
from registry.workflow.actor import own_key
from registry.workflow.site import read_site


@pytest.fixture
def world(serving):
    """``anna`` has two keys; the site's own key is the other person."""
    serving.two_people()
    public = serving.person("anna", "token")
    assert serving.acting("anna:k", "people", "add-key", "--key", public).code == 0
    return serving


def test_second_key(world):
    number = world.acting("anna:k", "clock", "reset", "--json").json["proposal"]
    before = world.holdings()
    done = world.acting("anna:token", "confirm", str(number))
    assert done.code == 3
    assert done.lines["error"] == f"proposal {number}: one person can't do both"
    assert done.lines["unchanged"] == "the proposal has not taken effect"
    assert world.holdings() == before
    assert [each["proposal"] for each in world.ok("in", "proposals", "--json").json] == [number]


def test_accomplice(world):
    """Enrolling somebody is an act of two itself, and so is getting rid of the other one."""
    public = world.person("puppet")
    number = world.acting("anna:k", "people", "add", "puppet", "--key", public, "--json").json["proposal"]
    assert world.acting("puppet", "confirm", str(number)).code == 3
    assert world.acting("anna:token", "confirm", str(number)).code == 3
    [other] = [each for each in world.ok("in", "people", "list", "--json").json if not each["label"]]
    number = world.acting("anna:k", "people", "leave", other["person"][:8], "--json").json["proposal"]
    assert world.acting("anna:token", "confirm", str(number)).code == 3
    assert world.inside("promote", "tiny:2b").code == 0


@pytest.mark.parametrize("act", ["confirm", "enrol"])
def test_written_into_the_log(world, monkeypatch, act):
    """Whoever can write the database and has one person's key can't make a log that passes ``airlock check``."""
    number = world.acting("anna:k", "clock", "reset", "--json").json["proposal"]
    world.person("puppet")
    key = own_key(str(world.path("anna:token")), lambda: world.passphrase, str)()
    puppet = own_key(str(world.path("puppet")), lambda: world.passphrase, str)().public_key
    forged = {
        "confirm": ("act.confirm", {"proposal": number}),
        "enrol": ("people.add", {"key": {"keytype": puppet.keytype, "scheme": puppet.scheme, "keyval": puppet.keyval}}),
    }
    with monkeypatch.context() as patch:
        patch.setitem(site._VERBS, "act.confirm", lambda *_: None)
        patch.setitem(site._VERBS, "people.add", lambda database, event, subject: people._enrol(database, subject["key"], None))
        with read_site(Home(world.path("in"))) as log, log.transaction():
            verb, subject = forged[act]
            log.append(verb, subject, signer=key, now=datetime.now(UTC))
    done = world.inside("check")
    assert done.code == 7
    assert "one person can't do both" in done.lines["why"] if act == "confirm" else "enrolling somebody takes two people here" in done.lines["why"]
