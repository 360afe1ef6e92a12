"""kill -9 during an import: what is served stays, and the same command then completes.

The media come one after the other; a part of the first one is damaged, so that the second one heals it by parity.
"""

import shutil

import pytest


def spoil(medium):
    """Change a byte in the middle of the first part."""
    [part] = medium.glob("airlock/*/parts/00000001.sealed")
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)


@pytest.fixture
def damaged(house, scratch):
    """The site, and the media in ``a`` and ``b``; a part on ``a`` is damaged."""
    copy = house.copy(scratch / "damaged", "in")
    for medium in ("a", "b"):
        shutil.copytree(house.path(f"carried-{medium}"), copy.path(medium), dirs_exist_ok=True)
    spoil(copy.path("a"))
    return copy


@pytest.mark.parametrize("before", [[], ["a"]], ids=["first medium", "second medium"])
def test_import_killed(damaged, scratch, moments, before):
    prepared = damaged.copy(scratch / "prepared")
    for medium in before:
        assert prepared.run("in", "import", medium).code == 5
    rest = [medium for medium in ("a", "b") if medium not in before]
    whole = prepared.copy(scratch / "undisturbed")
    steps = whole.run("in", "import", rest[0]).steps
    whole.carry_in(*rest)
    names, blobs, events = whole.names("in"), whole.blobs("in"), whole.events("in", but=["set.refuse"])
    for moment in moments(steps):
        trial = prepared.copy(scratch / "trial", "in")
        for medium in ("a", "b"):
            trial.path(medium).rmdir()
            trial.path(medium).symlink_to(prepared.path(medium))
        killed = trial.run("in", "import", rest[0], at=moment)
        assert killed.killed, killed.err
        assert trial.served() == trial.SERVED
        assert trial.releases() <= trial.ARRIVED
        trial.assert_nothing_strays(ended=False)
        assert trial.path("in/incoming").stat().st_mode & 0o777 == 0o700
        trial.carry_in(*rest)
        assert (trial.names("in"), trial.blobs("in")) == (names, blobs), killed.steps[-1]
        assert trial.events("in", but=["set.refuse"]) == events, killed.steps[-1]
        shutil.rmtree(trial.root)
    assert prepared.tree("a") == damaged.tree("a"), "an import never writes to a medium"
    assert prepared.tree("b") == damaged.tree("b")
