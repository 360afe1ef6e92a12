"""Input/output errors while something big is read: a failing medium at import, a failing disk under a model at export."""

import shutil


def behind(disk, trial, where, lie):
    """Put what lies in a directory of the house behind a file system that tells this lie (``tests/disks/lying.py``)."""
    held = trial.path(f"held-{where}")
    if not held.exists():
        trial.path(where).rename(held)
    return disk.lying(trial.path(where), held, lie)


def test_import(house, scratch, disk):
    """The parts that can't be read are missing, and named; a good copy brings them."""
    trial = house.copy(scratch / "trial", "in", "carried-a", "carried-b")
    behind(disk, trial, "carried-a", "eio")
    done = trial.run("in", "import", "carried-a")
    assert done.code == 5
    assert "part 1 of set" in done.err
    assert "the device reports an input/output error" in done.err
    assert trial.served() == trial.SERVED
    assert trial.releases() == {("library/tiny:1b", 1, "promoted")}
    disk.unmount(trial.path("carried-a"))
    trial.assert_nothing_strays()
    behind(disk, trial, "carried-a", "none")
    trial.carry_in("carried-a", "carried-b")
    disk.unmount(trial.path("carried-a"))


def test_import_healed_by_parity(house, scratch, disk):
    """Both parts of the first medium fail; the second one has as many parity parts."""
    trial = house.copy(scratch / "trial", "in", "carried-a", "carried-b")
    behind(disk, trial, "carried-a", "eio")
    done = trial.ok("in", "import", "carried-a", "carried-b", "--json").json
    assert done["sets"][0]["healed"] == [1, 2]
    disk.unmount(trial.path("carried-a"))
    trial.carry_in("carried-b")


def test_export(house, models, scratch, disk):
    """A model's disk fails: nothing is finished, no part of it stays, and on a whole disk the same command goes on."""
    trial = house.copy(scratch / "trial", "in", "out")
    names = trial.copy(scratch / "undisturbed")
    trial.path("sources").mkdir()
    shutil.copy(models / "three.gguf", trial.path("sources"))
    behind(disk, trial, "sources", "none")
    for each in (names, trial):
        each.ok("out", "pin", "other:1b", "--from", f"file:{trial.path('sources/three.gguf')}")
    names.export_ok()
    disk.unmount(trial.path("sources"))
    behind(disk, trial, "sources", "eio")
    done = trial.export()
    assert done.code == 7, done.err
    assert "three.gguf" in done.err
    assert "input/output error" in done.err
    assert "no set was finished" in done.err
    assert "set.finish" not in trial.events("out")[len(house.events("out")) :]
    disk.unmount(trial.path("sources"))
    behind(disk, trial, "sources", "none")
    assert trial.export_ok().json["continued"]
    assert trial.names("a", "b", "out") == names.names("a", "b", "out")
    disk.unmount(trial.path("sources"))
    shutil.rmtree(trial.path("held-sources"))
    trial.carry_in("a", "b")
