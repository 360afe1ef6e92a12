"""A repair request is forged, stolen, bent or replayed: the station must not seal what a site has no right to, nor leave anything half done."""

import json
import os

import pytest

from registry.content import canonical
from registry.store.home import Home
from registry.trust.envelope import REPAIR_TYPE, envelop
from registry.trust.keys import new_signer
from registry.trust.repair import MAX_REPAIR_BYTES, RepairRequest, sign_repair
from registry.workflow.actor import Credentials
from registry.workflow.site import open_site

MADE = "2026-11-21T18:09:00Z"


@pytest.fixture
def receipt_key(offered):
    """The site's own receipt key."""
    with open_site(Home(offered.path("in")), Credentials(lambda: offered.passphrase), "test", unlock=True) as site:
        return site.keys["receipt"]


@pytest.fixture
def refused(offered, tree):
    """Return a function that answers a request and expects a refusal which changes nothing."""
    offered.path("fresh").mkdir()

    def check(path, code, error, hint=""):
        before, events = tree(offered.root), offered.events("out")
        done = offered.outside("export", "--repair", path, "--to", "fresh")
        assert done.code == code, done.err
        assert error in done.lines["error"], done.err
        assert hint in done.lines["hint"], done.err
        assert done.lines["unchanged"] == "no repair was finished; the same command continues where this one stopped"
        assert list(offered.path("fresh").iterdir()) == []
        after = tree(offered.root)
        assert offered.events("out") == events
        assert {name: digest for name, digest in after.items() if not name.endswith("/lock")} == {
            name: digest for name, digest in before.items() if not name.endswith("/lock")
        }

    return check


def test_signed_by_somebody_else(offered, receipt_key, refused):
    """The request names the site, and another key signed it."""
    request = RepairRequest(receipt_key.public_key, offered.folder("stick").name, MADE, (1,))
    offered.path("forged.request").write_bytes(sign_repair(request, new_signer()))
    refused("forged.request", 3, "signed by an unknown key")


def test_parts_added_on_the_way(offered, receipt_key, refused):
    request = RepairRequest(receipt_key.public_key, offered.folder("stick").name, MADE, (1,))
    envelope = json.loads(sign_repair(request, receipt_key))
    other = json.loads(sign_repair(RepairRequest(request.receipt_key, request.set_id, MADE, (1, 2)), receipt_key))
    offered.path("edited.request").write_bytes(canonical.dump({**other, "signatures": envelope["signatures"]}))
    refused("edited.request", 3, "its signature is not valid")


def test_a_site_that_the_set_was_not_for(offered, refused):
    """Anybody can make a key and call it a site; a set is repaired for the sites it was sealed to."""
    stranger = new_signer()
    request = RepairRequest(stranger.public_key, offered.folder("stick").name, MADE, (1,))
    offered.path("stranger.request").write_bytes(sign_repair(request, stranger))
    refused("stranger.request", 3, "was not made for the site that asks", "airlock recipient list")


def test_a_site_that_is_known_but_had_another_set(offered, refused):
    """A recipient of one set is none of another."""
    offered.ok("in", "--home", "second", "site", "init")
    offered.export("two", "tiny:2b", recipients=("second/site.pub",))
    with open_site(Home(offered.path("second")), Credentials(lambda: offered.passphrase), "test", unlock=True) as site:
        key = site.keys["receipt"]
    request = RepairRequest(key.public_key, offered.folder("stick").name, MADE, (1,))
    offered.path("second.request").write_bytes(sign_repair(request, key))
    refused("second.request", 3, "was not made for the site that asks")


def test_a_set_of_another_station(offered, receipt_key, refused):
    """Or of this one before it was recovered: its log doesn't know the set, so a fresh export is the way."""
    request = RepairRequest(receipt_key.public_key, "01M7ZR2K3RRPWNSYSEJR59BV9J", MADE, (1,))
    offered.path("other.request").write_bytes(sign_repair(request, receipt_key))
    refused("other.request", 6, "was not begun by this station", "send a fresh export instead")


