"""Upstream signatures at pin time, the station's own at export, both at the site.  tests/interop/test_oms.py does the same with the real model_signing."""

import json
import tomllib

import pytest

from registry.content.digest import digest_of
from registry.errors import Refused
from registry.store.home import Home
from registry.store.keystore import Keystore, create_keystore, open_keystore
from registry.trust.keys import new_signer
from registry.trust.oms import key_of, oms_bundle

SIGNER = new_signer("ecdsa-p384")
SIGNED = ("--upstream-oms", "up.sig", "--upstream-key", "up.pub")


def sign(world, files, signer=SIGNER):
    """Write ``up.sig`` over these files of the world, by the names given, and ``up.pub``."""
    bundle = oms_bundle("upstream", [(name, digest_of(world.path(file).read_bytes())) for name, file in files.items()], signer)
    world.path("up.sig").write_bytes(bundle)
    world.path("up.pub").write_bytes(key_of(SIGNER).pem)
    return bundle


def pins(world):
    return {pin["name"]: pin for pin in tomllib.loads(world.path("out/pins.toml").read_text())["pin"]}


@pytest.fixture
def signed(exported):
    """A world with a third model, ``three.gguf``, which upstream signed as one of two files."""
    exported.model("three.gguf", 3)
    sign(exported, {"gguf/three.gguf": "three.gguf", "one.gguf": "one.gguf"})
    return exported


def test_it_is_pinned_carried_and_shown(signed):
    done = signed.ok("out", "pin", "tiny:3b", "--from", "file:three.gguf", *SIGNED, "--json").json
    bundle = signed.path("up.sig").read_bytes()
    assert done["upstream"] == {
        "bundle": digest_of(bundle),
        "key": key_of(SIGNER).fingerprint,
        "signed_name": "upstream",
        "file": "gguf/three.gguf",
    }
    assert pins(signed)["library/tiny:3b"]["upstream_oms"] == digest_of(bundle)
    assert pins(signed)["library/tiny:3b"]["upstream_key"] == key_of(SIGNER).text
    listed = {row["name"]: row["upstream_oms"] for row in signed.ok("out", "pins", "--json").json}
    assert listed == {"library/tiny:1b": None, "library/tiny:2b": None, "library/tiny:3b": digest_of(bundle)}
    signed.path("up.sig").unlink()  # the station kept what it needs
    signed.export("stick")
    signed.ok("out", "check")
    signed.ok("in", "trust", "add", "stick", "--fingerprint", signed.fingerprint("stick"))
    signed.ok("in", "import", "stick")
    signed.ok("in", "check")
    shown = signed.ok("in", "show", "tiny:3b", "--json").json["releases"][0]
    ours, upstream = shown["evidence"]
    assert (ours["kind"], ours["signed_name"]) == ("oms", "library/tiny:3b-r3")
    assert set(ours["files"].values()) == {each["digest"] for each in shown["objects"][1:]}
    assert (upstream["kind"], upstream["signed_name"], upstream["key"]) == ("oms-upstream", "upstream", key_of(SIGNER).fingerprint)
    assert upstream["files"] == {"gguf/three.gguf": digest_of(signed.path("three.gguf").read_bytes())}
    text = signed.ok("in", "show", "tiny:3b").out
    assert "OMS by upstream, as upstream" in text
    signed.path("audit").mkdir()
    written = signed.ok("in", "evidence", "tiny:3b", "--to", "audit", "--json").json
    assert [each["command"].split()[:3] for each in written] == [["model_signing", "verify", "key"], []]
    assert signed.path(written[1]["bundle"]).read_bytes() == bundle
    assert signed.path(written[1]["public_key"]).read_bytes() == key_of(SIGNER).pem


def test_nodes_never_pull_it(signed):
    """The manifest names the model's blobs and nothing else: Ollama downloads every layer."""
    signed.ok("out", "pin", "tiny:3b", "--from", "file:three.gguf", *SIGNED)
    signed.export("stick")
    manifest = pins(signed)["library/tiny:3b"]["manifest"].removeprefix("sha256:")
    document = json.loads(signed.path("out/blobs/sha256", manifest[:2], manifest).read_bytes())
    named = {each["digest"] for each in (*document["layers"], document["config"])}
    assert len(named) == 2
    assert digest_of(signed.path("up.sig").read_bytes()) not in named


def refused(world, *arguments, code=3):
    """Pin what must be refused; return the refusal's lines."""
    before = world.path("out/pins.toml").read_bytes()
    done = world.outside("pin", "tiny:3b", *arguments)
    assert done.code == code, done.err
    assert done.lines["unchanged"] == "nothing was pinned"
    assert world.path("out/pins.toml").read_bytes() == before
    return done.lines


def test_other_content(signed):
    signed.model("three.gguf", 33)
    lines = refused(signed, "--from", "file:three.gguf", *SIGNED)
    assert lines["error"] == "up.sig: does not cover three.gguf"
    assert "found    gguf/three.gguf  sha256:" in lines["why"]


