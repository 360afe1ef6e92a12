"""Two commands at once: one works, the other says who does and changes nothing; afterwards it works, too."""

import pytest

PIN = ("pin", "tiny:1b", "--from", "file:{models}/one.gguf")
EXPORT_B = ("export", "--to", "b", "--recipient", "in/site.pub")
NOTHING = {
    "export": "no set was finished; the same command continues where this one stopped",
    "pin": "nothing was pinned",
    "import": "nothing was imported; what is served has not changed",
    "approve": "nothing was approved; what is served has not changed",
}


@pytest.fixture
def trial(house, scratch):
    """The house, with release 2 in quarantine."""
    trial = house.copy(scratch / "trial", "in", "out", "carried-a", "carried-b")
    assert trial.run("in", "import", "carried-a").code == 5
    return trial


@pytest.mark.parametrize(
    ("home", "first", "second", "says"),
    [
        ("out", ("export", "--to", "a", "--recipient", "in/site.pub"), EXPORT_B, "export"),
        ("out", ("export", "--to", "a", "--recipient", "in/site.pub"), PIN, "pin"),
        ("out", PIN, EXPORT_B, "export"),
        ("in", ("import", "carried-b"), ("import", "carried-b"), "import"),
        ("in", ("import", "carried-b"), ("approve", "tiny:1b"), "approve"),
        ("in", ("approve", "tiny:1b"), ("import", "carried-b"), "import"),
    ],
)
@pytest.mark.parametrize("moment", ["first step", "last commit"])
def test_one_waits(trial, scratch, another, models, home, first, second, says, moment):
    """The second one meets the first in its first step on disk, or with its last transaction open."""
    first, second = ([each.format(models=models) for each in command] for command in (first, second))
    steps = trial.copy(scratch / "rehearsal").run(home, *first).steps
    commits = sum(step == "commit" for step in steps)
    at = ["commit", commits] if moment == "last commit" and commits else 1
    another.start(**trial.request(home, *first, at=at, act="pause"))
    another.paused()
    before, events = trial.names(), trial.events(home)  # whoever only reads need not wait
    done = trial.run(home, *second)
    assert done.code == 7, done.err
    assert "another command is writing" in done.err
    assert f"airlock {first[0]} (process " in done.err
    assert NOTHING[says] in done.err
    assert (trial.names(), trial.events(home)) == (before, events)
    another.go_on()
    ended = another.end()
    assert ended.code == 0, ended.err
    trial.ok(home, *second)
    approved = [("library/tiny", "1b", 2, "approved")] if "approve" in (first[0], second[0]) else []
    assert trial.served() == (*trial.SERVED, *approved)
    trial.assert_nothing_strays()
    trial.assert_whole(home)