@pytest.mark.parametrize("parts", [(3,), (1, 10_000)])
def test_parts_that_the_set_does_not_have(offered, receipt_key, refused, parts):
    request = RepairRequest(receipt_key.public_key, offered.folder("stick").name, MADE, parts)
    offered.path("beyond.request").write_bytes(sign_repair(request, receipt_key))
    refused("beyond.request", 3, "the request is for parts that it doesn't have", "airlock repair-request")


def test_another_document_of_the_site(offered, refused):
    """What a site signed for another purpose is no request."""
    refused("in/site.pub", 3, "site.pub: ")


def bend_garbage(path):
    path.write_bytes(b"garbage")


def bend_empty(path):
    path.write_bytes(b"")


def bend_giant(path):
    with path.open("wb") as stream:
        stream.truncate(MAX_REPAIR_BYTES + 1)


def bend_link(path):
    path.symlink_to("/etc/hostname")


def bend_pipe(path):
    os.mkfifo(path)


def bend_unsigned(path):
    path.write_bytes(envelop(RepairRequest(new_signer().public_key, "01M7ZR2K3RRPWNSYSEJR59BV9J", MADE, (1,)).to_bytes(), REPAIR_TYPE, []))


@pytest.mark.parametrize(
    ("bend", "code", "error"),
    [
        (bend_garbage, 3, "not readable as JSON"),
        (bend_empty, 3, "not readable as JSON"),
        (bend_giant, 5, "larger than any airlock writes"),
        (bend_link, 5, "can't be used"),
        (bend_pipe, 5, "not a regular file"),
        (bend_unsigned, 3, "not signed by enough keys"),
    ],
)
def test_bent(offered, refused, bend, code, error):
    bend(offered.path("bent.request"))
    refused("bent.request", code, error)


@pytest.mark.parametrize("kind", ["link", "file", "twins"])
def test_folders_that_are_none(offered, refused, kind):
    """The medium's own folders lead elsewhere, or nobody knows which is meant."""
    top = offered.path("medium/airlock")
    top.mkdir(parents=True)
    if kind == "link":
        top.joinpath("repairs").symlink_to("/etc")
    elif kind == "file":
        top.joinpath("repairs").write_text("x")
    else:
        top.joinpath("repairs").mkdir()
        top.joinpath("REPAIRS").mkdir()
    refused("medium", 3, "more than one folder is called repairs" if kind == "twins" else "repairs: not a folder")


def test_replayed(offered, receipt_key):
    """The same request again brings the same parts again, for the same site: nothing that wasn't sealed to it before."""
    request = RepairRequest(receipt_key.public_key, offered.folder("stick").name, MADE, (2,))
    offered.path("replayed.request").write_bytes(sign_repair(request, receipt_key))
    for medium in ("first", "second"):
        offered.path(medium).mkdir()
        offered.ok("out", "export", "--repair", "replayed.request", "--to", medium)
    first, second = (offered.folder(medium) for medium in ("first", "second"))
    assert first.name == second.name == offered.folder("stick").name
    assert (first / "set.json").read_bytes() == offered.folder("stick").joinpath("set.json").read_bytes()
    assert [path.name for path in (second / "parts").iterdir()] == ["00000002.sealed"]
    repairs = [event["subject"] for event in offered.events("out") if event["verb"] == "set.repair"]
    assert repairs[0]["request"] == repairs[1]["request"]


def test_a_repair_that_was_changed_on_the_way(offered):
    """A part of a repair is checked like any other."""
    folder = offered.folder("stick")
    damaged = folder / "parts/00000001.sealed"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    assert offered.inside("import", "stick").code == 5
    offered.ok("in", "repair-request", "--to", "it.request")
    offered.path("fresh").mkdir()
    offered.ok("out", "export", "--repair", "it.request", "--to", "fresh")
    part = offered.folder("fresh") / "parts/00000001.sealed"
    part.write_bytes(os.urandom(part.stat().st_size))
    before = offered.holdings()
    done = offered.inside("import", "fresh")
    assert done.code == 5
    assert "part 1 of set" in done.lines["error"]
    assert offered.holdings() == before
