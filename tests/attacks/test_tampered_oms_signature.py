"""An OMS signature travels that is not what the statement says of it: auditors would be shown a signature that nobody gave."""

import dataclasses

import pytest

from registry.content.digest import digest_of
from registry.content.manifest import Descriptor
from registry.errors import FormatRefused
from registry.trust.keys import new_signer
from registry.trust.oms import BUNDLE_TYPE, blob_name, key_of, oms_bundle
from registry.trust.statement import Evidence, parse_statement


def names_of(release):
    return {blob_name(each.digest): each.digest for each in release.objects[1:]}


def carrying(release, signer, bundle, **changes):
    """The release with this bundle, said to be the station's over all of its files unless ``changes`` say otherwise; and the bundle."""
    evidence = Evidence("oms", Descriptor(BUNDLE_TYPE, digest_of(bundle), len(bundle)), key_of(signer), release.name, names_of(release))
    return dataclasses.replace(release, evidence=(dataclasses.replace(evidence, **changes),)), bundle


def sound(release, signer):
    return carrying(release, signer, oms_bundle(release.name, names_of(release).items(), signer))


def by_another_key(release, signer):
    return carrying(release, signer, oms_bundle(release.name, names_of(release).items(), new_signer("ecdsa-p384")))


def edited(release, signer):
    bundle = bytearray(oms_bundle(release.name, names_of(release).items(), signer))
    place = bundle.index(b'"sig":"') + 40
    bundle[place] = ord("A") if bundle[place] != ord("A") else ord("B")
    return carrying(release, signer, bytes(bundle))


def over_fewer_files(release, signer):
    files = dict(list(names_of(release).items())[:1])
    return carrying(release, signer, oms_bundle(release.name, files.items(), signer), files=files)


def over_more_files(release, signer):
    files = {**names_of(release), "extra": digest_of(b"extra")}
    return carrying(release, signer, oms_bundle(release.name, files.items(), signer))


def for_another_model(release, signer):
    return carrying(release, signer, oms_bundle("library/other:1b-r1", names_of(release).items(), signer))


def said_to_be_for_another_model(release, signer):
    name = "library/other:1b-r1"
    return carrying(release, signer, oms_bundle(name, names_of(release).items(), signer), name=name)


def over_other_weights(release, signer):
    """Upstream signed a file of that name, with other content."""
    bundle = oms_bundle("upstream", [("tiny.gguf", digest_of(b"other weights"))], signer)
    return carrying(release, signer, bundle, kind="oms-upstream", name="upstream", files={"tiny.gguf": release.objects[1].digest})


CASES = {
    by_another_key: "oms signature: signed by another key",
    edited: "oms signature: its signature is not valid",
    over_fewer_files: "oms signature: not over exactly the files of this release",
    over_more_files: "oms signature: not over exactly the files of this release",
    for_another_model: "oms signature: for another model",
    said_to_be_for_another_model: "oms signature: not over exactly the files of this release",
    over_other_weights: "oms-upstream signature: does not cover tiny.gguf",
}


@pytest.mark.parametrize("attack", CASES, ids=lambda attack: attack.__name__)
def test_refused(offered, forge, attack):
    station = forge(offered)
    before, events = offered.holdings(), len(offered.events())
    model = station.model()
    release, bundle = attack(station.release(model), station.keys["oms"])
    station.make_set("evil", [release], {digest_of(bundle): bundle, **model.objects})
    done = offered.inside("import", "evil")
    assert done.code == 3
    assert f"library/forged:1b-r1: {CASES[attack]}" in done.lines["error"]
    assert done.lines["unchanged"] == "nothing was imported; what is served has not changed"
    after = offered.holdings()
    assert (after["served"], after["catalog"][0]) == (before["served"], before["catalog"][0])
    assert [event["verb"] for event in offered.events()[events:]] == ["metadata.accept", "set.refuse"]


def test_a_sound_one_is_imported(offered, forge):
    """The forge makes what the attacks change: without a change it passes."""
    station = forge(offered)
    model = station.model()
    release, bundle = sound(station.release(model), station.keys["oms"])
    station.make_set("good", [release], {digest_of(bundle): bundle, **model.objects})
    offered.ok("in", "import", "good")


def test_a_signature_that_does_not_travel(offered, refuses, forge):
    station = forge(offered)
    model = station.model()
    release, _ = sound(station.release(model), station.keys["oms"])
    station.make_set("evil", [release], model.objects)
    refuses(offered, "evil", code=3, error="its object map is not what its statements name", commits_metadata=True)


def test_a_signature_with_another_digest(offered, refuses, forge):
    station = forge(offered)
    model = station.model()
    release, bundle = sound(station.release(model), station.keys["oms"])
    station.make_set("evil", [release], {digest_of(bundle): bundle.replace(b"tlogEntries", b"tlogentries"), **model.objects})
    refuses(offered, "evil", code=3, error="not what its statement says", commits_metadata=True)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "sbom"},
        {"files": {}},
        {"files": {"tiny.gguf": digest_of(b"not in the release")}},
        {"bundle": Descriptor("text/plain", digest_of(b"x"), 1)},
        {"bundle": Descriptor(BUNDLE_TYPE, digest_of(b"x"), (4 << 20) + 1)},
    ],
    ids=["kind", "no file", "other file", "media type", "size"],
)
def test_statements_that_say_odd_things_of_it(offered, forge, change):
    station = forge(offered)
    release, _ = sound(station.release(station.model()), station.keys["oms"])
    odd = dataclasses.replace(release, evidence=(dataclasses.replace(release.evidence[0], **change),))
    with pytest.raises(FormatRefused):
        parse_statement(odd.to_bytes(), what="statement")
    twice = dataclasses.replace(release, evidence=release.evidence * 2)
    with pytest.raises(FormatRefused, match="twice"):
        parse_statement(twice.to_bytes(), what="statement")
    assert parse_statement(release.to_bytes(), what="statement") == release
