"""The manifest names other blobs than the signed statement: a node would pull what nobody vouched for."""

import dataclasses


def test_refused(offered, forge):
    station = forge(offered)
    before = offered.holdings()
    model, other = station.model(7), station.model(8)
    release = station.release(model)
    weights, config = release.objects[1:]
    swapped = dataclasses.replace(
        release, objects=(release.objects[0], dataclasses.replace(weights, media_type="application/vnd.ollama.image.system"), config)
    )
    station.make_set("evil", [swapped], model.objects)
    done = offered.inside("import", "evil")
    assert done.code == 3
    assert "library/forged:1b-r1: its manifest names other blobs than its statement" in done.lines["error"]
    assert offered.holdings()["catalog"][0] == before["catalog"][0]
    more = dataclasses.replace(release, objects=(*release.objects, *station.release(other).objects[1:2]))
    station.version += 1
    station.make_set(
        "more",
        [more],
        model.objects | dict(list(other.blobs.items())[:1]),
        metadata=station.metadata([*station.statements, swapped.to_bytes(), more.to_bytes()]),
    )
    done = offered.inside("import", "more")
    assert done.code == 3
    assert "its manifest names other blobs than its statement" in done.lines["error"]
    assert offered.holdings()["served"] == before["served"]
