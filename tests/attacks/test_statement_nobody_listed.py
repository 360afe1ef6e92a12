"""A statement that the release signers never put into their list."""


def test_not_listed(offered, refuses, forge):
    station = forge(offered)
    model = station.model()
    station.make_set("evil", [station.release(model)], model.objects, metadata=station.metadata(station.statements))
    refuses(
        offered,
        "evil",
        code=3,
        error="statement [0-9a-f]{12}…: not in the publisher's signed list",
        why="the newest trusted list",
        hint="ask the publisher for a fresh export",
        commits_metadata=True,
    )


def test_one_bad_statement_does_not_hold_back_the_good(offered, forge):
    station = forge(offered)
    one, two = station.model(7), station.model(8)
    good, bad = station.release(one, "good:1b"), station.release(two, "bad:1b")
    before = offered.holdings()
    station.make_set("evil", [bad, good], two.objects | one.objects, metadata=station.metadata([*station.statements, good.to_bytes()]))
    done = offered.inside("import", "evil")
    assert done.code == 3
    assert done.lines["unchanged"] == "imported all the same: library/good:1b-r1; what is served has not changed"
    assert ("library/good:1b", 1, "quarantine") in offered.releases()
    assert not any(name.startswith("library/bad") for name, _, _ in offered.releases())
    assert offered.holdings()["served"] == before["served"]


def test_statement_of_another_publisher(offered, refuses, forge):
    station = forge(offered)
    model = station.model()
    station.make_set("evil", [station.release(model, publisher="0" * 64)], model.objects)
    refuses(
        offered, "evil", code=3, error="library/forged:1b-r1: by another publisher", why="expected [0-9a-f]{8}, found 00000000", commits_metadata=True
    )


def test_not_a_statement(offered, refuses, forge):
    station = forge(offered)
    station.make_set("evil", [b'{"hello":1}'], station.model().objects)
    refuses(offered, "evil", code=3, error="not a release statement", commits_metadata=True)
