"""Time: a set too old, issued in the future, or a clock that was set back to make an old one look fresh."""

from datetime import UTC, datetime, timedelta

import pytest

NOW = datetime.now(UTC)


@pytest.mark.parametrize("days", [93, 365, 11 * 365])
def test_expired(offered, refuses, days):
    refuses(
        offered,
        "stick",
        code=3,
        now=NOW + timedelta(days=days),
        error="the set is too old to be imported",
        why="its delivery window ended .*, this machine's clock says",
        hint="ask the publisher for a fresh export: airlock export",
    )


def test_just_in_time(offered):
    assert offered.import_at(NOW + timedelta(days=91), "stick") is None
    assert ("library/tiny:1b", 3, "quarantine") in offered.releases()


def test_issued_in_the_future(offered, refuses, forge):
    """Refused before it can raise the floor, which would lock every good set out."""
    station = forge(offered)
    station.now = datetime.now(UTC) + timedelta(days=20)
    model = station.model()
    station.make_set("evil", [station.release(model)], model.objects)
    refuses(
        offered, "evil", code=3, error="the set was issued in the future", why="issued .*, this machine's clock says", hint="set this machine's clock"
    )
    offered.ok("in", "import", "stick")


def test_station_clock_at_2040(offered, refuses, forge):
    station = forge(offered)
    station.now = datetime(2040, 1, 1, tzinfo=UTC)
    model = station.model()
    station.make_set("evil", [station.release(model)], model.objects, set_id="01M7ZR2K3RRPWNSYSEJR59BV9J")
    refuses(offered, "evil", code=3, error="the set was issued in the future")
    offered.ok("in", "import", "stick")


def test_a_little_ahead_is_allowed(offered, forge):
    station, now = forge(offered), datetime.now(UTC)
    station.now = now + timedelta(hours=20)
    model = station.model()
    station.make_set("new", [station.release(model)], model.objects)
    assert offered.import_at(now, "new") is None


@pytest.mark.parametrize("days", [1, 400])
def test_clock_behind(offered, refuses, days):
    refuses(
        offered,
        "stick",
        code=3,
        now=NOW - timedelta(days=days),
        error="this machine's clock runs behind",
        why="was accepted here, the clock says",
        hint="set the clock right, then run the same command again",
    )


def test_expiry_gates_import_only(offered):
    """What is here goes on being served, approved and promoted."""
    assert offered.import_at(NOW + timedelta(days=500), "stick").exit_code == 3
    offered.ok("in", "promote", "tiny:2b")
    offered.ok("in", "check")
