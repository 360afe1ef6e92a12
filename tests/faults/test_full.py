"""A disk that is full from one moment on: media, the station's home and the site's with their databases, the directory for temporary files.

All the space is taken just before a step after which something is written: before a name is made, a file gets its name, a byte is written at its place,
a transaction commits.  Filling a disk before an fsync differs from none of these.
"""

import re
import shutil

import pytest

WRITING = ("mkdir", "replace", "pwrite", "commit")
ROOM = {"a": 16 << 20, "b": 16 << 20, "out": 8 << 20, "in": 16 << 20}
CODES = {"a": 5, "b": 5, "out": 7, "in": 7}


def put_on(disk, trial, where):
    """Give a directory of the house a file system of its own, with what is in it."""
    aside = trial.path("aside")
    trial.path(where).rename(aside)
    disk.tmpfs(trial.path(where), ROOM[where])
    shutil.copytree(aside, trial.path(where), dirs_exist_ok=True)
    shutil.rmtree(aside)


def assert_full(trial, done, where):
    """The command says that this disk is full, what that means, and leaves nothing half done."""
    assert done.code == CODES[where], done.err
    assert re.search("no space is left|is full|not enough space|bytes are free|free some space", done.err), done.err
    assert trial.served() == trial.SERVED
    trial.assert_nothing_strays()


@pytest.mark.parametrize("where", ["a", "b", "out"])
def test_export(house, scratch, moments, disk, where):
    """Once there is room again, the same command completes; ``b`` takes the parity parts, ``out`` the database and the transfer sheets."""
    whole = house.copy(scratch / "undisturbed", "in", "out")
    steps = whole.export_ok().steps
    names, carried, full = whole.names("out"), whole.carried(), 0
    for moment in moments(steps, WRITING, count=5):
        trial = house.copy(scratch / "trial", "in", "out")
        put_on(disk, trial, where)
        done = trial.export(at=moment, act=["fill", where])
        if done.code != 0:
            full += 1
            assert_full(trial, done, where)
        trial.path(where, "ballast").unlink(missing_ok=True)
        if done.code != 0:
            trial.export_ok()
        # Where ``a`` was full before anything lay on it, the first medium lies in ``b``.
        assert (trial.names("out"), trial.carried()) == (names, carried), done.steps[moment - 1 : moment]
        trial.assert_whole("out")
        trial.carry_in("a", "b")
        disk.unmount(trial.path(where))
        shutil.rmtree(trial.root)
    assert full


@pytest.mark.parametrize("before", [[], ["carried-a"]], ids=["first medium", "second medium"])
def test_import(house, scratch, moments, disk, before):
    prepared = house.copy(scratch / "prepared", "in", "carried-a", "carried-b")
    for medium in before:
        assert prepared.run("in", "import", medium).code == 5
    rest = [medium for medium in ("carried-a", "carried-b") if medium not in before]
    whole = prepared.copy(scratch / "undisturbed")
    steps = whole.run("in", "import", rest[0]).steps
    whole.carry_in(*rest)
    names, full = whole.names("in"), 0
    for moment in moments(steps, WRITING, count=5):
        trial = prepared.copy(scratch / "trial")
        put_on(disk, trial, "in")
        done = trial.run("in", "import", rest[0], at=moment, act=["fill", "in"])
        if done.code == 7:
            full += 1
            assert_full(trial, done, "in")
        trial.path("in/ballast").unlink()
        trial.carry_in(*rest)
        assert trial.names("in") == names, done.steps[moment - 1 : moment]
        disk.unmount(trial.path("in"))
        shutil.rmtree(trial.root)
    assert full


@pytest.mark.parametrize(("where", "command"), [("out", ("pin", "new:1b", "--from", "file:MODELS/one.gguf")), ("in", ("rollback", "tiny:1b"))])
def test_full_from_the_start(house, models, scratch, disk, where, command):
    """Not even the lock can say who holds it."""
    trial = house.copy(scratch / "trial", "in", "out")
    put_on(disk, trial, where)
    trial.path(where, "lock").unlink()
    trial.ok(where, "log", at=1, act=["fill", where])
    done = trial.run(where, *(each.replace("MODELS", str(models)) for each in command))
    assert_full(trial, done, where)
    disk.unmount(trial.path(where))


def test_temporary_directory_full(house, scratch, disk):
    """Nothing is written there, so nothing is missed."""
    trial = house.copy(scratch / "trial", "in", "out")
    disk.tmpfs(trial.path("temp"), 4096)
    trial.ok("out", "log", at=1, act=["fill", "temp"])
    with pytest.raises(OSError, match="No space"):
        trial.path("temp/more").write_bytes(bytes(4096))
    for each in ("more", "ballast"):
        assert trial.path("temp", each).exists()
    trial.export_ok()
    assert trial.run("in", "import", "a").code == 5
    trial.ok("in", "import", "b")
    disk.unmount(trial.path("temp"))
    trial.carry_in("b")
