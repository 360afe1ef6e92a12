"""A model file that can run code when it is loaded, or no model at all, in a set that is signed and sealed as it must be."""

import io
import pickle
import zipfile

import pytest


def archive():
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as file:
        file.writestr("model.pkl", b"x")
    return sink.getvalue()


BAD = {
    "pickle": pickle.dumps({"weights": [1, 2, 3]}),
    "zip": archive(),
    "text": b"#!/bin/sh\necho hello\n",
    "cut": b"GGUF\x03\0\0\0",
    "absurd counts": b"GGUF\x03\0\0\0" + b"\xff" * 8 + b"\xff" * 8,
    "one byte": b"G",
}


@pytest.mark.parametrize("weights", BAD.values(), ids=BAD)
def test_refused_at_import(offered, forge, weights):
    station = forge(offered)
    before = offered.holdings()
    model = station.model(weights=weights)
    station.make_set("evil", [station.release(model)], model.objects)
    done = offered.inside("import", "evil")
    assert done.code == 3
    assert "library/forged:1b-r1: model sha256:" in done.lines["error"]
    assert done.lines["unchanged"] == "nothing was imported; what is served has not changed"
    after = offered.holdings()
    assert (before["served"], before["catalog"][0]) == (after["served"], after["catalog"][0])
    assert before["blobs"] == after["blobs"], "nothing of a refused model stays"
    assert offered.events()[-1]["verb"] == "set.refuse"


@pytest.mark.parametrize("weights", BAD.values(), ids=BAD)
def test_refused_at_pin(exported, tree, weights):
    exported.path("bad.gguf").write_bytes(weights)
    before = tree(exported.path("out/blobs")), exported.path("out/pins.toml").read_bytes()
    done = exported.outside("pin", "bad:1b", "--from", "file:bad.gguf")
    assert done.code == 3
    assert "bad.gguf" in done.lines["error"]
    assert done.lines["unchanged"] == "nothing was pinned"
    assert (tree(exported.path("out/blobs")), exported.path("out/pins.toml").read_bytes()) == before
