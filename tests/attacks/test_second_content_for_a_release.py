"""The same repository, tag and number with other bytes: a pinned name would change its meaning."""


def test_another_digest(offered, refuses, forge):
    station = forge(offered)
    model = station.model()
    release = station.release(model, "tiny:1b", 1)
    station.make_set("evil", [release], model.objects)
    problem = refuses(
        offered,
        "evil",
        code=3,
        error="library/tiny:1b-r1: a second content for a release that is on record",
        hint="a release never changes",
        commits_metadata=True,
    )
    assert "on record sha256:" in problem["why"]


def test_twice_in_one_set(offered, forge):
    """Stated twice in one set with two contents: the first stands, the second is refused."""
    station = forge(offered)
    one, two = station.model(7), station.model(8)
    before = offered.holdings()
    station.make_set("evil", [station.release(one), station.release(two)], one.objects | two.objects)
    done = offered.inside("import", "evil")
    assert done.code == 3
    assert "stated twice in one set, with two contents" in done.lines["error"]
    assert ("library/forged:1b", 1, "quarantine") in offered.releases()
    assert offered.holdings()["served"] == before["served"]


def test_number_of_another_tag(offered, forge):
    """Numbers grow per repository; a number says nothing without its tag."""
    station = forge(offered)
    model = station.model()
    station.make_set("new", [station.release(model, "tiny:2b", 1)], model.objects)
    offered.ok("in", "import", "new")
    assert ("library/tiny:2b", 1, "quarantine") in offered.releases()
