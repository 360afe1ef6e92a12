"""A medium is pulled and another one put into its slot while a command runs: what comes next is refused or missing, never mixed up."""

import shutil

import pytest


@pytest.fixture
def strange(house, scratch):
    """The house with a set of another day on ``other``: newer, without the models of the first one."""
    copy = house.copy(scratch / "strange", "in", "carried-out", "carried-a", "carried-b")
    copy.path("other").mkdir()
    copy.ok("carried-out", "export", "--metadata-only", "--to", "other", "--recipient", "in/site.pub")
    shutil.rmtree(copy.path("carried-out"))
    return copy


@pytest.mark.parametrize("instead", ["other", "carried-b"], ids=["of another set", "of the same set"])
def test_import(strange, scratch, moments, instead):
    """What was taken in before stays; with the right medium the set comes whole."""
    steps = strange.copy(scratch / "undisturbed").run("in", "import", "carried-a").steps
    kinds = ("mkdir", "replace", "pwrite", "commit", "return")
    for moment in moments(steps, kinds, count=5):
        trial = strange.copy(scratch / "trial")
        media = [[*trial.tree(each).values()] for each in ("carried-a", instead)]
        done = trial.run("in", "import", "carried-a", at=moment, act=["swap", "carried-a", instead])
        # Before the first commit, of the metadata, nothing of the medium counts yet.
        assert done.code == 5 or "commit" not in steps[: moment - 1], (done.steps[moment - 1 : moment], done.err)
        assert trial.served() == trial.SERVED
        trial.assert_nothing_strays()
        for medium in ("carried-a", "carried-b", instead):
            assert trial.run("in", "import", medium).code in (0, 4, 5)  # 4: a newer set was there, and this one is here already
        trial.assert_arrived()
        assert [[*trial.tree(each).values()] for each in (instead, "carried-a")] == media, "an import never writes to a medium"
        shutil.rmtree(trial.root)


def test_export(house, scratch, moments):
    """An empty medium comes into the slot of the first one: that is said, or both media are whole, wherever they lie now."""
    whole = house.copy(scratch / "undisturbed", "in", "out")
    steps = whole.export_ok().steps
    carried, said = whole.carried(), 0
    for moment in moments(steps, ("mkdir", "replace", "commit", "posix_fadvise", "return"), count=5):
        trial = house.copy(scratch / "trial", "in", "out")
        trial.path("c").mkdir()
        done = trial.export(at=moment, act=["swap", "a", "c"])
        if done.code != 0:
            said += 1
            assert done.code == 5, (done.steps[moment - 1 : moment], done.err)
            assert "the medium a" in done.err
            trial.assert_nothing_strays(ended=False)
        if list(trial.path("c").iterdir()):
            trial.path("a").rename(trial.path("d"))
            trial.path("c").rename(trial.path("a"))
        if done.code != 0:
            trial.export_ok()
        trial.assert_nothing_strays()
        assert trial.carried() == carried, done.steps[moment - 1 : moment]
        trial.carry_in("a", "b")
        shutil.rmtree(trial.root)
    assert said
