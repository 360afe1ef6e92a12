"""A station seals other bytes than it signed, for one model of two: the good one must not be held back, nothing of the bad one may stay."""


def test_the_good_one_arrives(offered, forge):
    station = forge(offered)
    good, bad = station.model(seed=21), station.model(seed=22)
    releases = [station.release(good, "good:1b", 1), station.release(bad, "bad:1b", 1)]
    weights = next(iter(bad.blobs))
    objects = {**bad.objects, **good.objects}
    objects[weights] = bytes(reversed(objects[weights]))
    station.make_set("evil", releases, objects)
    done = offered.inside("import", "evil")
    assert done.code == 3
    assert f"object {weights[:19]}… of set" in done.lines["error"]
    assert done.lines["unchanged"] == "imported all the same: library/good:1b-r1; what is served has not changed"
    assert ("library/good:1b", 1, "quarantine") in offered.releases()
    assert not [row for row in offered.releases() if row[0] == "library/bad:1b"]
    assert list(offered.path("in/incoming").iterdir()) == []
    assert offered.ok("in", "check").code == 0
    # The same again finds the same, and brings nothing back.
    assert offered.inside("import", "evil").code == 3
    assert list(offered.path("in/incoming").iterdir()) == []
