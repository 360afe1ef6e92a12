"""The clock jumps while a set is on its way: between two runs of an export, and between two media at an import."""

import shutil

import pytest


def beginning_of_the_second(trial, scratch):
    """The step of an export at which its first medium is finished, and the second one begun."""
    steps = trial.copy(scratch / "undisturbed").export_ok().steps
    return next(number for number, step in enumerate(steps, 1) if step.startswith("replace b/airlock/") and step.endswith("/set.json"))


def stopped(house, scratch):
    """An export that was killed there."""
    trial = house.copy(scratch / "trial", "in", "out")
    assert trial.export(at=beginning_of_the_second(trial, scratch)).killed
    return trial


@pytest.mark.parametrize("days", [-1, -400, 1, 30])
def test_export_goes_on(house, scratch, days):
    """Nothing in a set depends on when its media were written: it was signed when it began."""
    trial = stopped(house, scratch)
    done = trial.ok("out", *trial.EXPORT, days=days).json
    assert done["continued"]
    assert trial.sets_on("a") == trial.sets_on("b") == [done["set"]]
    trial.assert_nothing_strays()
    trial.assert_whole("out")
    trial.carry_in("a", "b")


def test_export_begins_anew_when_the_set_is_too_old(house, scratch):
    """A set whose delivery window has ended meanwhile would be refused by every site."""
    trial = stopped(house, scratch)
    [old] = trial.sets_on("a")
    done = trial.ok("out", *trial.EXPORT, days=100).json
    assert not done["continued"]
    assert trial.sets_on("a") == [old, done["set"]]
    assert done["set"] in trial.sets_on("b")
    for medium in ("a", "b"):
        shutil.rmtree(trial.path(medium, "airlock", old))  # what no site takes
    assert trial.run("in", "import", "a", days=100).code == 5
    trial.ok("in", "import", "b", days=100)
    trial.assert_arrived()


def test_export_that_began_in_the_future(house, scratch):
    """The clock was ahead when the set was signed, and was set right: the set goes on, and sites say what is wrong with it; the next one is good.

    The station can't tell such a set from one at which its clock has fallen back, so it decides nothing.
    """
    trial = house.copy(scratch / "trial", "in", "out")
    assert trial.export(at=beginning_of_the_second(trial, scratch), days=400).killed
    assert trial.export_ok().json["continued"]
    refused = trial.run("in", "import", "a", "b")
    assert refused.code == 3
    assert "the set was issued in the future" in refused.err
    for medium in ("a", "b"):
        shutil.rmtree(trial.path(medium, "airlock"))
    assert not trial.export_ok().json["continued"]
    trial.carry_in("a", "b")


@pytest.mark.parametrize(
    ("days", "error", "why"),
    [
        (-1, "this machine's clock runs behind", "was accepted here, the clock says"),
        (-400, "this machine's clock runs behind", "was accepted here, the clock says"),
        (100, "the set is too old to be imported", "its delivery window ended"),
    ],
)
def test_import(house, scratch, days, error, why):
    """Refused; what arrived stays, and with the clock set right the next medium completes the set."""
    trial = house.copy(scratch / "trial", "in", "carried-a", "carried-b")
    assert trial.run("in", "import", "carried-a").code == 5
    before = trial.releases(), trial.names("in"), trial.blobs("in")
    done = trial.run("in", "import", "carried-b", days=days)
    assert done.code == 3, done.err
    for said in (error, why, "nothing was imported; what is served has not changed"):
        assert said in done.err
    assert (trial.releases(), trial.names("in"), trial.blobs("in")) == before
    trial.assert_nothing_strays()
    trial.carry_in("carried-b")


@pytest.mark.parametrize("days", [1, 30])
def test_import_goes_on(house, scratch, days):
    """Media may come over weeks."""
    trial = house.copy(scratch / "trial", "in", "carried-a", "carried-b")
    assert trial.run("in", "import", "carried-a").code == 5
    trial.ok("in", "import", "carried-b", days=days)
    trial.assert_arrived()
