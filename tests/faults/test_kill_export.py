"""kill -9 during an export onto two media with parity: the same command completes, as if nothing had been."""

import shutil
from collections import Counter

import pytest

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


@pytest.fixture
def large(house, models, scratch):
    """A station that has pinned two models of five parts each, which are written side by side where there are cores for it."""
    large = house.copy(scratch / "large", "in", "out")
    for name, model in (("tiny:1b", "four"), ("other:1b", "five")):
        large.ok("out", "pin", name, "--from", f"file:{models}/{model}.gguf")
    return large


@pytest.mark.parametrize("act", ["kill", ["fill", "a"]], ids=["killed", "full"])
def test_side_by_side(large, scratch, moments, disk, act):
    """With several threads a number doesn't name the same step each time; wherever it stops, the same command completes."""
    export = ("export", "--to", "a", "--recipient", "in/site.pub", "--part-size", "1MiB")
    whole = large.copy(scratch / "undisturbed", "in", "out")
    steps = whole.ok("out", *export, cores=8).steps
    names = whole.names("a", "out")
    written = [step for step in steps if step.startswith("replace") and "/parts/" in step]
    assert len(written) >= 10
    first = next(number for number, step in enumerate(steps) if "/parts/" in step)
    for moment in moments(steps[first : first + 4 * len(written)], count=4):
        trial = large.copy(scratch / "trial", "in", "out")
        disk.tmpfs(trial.path("a"))
        stopped = trial.run("out", *export, at=first + moment, act=act, cores=8)
        assert stopped.killed or stopped.code == 5, stopped.err
        trial.path("a/ballast").unlink(missing_ok=True)
        trial.assert_nothing_strays(ended=not stopped.killed)
        trial.ok("out", *export, cores=8)
        assert [name for name in trial.names("a", "out") if "/sheets/" not in name] == [name for name in names if "/sheets/" not in name]
        trial.assert_whole("out")
        trial.carry_in("a")
        disk.unmount(trial.path("a"))
        shutil.rmtree(trial.root)
