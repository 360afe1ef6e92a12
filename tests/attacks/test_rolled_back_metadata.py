"""The station itself goes back: a newer timestamp over an older snapshot, or a newer snapshot over an older list."""

import pytest


@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_rolled_back(offered, refuses, forge, role):
    """After an accepted import of higher versions, lower ones under a newer timestamp are refused."""
    station = forge(offered)
    model = station.model()
    release = station.release(model)
    station.make_set("new", [release], model.objects)
    offered.ok("in", "import", "new")
    lower = {role: station.version + 50, "timestamp": station.version + 200}
    if role == "targets":
        lower["snapshot"] = station.version + 200
    metadata = station.metadata([*station.statements, release.to_bytes()], versions=lower)
    station.make_set("evil", [release], model.objects, metadata=metadata)
    refuses(offered, "evil", code=3, error=r"(snapshot|timestamp|targets)\.json: rolled back or mixed", hint="ask the publisher by phone")
