"""kill -9 during an export onto two media with parity: the same command completes, as if nothing had been."""

import shutil
from collections import Counter

BEGINNING = ("metadata.sign", "set.start")


def test_export_killed(house, scratch, moments):
    """Killed anywhere before it returns; what it then leaves is what an undisturbed export leaves."""
    whole = house.copy(scratch / "undisturbed", "in", "out")
    steps = whole.export_ok().steps
    names, blobs, events = whole.names("a", "b", "out"), whole.blobs("out"), whole.events("out", but=BEGINNING)
    assert steps.count("commit") == 4  # the recipient, the set, and each medium with its transfer sheet
    for moment in moments(steps[:-1]):
        trial = house.copy(scratch / "trial", "in", "out")
        killed = trial.export(at=moment)
        if killed.steps[-1] == "return":  # a few steps fewer, where two blobs happen to share a folder: the end is another test's matter
            shutil.rmtree(trial.root)
            continue
        assert killed.killed, killed.err
        trial.assert_nothing_strays(ended=False)
        again = trial.export_ok().json
        assert trial.names("a", "b", "out") == names, killed.steps[-1]
        # The makers' signature over a new release is made before the release is numbered; one that the log never heard of stays, in 2 KiB.
        assert trial.blobs("out") - blobs in (Counter(), Counter({1: 1}), Counter({1: 2})), killed.steps[-1]
        assert trial.sets_on("a") == trial.sets_on("b") == [again["set"]]
        # A set of which no folder is on any medium yet has nothing that could be continued; the log then knows one more that began.
        assert trial.events("out", but=BEGINNING) == events
        trial.assert_nothing_strays()
        trial.assert_whole("out")
        trial.carry_in("a", "b")
        shutil.rmtree(trial.root)


def test_killed_before_it_returned(house, scratch):
    """The set was finished, and nobody was told: the log tells; the same command again is another export, beside the first one."""
    trial = house.copy(scratch / "trial", "in", "out")
    assert trial.export(at=["return", 1]).killed
    [first] = trial.sets_on("a")
    assert {row["state"] for row in trial.ok("out", "medium", "list", "--json").json if row["set"] == first} == {"written"}
    again = trial.export_ok().json
    assert (again["continued"], trial.sets_on("b")) == (False, sorted([first, again["set"]]))
    trial.assert_nothing_strays()
    trial.carry_in("a", "b")
