"""A receipt goes to a medium that is full, write-protected or not there: said as such, and none was made."""

import os
import subprocess

import pytest


@pytest.fixture
def tmpfs(serving):
    """Return a function that mounts a small file system below the world; skips where this user may not."""
    mounted = []

    def mount(name, *options):
        directory = serving.path(name)
        directory.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", directory]
        if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("this user may not mount a file system")
        mounted.append(directory)
        return directory

    yield mount
    for directory in mounted:
        subprocess.run(["umount", directory], check=True)


def refused(world, to):
    before = world.holdings(), world.events()
    done = world.inside("receipt", "--to", to)
    assert done.code == 5
    assert done.lines["unchanged"] == "no receipt was made"
    assert (world.holdings(), world.events()) == before
    return done.lines


def test_read_only(serving, tmpfs):
    tmpfs("stick", "size=1M", "ro")
    said = refused(serving, "stick")
    assert said["error"] == "the medium stick can't be used"
    assert "read-only" in said["why"]


def test_full(serving, tmpfs, tree):
    stick = tmpfs("stick", "size=64k")
    (stick / "airlock" / "receipts").mkdir(parents=True)
    with pytest.raises(OSError, match="space"):
        (stick / "blocker").write_bytes(b"x" * (1 << 20))
    said = refused(serving, "stick")
    assert said["error"] == "the medium stick is full"
    assert set(tree(stick)) == {"blocker"}
    (stick / "blocker").unlink()
    serving.ok("in", "receipt", "--to", "stick")
    serving.ok("out", "receipt", "stick")


def test_not_there(serving):
    done = serving.inside("receipt", "--to", "nowhere/x.receipt")
    assert (done.code, done.lines["error"]) == (6, "nowhere/x.receipt: no such directory")
    assert done.lines["unchanged"] == "no receipt was made"
