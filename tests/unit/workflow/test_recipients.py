"""Recipient keys rotate, an escrow may open sets, and neither changes silently."""

import pytest


def rotated(world, *words):
    return world.ok("in", "site", "rotate-key", *words, "--json").json["fingerprint"]


def export(world, medium, *words):
    world.path(medium).mkdir(exist_ok=True)
    return world.outside("export", "--to", medium, "--recipient", "in/site.pub", *words)


def test_old_sets_can_still_be_imported(exported):
    exported.ok("in", "trust", "add", "usb", "--fingerprint", exported.fingerprint())
    rotated(exported)
    rotated(exported)
    exported.ok("in", "import", "usb")
    exported.ok("in", "check")


def test_a_new_site_pub_is_accepted_by_fingerprint(imported):
    fingerprint = rotated(imported)
    refused = export(imported, "new")
    assert refused.code == 3
    assert "airlock recipient accept FILE --fingerprint DIGITS" in refused.lines["hint"]
    wrong = imported.outside("recipient", "accept", "in/site.pub", "--fingerprint", "0" * 64)
    assert wrong.code == 3
    assert wrong.lines["unchanged"] == "exports are sealed as before"
    imported.ok("out", "recipient", "accept", "in/site.pub", "--fingerprint", fingerprint.upper())
    again = imported.ok("out", "recipient", "accept", "in/site.pub", "--fingerprint", fingerprint, "--json")
    assert again.json["changed"] is False
    [row] = imported.ok("out", "recipient", "list", "--json").json
    assert row["fingerprint"] == fingerprint
    assert export(imported, "new").code == 0
    imported.ok("in", "import", "new")
    imported.ok("out", "check")


def test_the_old_site_pub_is_refused_afterwards(imported):
    imported.path("old.pub").write_bytes(imported.path("in/site.pub").read_bytes())
    imported.ok("out", "recipient", "accept", "in/site.pub", "--fingerprint", rotated(imported))
    imported.path("new").mkdir()
    assert imported.outside("export", "--to", "new", "--recipient", "old.pub").code == 3


def test_another_suite(imported):
    fingerprint = rotated(imported, "--suite", "p384")
    imported.ok("out", "recipient", "accept", "in/site.pub", "--fingerprint", fingerprint)
    assert export(imported, "new").code == 0
    imported.ok("in", "import", "new")


def test_a_rotated_key_ends_an_unfinished_export(imported, monkeypatch):
    """What was begun for the old key is not continued for the new one."""
    set_ids = []
    monkeypatch.setattr("registry.workflow.parts.Parts.write", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    imported.path("new").mkdir()
    assert export(imported, "new").code == 130
    set_ids += [each.name for each in imported.path("new/airlock").iterdir()]
    monkeypatch.undo()
    imported.ok("out", "recipient", "accept", "in/site.pub", "--fingerprint", rotated(imported))
    done = export(imported, "new", "--json")
    assert done.code == 0, done.err
    assert done.json["continued"] is False
    assert done.json["set"] not in set_ids


@pytest.fixture
def escrow(imported):
    done = imported.airlock("--home", "escrow", "--passphrase-file", "passphrase", "escrow", "new", "--json")
    assert done.code == 0, done.err
    return done.json


def test_escrow_opens_what_names_it(imported, escrow):
    done = export(imported, "new", "--escrow", "escrow/escrow.pub")
    assert "new recipient, the escrow: compare its fingerprint by phone" in done.err
    show = ("--home", "escrow", "--passphrase-file", "passphrase", "inspect", "--open", "--json")
    opened = imported.airlock(*show, "new").json
    assert [each["name"] for each in opened["releases"]] == ["library/tiny:1b", "library/tiny:2b"]
    assert imported.airlock(*show, "usb").json["opened"] is False
    imported.ok("in", "import", "new")


def test_swapped_escrow_is_refused(imported, escrow):
    export(imported, "new", "--escrow", "escrow/escrow.pub")
    other = imported.airlock("--home", "evil", "--passphrase-file", "passphrase", "escrow", "new", "--json").json
    refused = export(imported, "new", "--escrow", "evil/escrow.pub")
    assert refused.code == 3
    assert "the escrow.pub is not the one known here" in refused.lines["error"]
    imported.ok("out", "recipient", "accept", "evil/escrow.pub", "--fingerprint", other["fingerprint"])
    assert export(imported, "new", "--escrow", "evil/escrow.pub").code == 0


def test_escrow_home_is_its_own(imported, escrow):
    assert imported.airlock("--home", "escrow", "--passphrase-file", "passphrase", "list").code == 2
    assert imported.airlock("--home", "in", "--passphrase-file", "passphrase", "escrow", "new").code == 2
    assert export(imported, "new", "--escrow", "in/site.pub").code == 3
