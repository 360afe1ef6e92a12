"""Somebody writes a receipt in a site's name: the station would leave out what that site never had, or learn what it never said."""

import dataclasses

from registry.media.receipt_file import seal_receipt
from registry.trust.envelope import RECEIPT_TYPE, envelop
from registry.trust.keys import new_signer
from registry.trust.receipt import sign_receipt


def test_signed_by_another_key(serving, receipt_forge, receipt_refused):
    """Whoever has a set has the station's public key, and can seal to it."""
    forge = receipt_forge(serving)
    receipt_refused(serving, forge.write("x.receipt", key=new_signer()), code=3, error="^x.receipt: signed by an unknown key$")


def test_by_another_site_in_its_own_name(serving, receipt_forge, receipt_refused):
    """A whole receipt by a site that nobody here knows."""
    stranger = new_signer()
    forge = receipt_forge(serving)
    receipt = dataclasses.replace(forge.receipt, site=stranger.public_key.keyid, receipt_key=stranger.public_key)
    name = forge.write("x.receipt", receipt, key=stranger)
    receipt_refused(
        serving, name, code=3, error="^x.receipt: of a site that is not known here$", hint="airlock recipient accept site.pub --fingerprint"
    )


def test_by_another_site_in_this_ones_name(serving, receipt_forge, receipt_refused):
    """Its own key, this site's id: a site is the key it signs with."""
    stranger = new_signer()
    forge = receipt_forge(serving)
    receipt = dataclasses.replace(forge.receipt, receipt_key=stranger.public_key)
    receipt_refused(
        serving, forge.write("x.receipt", receipt, key=stranger), code=3, error="not a receipt of this version", why="its site is not the key"
    )


def test_not_signed_at_all(serving, receipt_forge, receipt_refused):
    forge = receipt_forge(serving)
    data = seal_receipt(envelop(forge.receipt.to_bytes(), RECEIPT_TYPE, []), forge.stations)
    serving.path("x.receipt").write_bytes(data)
    receipt_refused(serving, "x.receipt", code=3, error="not signed by enough keys")


def test_changed_after_it_was_signed(serving, receipt_forge, receipt_refused):
    """By another publisher's station, which can open it and seal it again."""
    forge = receipt_forge(serving)
    envelope = sign_receipt(forge.receipt, forge.key)
    other = sign_receipt(dataclasses.replace(forge.receipt, holds=()), forge.key)
    bent = envelope.replace(envelope.split(b'"sig":"')[1][:88], other.split(b'"sig":"')[1][:88])
    serving.path("x.receipt").write_bytes(seal_receipt(bent, forge.stations))
    receipt_refused(serving, "x.receipt", code=3, error="its signature is not valid")


def test_a_forged_one_does_not_hide_a_good_one(serving, receipt_forge):
    """The good one is on record all the same, and the command says that something is wrong."""
    serving.path("stick").mkdir()
    serving.ok("in", "receipt", "--to", "stick")
    receipt_forge(serving).write("stick/airlock/receipts/ffffffff-20991231T000000Z.receipt", key=new_signer())
    done = serving.outside("receipt", "stick")
    assert done.code == 3
    assert "signed by an unknown key" in done.lines["error"]
    assert done.lines["unchanged"].startswith("on record all the same: the receipt of site ")
    assert serving.events("out")[-1]["verb"] == "receipt.accept"
