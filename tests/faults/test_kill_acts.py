"""kill -9 during what a person decides: the state is that before or that after, and the same command completes."""

import json
import shutil

import pytest

AFTER = {
    "approve": (("library/tiny", "1b", 1, "promoted"), ("library/tiny", "1b", 2, "approved")),
    "promote": (("library/tiny", "1b", 1, "approved"), ("library/tiny", "1b", 2, "promoted")),
    "rollback": (("library/tiny", "1b", 1, "promoted"), ("library/tiny", "1b", 2, "approved")),
}


@pytest.fixture
def arrived(house, scratch):
    """The site, with release 2 in quarantine."""
    copy = house.copy(scratch / "arrived", "in", "carried-a", "carried-b")
    copy.carry_in("carried-a", "carried-b")
    return copy.copy(scratch / "prepared", "in")


@pytest.mark.parametrize("command", AFTER)
def test_step_killed(arrived, scratch, command):
    for earlier in list(AFTER)[: list(AFTER).index(command)]:
        arrived.ok("in", earlier, "tiny:1b")
    before, after = arrived.served(), AFTER[command]
    steps = arrived.copy(scratch / "undisturbed", "in").ok("in", command, "tiny:1b").steps
    for moment in range(1, len(steps) + 1):
        trial = arrived.copy(scratch / "trial", "in")
        assert trial.run("in", command, "tiny:1b", at=moment).killed
        assert trial.served() in (before, after)
        again = trial.run("in", command, "tiny:1b")
        # A rollback that took effect before the kill has nothing left to go back to; everything else is "nothing to do".
        assert again.code == 0 or (command == "rollback" and "nothing was served before" in again.err), again.err
        assert trial.served() == after
        trial.assert_nothing_strays()
        trial.assert_whole("in")
        shutil.rmtree(trial.root)


@pytest.mark.parametrize("command", ["receive", "retire"])
def test_custody_killed(house, scratch, command):
    """No note is left of anything that the log doesn't hold."""
    words = {"receive": ["--from", "courier"], "retire": ["--method", "erase", "--without-receipt"]}[command]
    run = ("medium", command, "STICK-17", *words)
    prepared = house.copy(scratch / "prepared", "in")
    prepared.ok("in", "medium", "receive", "STICK-17", "--from", "gate")
    steps = prepared.copy(scratch / "undisturbed", "in").ok("in", *run).steps
    for moment in range(1, len(steps) + 1):
        trial = prepared.copy(scratch / "trial", "in")
        assert trial.run("in", *run, at=moment).killed
        trial.ok("in", *run)
        [row] = [each for each in trial.ok("in", "medium", "list", "--json").json if each["label"] == "STICK-17"]
        assert row["state"] == {"receive": "handed over", "retire": "retired"}[command]
        assert {each["note"] for each in row["hand_overs"]} == {"kept"}
        notes = json.loads(trial.path("in/custody.json").read_bytes())["notes"]
        assert set(notes) == {str(each["seq"]) for each in row["hand_overs"]}
        trial.assert_nothing_strays()
        trial.assert_whole("in")
        shutil.rmtree(trial.root)
