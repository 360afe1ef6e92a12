"""A receipt that is sealed to another station: nobody but the stations whose sets the site imported may learn what it holds."""

import base64
import dataclasses

from registry.media.recipients import new_identity


def test_it_does_not_open(serving, receipt_forge, receipt_refused):
    stranger = new_identity().recipient
    name = receipt_forge(serving).write("x.receipt", stations=[stranger])
    receipt_refused(serving, name, code=3, error="^x.receipt: sealed to other stations$", why=stranger.key_id[:8], hint="airlock receipt --to MEDIUM")


def test_beside_one_for_this_station_it_is_passed_over(serving, receipt_forge):
    """One stick goes round several publishers."""
    serving.path("stick").mkdir()
    serving.ok("in", "receipt", "--to", "stick")
    receipt_forge(serving).write("stick/airlock/receipts/ffffffff-20991231T000000Z.receipt", stations=[new_identity().recipient])
    assert len(serving.ok("out", "receipt", "stick", "--json").json["receipts"]) == 1


def test_a_site_that_imported_nothing_has_nobody_to_seal_to(exported):
    """A key that stands on a medium, and in no verified index, is nobody's."""
    exported.ok("in", "trust", "add", "usb", "--fingerprint", exported.fingerprint())
    exported.path("stick").mkdir()
    before = exported.events()
    done = exported.inside("receipt", "--to", "stick")
    assert done.code == 6
    assert done.lines["error"] == "no station is known here that could open a receipt"
    assert "airlock import MEDIUM" in done.lines["hint"]
    assert done.lines["unchanged"] == "no receipt was made"
    assert exported.events() == before
    assert list(exported.path("stick").iterdir()) == []


def test_a_publisher_that_is_no_longer_trusted_learns_nothing(serving, receipt_refused):
    serving.ok("in", "receipt", "--to", "one.receipt")
    [publisher] = serving.ok("in", "trust", "list", "--json").json
    serving.ok("in", "trust", "remove", publisher["publisher"])
    done = serving.inside("receipt", "--to", "two.receipt")
    assert (done.code, done.lines["error"]) == (6, "no station is known here that could open a receipt")
    assert not serving.path("two.receipt").exists()


def test_an_older_set_does_not_bring_an_older_station_key_back(serving, forge):
    """A station that lost its keystore has a new key; the old one is in somebody else's hands."""
    station = forge(serving)
    fresh = new_identity().recipient
    model = station.model()
    release = station.release(model)
    before = len(serving.events())
    for medium, recipient, set_id in (("newer", fresh, "7" * 26), ("older", new_identity().recipient, "0" * 26)):
        said = {"station": {"suite": recipient.suite, "public": base64.b64encode(recipient.public).decode("ascii")}}
        station.make_set(medium, [release], model.objects, set_id=set_id, change=lambda index, said=said: dataclasses.replace(index, extensions=said))
        serving.inside("import", medium)
    noted = [event["subject"]["key"] for event in serving.events()[before:] if event["verb"] == "station.key"]
    assert noted == [fresh.key_id]
