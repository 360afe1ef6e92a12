"""People: their own keys, enrolling, leaving, and acts that take two."""

import json

import pytest

from registry.errors import NotFound, Usage
from registry.store.home import Home
from registry.workflow.actor import own_key


def add(world, name, *, by=None):
    public = world.person(name)
    words = ("people", "add", name, "--key", public, "--json")
    return world.acting(by, *words) if by else world.inside(*words)


def test_own_key_without_the_sites_passphrase(serving):
    serving.two_people()
    done = serving.acting("anna", "promote", "tiny:2b")
    assert done.code == 0, done.err
    [event] = serving.events()[-1:]
    anna = serving.ok("in", "people", "list", "--json").json
    assert event["actor"] in next(each["keys"] for each in anna if each["label"] == "anna")


def test_the_log_names_nobody(serving):
    serving.two_people()
    assert "anna" not in json.dumps(serving.events())


def test_import_needs_the_site_keystore(imported):
    imported.two_people()
    refused = imported.acting("anna", "import", "usb")
    assert refused.code == 2
    assert "a passphrase is needed" in refused.lines["error"]
    both = imported.acting("anna", "import", "usb", "--passphrase-file", "passphrase")
    assert both.code == 0, both.err


def test_strangers_are_refused_before_anything_is_written(serving, tree):
    serving.person("eve")
    before = tree(serving.path("in"))
    done = serving.acting("eve", "promote", "tiny:2b")
    assert done.code == 3
    assert "may not act at this site" in done.lines["error"]
    assert "airlock people add LABEL --key FILE.pub" in done.lines["hint"]
    after = tree(serving.path("in"))
    assert {name: digest for name, digest in before.items() if name != "lock"} == {name: digest for name, digest in after.items() if name != "lock"}


def test_the_second_is_enrolled_by_one_the_third_by_two(serving):
    assert add(serving, "anna").json["proposal"] is None
    number = add(serving, "bert", by="anna").json["proposal"]
    assert serving.acting("bert", "promote", "tiny:2b").code == 3
    assert serving.inside("confirm", str(number)).code == 0
    assert serving.acting("bert", "promote", "tiny:2b").code == 0
    serving.ok("in", "check")


def test_one_persons_two_keys_are_one_person(serving):
    serving.two_people()
    second = serving.person("anna", "token")
    assert (
        serving.airlock("--home", "in", "people", "add-key", "--key", second, "--actor", "anna:k", "--actor-passphrase-file", "passphrase").code == 0
    )
    number = serving.acting("anna:k", "clock", "reset", "--json").json["proposal"]
    done = serving.acting("anna:token", "confirm", str(number))
    assert done.code == 3
    assert done.lines["error"] == f"proposal {number}: one person can't do both"
    assert done.lines["why"] == "the key that confirms belongs to the person who proposed it"
    assert done.lines["unchanged"] == "the proposal has not taken effect"
    assert serving.inside("confirm", str(number)).code == 0


def test_alone_it_says_how_to_enrol_a_second(serving):
    done = serving.inside("clock", "reset")
    assert done.code == 3
    assert done.lines["error"] == "this takes two people, and only one is enrolled"
    assert "airlock people add LABEL --key FILE.pub" in done.lines["hint"]


def test_a_key_is_enrolled_once(serving):
    serving.two_people()
    for words in (("people", "add", "other", "--key", "anna-k.pub"), ("people", "add-key", "--key", "anna-k.pub")):
        done = serving.inside(*words)
        assert done.code == 3
        assert "a key belongs to one person for ever" in done.lines["why"]


def test_who_left_acts_no_more(serving):
    serving.two_people()
    serving.ok("in", "confirm", str(add(serving, "bert", by="anna").json["proposal"]))
    waiting = serving.acting("bert", "clock", "reset", "--json").json["proposal"]
    assert serving.inside("people", "leave", "bert", "--json").json["proposal"] is None
    assert serving.acting("bert", "promote", "tiny:2b").code == 3
    done = serving.inside("confirm", str(waiting))
    assert done.code == 3
    assert done.lines["error"] == f"proposal {waiting} was rejected already"
    serving.ok("in", "check")


def test_nobody_gets_to_be_alone_by_themselves(serving):
    serving.two_people()
    proposed = serving.acting("anna", "people", "leave", "nobody")
    assert proposed.code == 6
    [site] = [each for each in serving.ok("in", "people", "list", "--json").json if not each["label"]]
    number = serving.acting("anna", "people", "leave", site["person"][:8], "--json").json["proposal"]
    assert serving.acting("anna", "confirm", str(number)).code == 3
    assert serving.inside("confirm", str(number)).code == 0
    assert serving.inside("promote", "tiny:2b").code == 3
    last = serving.acting("anna", "people", "leave", "anna")
    assert last.code == 3
    assert last.lines["error"] == "nobody would be left to act here"
    serving.ok("in", "check")


def test_a_proposal_is_settled_once(serving):
    serving.two_people()
    number = serving.acting("anna", "clock", "reset", "--json").json["proposal"]
    assert [each["proposal"] for each in serving.ok("in", "proposals", "--json").json] == [number]
    assert serving.acting("anna", "reject", str(number)).code == 0
    assert serving.inside("confirm", str(number)).code == 3
    assert serving.inside("confirm", "999").code == 6
    assert serving.ok("in", "proposals", "--json").json == []


def test_which_key(exported):
    exported.person("anna", "one")
    exported.person("anna", "two")
    home = str(exported.path("anna"))
    with pytest.raises(Usage, match="holds 2 keys"):
        own_key(home, lambda: exported.passphrase, str)
    with pytest.raises(NotFound):
        own_key(f"{home}:three", lambda: exported.passphrase, str)
    with pytest.raises(NotFound):
        own_key(str(exported.path("nowhere")), lambda: exported.passphrase, str)
    assert own_key(f"{home}:two", lambda: exported.passphrase, str)().public_key.keyid
    assert Home(exported.path("anna")).kind() == "signer"
