"""A config that makes a node send its users' prompts to another machine."""

import json

import pytest


@pytest.mark.parametrize(
    "config",
    [
        {"remote_host": "https://elsewhere.example", "remote_model": "large"},
        {"Remote_Host": "https://elsewhere.example"},
        {"remote_model": "large"},
    ],
    ids=["both", "other letter case", "model only"],
)
def test_refused(offered, forge, config):
    station = forge(offered)
    before = offered.holdings()
    model = station.model(config=json.dumps({"model_format": "gguf", **config}).encode())
    station.make_set("evil", [station.release(model)], model.objects)
    done = offered.inside("import", "evil")
    assert done.code == 3
    assert "config of library/forged:1b-r1: a model that runs elsewhere" in done.lines["error"]
    assert "would send its users' prompts to" in done.lines["why"]
    after = offered.holdings()
    assert (before["served"], before["catalog"][0]) == (after["served"], after["catalog"][0])
    assert offered.events()[-1]["subject"]["kind"] == "PolicyRefused"


def test_member_twice(offered, forge):
    """Go lets the last of two members win, whatever their letter case; another reader might take the first."""
    station = forge(offered)
    model = station.model(config=b'{"model_format":"gguf","MODEL_FORMAT":"x"}')
    station.make_set("evil", [station.release(model)], model.objects)
    assert offered.inside("import", "evil").code == 3
    assert ("library/forged:1b", 1, "quarantine") not in offered.releases()
