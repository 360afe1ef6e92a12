"""A statement is no longer in the list and was not withdrawn: a release would silently lose its ground."""

from registry.trust.statement import parse_statement


def test_refused(offered, refuses, forge):
    station = forge(offered)
    model = station.model()
    release = station.release(model)
    left = [each for each in station.statements if parse_statement(each, what="statement").name != "library/tiny:1b-r1"]
    assert len(left) == len(station.statements) - 1
    station.make_set("evil", [release], model.objects, metadata=station.metadata([release.to_bytes(), *left]))
    refuses(
        offered,
        "evil",
        code=3,
        error=r"1 statement\(s\) vanished from the publisher's list",
        why="not withdrawn: [0-9a-f]{12}…",
        hint="ask them by phone",
    )