def test_another_name(signed):
    signed.path("three.gguf").rename(signed.path("four.gguf"))
    lines = refused(signed, "--from", "file:four.gguf", *SIGNED)
    assert lines["error"] == "up.sig: does not cover four.gguf"
    assert "found    gguf/three.gguf  sha256:" in lines["why"]


def test_another_key(signed):
    sign(signed, {"three.gguf": "three.gguf"}, new_signer("ecdsa-p384"))
    assert refused(signed, "--from", "file:three.gguf", *SIGNED)["error"] == "up.sig: signed by another key"


def test_something_else_than_a_signature_or_a_key(signed):
    assert "not readable as JSON" in refused(signed, "--from", "file:three.gguf", "--upstream-oms", "one.gguf", "--upstream-key", "up.pub")["error"]
    assert "not a public key" in refused(signed, "--from", "file:three.gguf", "--upstream-oms", "up.sig", "--upstream-key", "up.sig")["error"]
    assert "no such file" in refused(signed, "--from", "file:three.gguf", "--upstream-oms", "x", "--upstream-key", "up.pub", code=6)["error"]
    assert "can't be read" in refused(signed, "--from", "file:three.gguf", "--upstream-oms", "out", "--upstream-key", "up.pub", code=2)["error"]


def test_one_without_the_other(signed):
    for pair in (SIGNED[:2], SIGNED[2:]):
        assert "go together" in refused(signed, "--from", "file:three.gguf", *pair, code=2)["error"]


def test_a_release_never_changes(signed):
    """The bundle comes too late: the release was stated without it."""
    signed.ok("out", "pin", "tiny:3b", "--from", "file:three.gguf")
    signed.export("stick")
    lines = refused(signed, "--from", "file:three.gguf", *SIGNED)
    assert lines["error"] == "library/tiny:3b-r3: was released without this upstream signature"
    signed.ok("out", "pin", "tiny:3b-signed", "--from", "file:three.gguf", *SIGNED)


def test_pinning_the_same_again(signed):
    signed.ok("out", "pin", "tiny:3b", "--from", "file:three.gguf", *SIGNED)
    before = pins(signed)["library/tiny:3b"]
    signed.ok("out", "pin", "tiny:3b", "--from", "file:three.gguf", *SIGNED)
    assert pins(signed)["library/tiny:3b"] == before
    signed.ok("out", "pin", "tiny:3b", "--from", "file:three.gguf")
    assert set(before) - set(pins(signed)["library/tiny:3b"]) == {"upstream_oms", "upstream_key"}
    signed.ok("out", "pin", "tiny:3b", "--from", "file:three.gguf", *SIGNED)
    signed.export("stick")
    signed.ok("out", "pin", "tiny:3b", "--from", "file:three.gguf", *SIGNED)


def test_pins_that_somebody_edited(signed):
    """pins.toml is for people: what they change there is verified again before it is signed."""
    signed.ok("out", "pin", "tiny:3b", "--from", "file:three.gguf", *SIGNED)
    path = signed.path("out/pins.toml")
    other = key_of(new_signer("ecdsa-p384")).text
    path.write_text(path.read_text().replace(key_of(SIGNER).text, other))
    signed.path("stick").mkdir()
    done = signed.outside("export", "tiny:3b", "--to", "stick", "--recipient", "in/site.pub")
    assert done.code == 3
    assert "upstream signature of library/tiny:3b: signed by another key" in done.lines["error"]
    path.write_text("\n".join(line for line in path.read_text().splitlines() if not line.startswith("upstream_key")))
    done = signed.outside("pins")
    assert done.code == 3
    assert "a [[pin]] has other members" in done.lines["error"]


def test_a_station_without_an_oms_key(signed):
    home = Home(signed.path("out"))
    keystore = open_keystore(home.root, signed.passphrase)
    private = {name: value for name, value in keystore.private.items() if name != "oms"}
    public = {**keystore.public, "keys": {name: value for name, value in keystore.public["keys"].items() if name != "oms"}}
    create_keystore(home.root, signed.passphrase, Keystore(private, public))
    signed.ok("out", "pin", "tiny:3b", "--from", "file:three.gguf")
    signed.path("stick").mkdir()
    done = signed.outside("export", "--to", "stick", "--recipient", "in/site.pub")
    assert (done.code, done.lines["why"]) == (Refused.exit_code, "this station has no OMS key")
    assert done.lines["hint"] == "airlock key new oms --algorithm ecdsa-p384"
    signed.ok("out", "key", "new", "oms", "--algorithm", "ecdsa-p384")
    signed.export("stick")


def test_evidence_of_nothing(imported):
    done = imported.inside("evidence", "tiny:9b", "--to", ".")
    assert (done.code, done.lines["error"]) == (6, "library/tiny:9b: no such release here")
    done = imported.inside("evidence", "tiny:1b", "--to", "nowhere")
    assert (done.code, done.lines["error"]) == (6, "nowhere: not a directory")
