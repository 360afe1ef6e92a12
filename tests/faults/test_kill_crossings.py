"""kill -9 while something is asked for or answered across the gap: receipts, what is adopted, repairs; the same command then completes."""

import shutil

import pytest


@pytest.fixture
def each_kill(scratch, moments):
    """Return a function: from a prepared house, a copy for each moment at which a command was killed there."""

    def trials(prepared, home, *words):
        undisturbed = prepared.copy(scratch / "undisturbed")
        for moment in moments(undisturbed.ok(home, *words).steps):
            trial = prepared.copy(scratch / "trial")
            assert trial.run(home, *words, at=moment).killed
            trial.assert_nothing_strays(ended=False)
            yield trial
            shutil.rmtree(trial.root)

    return trials


def test_receipt_made(house, each_kill):
    """Whatever lies on the medium afterwards is a receipt that the station takes."""
    for trial in each_kill(house, "in", "receipt", "--to", "a"):
        trial.ok("in", "receipt", "--to", "a")
        trial.ok("out", "receipt", "a")
        trial.assert_whole("in", "out")
        trial.assert_nothing_strays()


def test_receipt_read(house, scratch, each_kill):
    prepared = house.copy(scratch / "prepared")
    prepared.ok("in", "receipt", "--to", "a")
    for trial in each_kill(prepared, "out", "receipt", "a"):
        trial.ok("out", "receipt", "a")
        assert trial.events("out").count("receipt.accept") == 1
        trial.assert_nothing_strays()
        trial.assert_whole("out")


def test_adopted_and_brought_under_control(house, scratch, models, each_kill):
    """A base that only lies on an old share is copied while a set of kilobytes is imported."""
    prepared = house.copy(scratch / "prepared")
    for trial in each_kill(prepared, "in", "adopt", models):
        trial.ok("in", "adopt", models)
        trial.assert_nothing_strays()
        trial.assert_whole("in")
    prepared.ok("in", "adopt", models)
    prepared.ok("in", "receipt", "--to", "a")
    prepared.ok("out", "export", "--to", "b", "--recipient", "in/site.pub", "--since", "a")
    shutil.rmtree(scratch / "undisturbed")
    for trial in each_kill(prepared, "in", "import", "b"):
        trial.ok("in", "import", "b")
        trial.assert_arrived()


def test_repair(house, scratch, each_kill):
    """A damaged part is asked for and answered."""
    prepared = house.copy(scratch / "prepared")
    shutil.rmtree(prepared.path("out"))
    shutil.copytree(prepared.path("carried-out"), prepared.path("out"))
    part = next(prepared.path("carried-a").glob("airlock/*/parts/00000001.sealed"))
    part.write_bytes(part.read_bytes()[:-1] + b"?")
    assert prepared.run("in", "import", "carried-a").code == 5
    ask = ("repair-request", "--to", "a", "--all")
    for trial in each_kill(prepared, "in", *ask):
        trial.ok("in", *ask)
        trial.assert_whole("in")
        assert [path for top in ("in", "a") for path in trial.path(top).rglob(".airlock-*")] == []
    prepared.ok("in", *ask)
    shutil.rmtree(scratch / "undisturbed")
    answer = ("export", "--repair", "a", "--to", "b")
    for trial in each_kill(prepared, "out", *answer):
        trial.ok("out", *answer)
        trial.ok("in", "import", "b", "carried-a")
        trial.assert_arrived()
        trial.assert_whole("out")
