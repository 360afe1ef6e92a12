"""Somebody swaps ``site.pub`` on its way out: what is meant for the site could be opened by another."""

import base64
import json

from registry.content import canonical
from registry.media.recipients import new_identity
from registry.store.home import Home
from registry.workflow.actor import Credentials
from registry.workflow.site import open_site
from registry.workflow.site_card import write_site_card


def test_silent_change(exported):
    """A site that is known comes with another recipient key, signed by its own receipt key."""
    with open_site(Home(exported.path("in")), Credentials(lambda: exported.passphrase), "test", unlock=True) as site:
        swapped = write_site_card(new_identity().recipient, site.keys["receipt"])
    exported.path("swapped.pub").write_bytes(swapped)
    exported.path("stick").mkdir()
    before = exported.events("out")
    done = exported.outside("export", "--to", "stick", "--recipient", "swapped.pub")
    assert done.code == 3
    assert "the site.pub of site" in done.lines["error"]
    assert done.lines["why"].startswith("known ")
    assert "compare the fingerprint with the site by phone" in done.lines["hint"]
    assert list(exported.path("stick").iterdir()) == []
    assert exported.events("out") == before


def test_new_site_is_named(exported):
    """The first time nobody can know; so its fingerprint is said, to be compared by phone."""
    exported.ok("in", "--home", "second", "site", "init")
    exported.path("stick").mkdir()
    done = exported.ok("out", "export", "--to", "stick", "--recipient", "second/site.pub")
    assert "new recipient, site " in done.err
    assert "compare its fingerprint by phone" in done.err
    again = exported.ok("out", "export", "--to", "stick", "--recipient", "second/site.pub")
    assert "new recipient" not in again.err


def test_every_byte_counts(exported):
    good = exported.path("in/site.pub").read_bytes()
    exported.path("stick").mkdir()
    for place in range(0, len(good), 37):
        data = bytearray(good)
        data[place] ^= 1
        exported.path("bad.pub").write_bytes(data)
        done = exported.outside("export", "--to", "stick", "--recipient", "bad.pub")
        assert done.code == 3, place
    assert list(exported.path("stick").iterdir()) == []


def test_card_with_another_site_id(exported):
    """The id is the receipt key's, not what somebody writes there."""
    envelope = json.loads(exported.path("in/site.pub").read_bytes())
    card = json.loads(base64.b64decode(envelope["payload"]))
    card["site"] = "0" * 64
    envelope["payload"] = base64.b64encode(canonical.dump(card)).decode()
    exported.path("bad.pub").write_bytes(canonical.dump(envelope))
    assert exported.outside("export", "--to", "usb", "--recipient", "bad.pub").code == 3
