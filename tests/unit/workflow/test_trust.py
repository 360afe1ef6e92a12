"""Publishers: listed, removed, replaced."""

from datetime import UTC, datetime, timedelta


def other_station(world, *names, home="new", medium="other", init=()):
    """A station that begins anew and exports models under names of the lost one: ``NAME:TAG=FILE``."""
    world.homes["out"] = home
    world.ok("out", "init", *init)
    for each in names:
        name, _, file = each.partition("=")
        world.ok("out", "pin", name, "--from", f"file:{file}")
    world.export(medium)
    return world.fingerprint(medium)


def replace(world, *names, init=()):
    world.two_people()
    old = world.ok("in", "trust", "list", "--json").json[0]["publisher"]
    fingerprint = other_station(world, *names, init=init)
    done = world.ok("in", "trust", "replace", old[:8], "other", "--fingerprint", fingerprint, "--json")
    assert world.acting("anna", "confirm", str(done.json["proposal"])).code == 0
    return old


def test_list_and_show(imported):
    [row] = imported.ok("in", "trust", "list", "--json").json
    assert row["namespaces"] == ["*/*"]
    assert row["fingerprints"] == [imported.fingerprint()]
    assert 90 <= row["days_left"] <= 92
    shown = imported.ok("in", "trust", "show", row["publisher"][:6])
    assert "timestamp    valid until" in shown.out
    assert imported.inside("trust", "show", "zz").code == 6


def test_remove(offered):
    [row] = offered.ok("in", "trust", "list", "--json").json
    before = offered.releases()
    offered.ok("in", "trust", "remove", row["publisher"][:8])
    refused = offered.inside("import", "stick")
    assert refused.code == 3
    assert "by a publisher that is no longer trusted here" in refused.lines["error"]
    assert offered.releases() == before
    offered.ok("in", "promote", "tiny:2b")
    narrow = ("--namespace", "library/*")
    offered.ok("in", "trust", "add", "stick", "--fingerprint", offered.fingerprint("stick"), *narrow)
    offered.ok("in", "trust", "remove", row["publisher"][:8])
    offered.ok("in", "trust", "add", "stick", "--fingerprint", offered.fingerprint("stick"))
    assert offered.ok("in", "trust", "list", "--json").json[0]["namespaces"] == ["library/*"]
    offered.ok("in", "import", "stick")
    offered.ok("in", "check")


def test_replace_takes_two_and_what_is_promoted_stays(serving):
    before = serving.releases()
    old = replace(serving, "tiny:1b=one.gguf", "tiny:2b=two.gguf")
    assert serving.releases() == before
    refused = serving.inside("import", "usb")
    assert refused.code == 3
    assert "by a publisher that was replaced" in refused.lines["error"]
    again = serving.inside("trust", "add", "usb", "--fingerprint", serving.fingerprint("usb"))
    assert again.code == 3
    assert "was replaced here by" in again.lines["error"]
    states = {row["publisher"]: row for row in serving.ok("in", "trust", "list", "--json").json}
    assert not states[old]["trusted"]
    assert states[states[old]["replaced_by"]]["namespaces"] == ["*/*"]


def test_the_successor_answers_for_the_same_bytes_under_the_same_number(serving):
    """… so that its withdrawals reach them; what people decided about them stays."""
    before = serving.releases()
    old = replace(serving, "tiny:1b=one.gguf", "tiny:2b=two.gguf")
    done = serving.ok("in", "import", "other", "--json")
    assert done.json["sets"][0]["new"] == []
    assert serving.releases() == before
    assert all(row["publisher"] != old for row in serving.ok("in", "list", "--json").json)
    serving.ok("in", "check")
    serving.ok("out", "withdraw", "tiny:1b", "--why", "Answers wrongly.")
    serving.path("late").mkdir()
    serving.ok("out", "export", "--metadata-only", "--to", "late", "--recipient", "in/site.pub")
    serving.ok("in", "import", "late")
    assert ("library/tiny:1b", 1, "withdrawn") in serving.releases()
    serving.ok("in", "check")


def test_a_number_means_one_content_at_a_site_for_ever(serving):
    """The published names (TAG-rN) would change their meaning otherwise; the successor begins above."""
    serving.model("three.gguf", 3)
    replace(serving, "tiny:1b=three.gguf", "more:1b=two.gguf")
    before = serving.releases()
    done = serving.inside("import", "other")
    assert done.code == 3
    assert "a second content for a release that is on record" in done.lines["error"]
    assert set(serving.releases()) == {*before, ("library/more:1b", 1, "quarantine")}


def test_the_successor_begins_above(serving):
    serving.model("three.gguf", 3)
    replace(serving, "tiny:1b=three.gguf", "more:1b=two.gguf", init=("--first-number", "100"))
    done = serving.ok("in", "import", "other", "--json")
    assert done.json["sets"][0]["new"] == ["library/more:1b-r100", "library/tiny:1b-r100"]
    serving.ok("in", "approve", "tiny:1b@100")
    serving.ok("in", "promote", "tiny:1b")
    assert serving.ok("in", "rollback", "tiny:1b", "--json").json["release"] == 1
    serving.ok("in", "check")
    serving.ok("out", "check")
    serving.ok("out", "pin", "tiny:1b", "--from", "file:one.gguf")
    serving.export("next")
    assert [row["release"] for row in serving.ok("out", "pins", "--json").json] == [101, 100]


def test_clock_reset(offered):
    """A set that was accepted in 2040 locks every good one out, until two people say otherwise."""
    offered.two_people()
    early = datetime.now(UTC) - timedelta(hours=2)
    assert offered.import_at(early, "stick").exit_code == 3
    number = offered.acting("anna", "clock", "reset", "--json").json["proposal"]
    assert offered.import_at(early, "stick").exit_code == 3
    offered.ok("in", "confirm", str(number))
    assert offered.import_at(early, "stick") is None
    offered.ok("in", "check")
