"""Full and read-only disks, on real file systems."""

import contextlib
import os
import subprocess

import pytest

import registry.workflow.importing as import_module
from registry.workflow.parts import Parts


@contextlib.contextmanager
def mounted(directory, *options):
    """A file system of its own at ``directory``; skips where this user may not mount."""
    directory.mkdir(exist_ok=True)
    if (
        os.geteuid() != 0
        or subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", directory], capture_output=True, check=False).returncode
    ):
        pytest.skip("this user may not mount a file system")
    try:
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True)


def remount(directory, option):
    subprocess.run(["mount", "-o", f"remount,{option}", directory], check=True)


def test_medium_full_seen_before(offered):
    """A medium that is too small is named before a byte is written."""
    with mounted(offered.path("full"), "size=1M"):
        done = offered.outside("export", "--to", "full", "--recipient", "in/site.pub")
        assert done.code == 5
        assert done.lines["error"] == "full: not enough space"
        assert "free" in done.lines["why"]
        assert "larger medium" in done.lines["hint"]
        assert done.lines["unchanged"].startswith("no set was finished")
        assert list(offered.path("full").iterdir()) == []
        assert offered.inside("import", "full").code == 6


def test_medium_full_on_the_way(offered, tree):
    """Another program fills the medium while the parts are written; with space again, the same command continues."""
    with mounted(offered.path("full"), "size=4M"):
        blocker = offered.path("full/blocker")
        with pytest.MonkeyPatch.context() as patch:
            write = Parts.write

            def fill_and_then(*arguments, **rest):
                blocker.write_bytes(b"\0" * (3 << 20))
                write(*arguments, **rest)

            patch.setattr(Parts, "write", fill_and_then)
            done = offered.outside("export", "--to", "full", "--recipient", "in/site.pub", "--part-size", "1MiB")
        assert done.code == 5
        assert "is full" in done.lines["error"]
        assert "no space is left" in done.lines["why"]
        assert "run the same command again" in done.lines["hint"]
        done = offered.inside("import", "full")
        assert done.code == 5
        blocker.unlink()
        again = offered.ok("out", "export", "--to", "full", "--recipient", "in/site.pub", "--part-size", "1MiB", "--json")
        assert again.json["continued"] is True
        offered.ok("in", "import", "full")
        assert not [name for name in tree(offered.path("full")) if ".airlock-" in name]


def test_medium_read_only(offered):
    with mounted(offered.path("locked"), "size=8M", "ro"):
        done = offered.outside("export", "--to", "locked", "--recipient", "in/site.pub")
        assert done.code == 5
        assert "the medium locked can't be used" in done.lines["error"]
        assert "read-only" in done.lines["why"]
        assert done.lines["unchanged"].startswith("no set was finished")
        remount(offered.path("locked"), "rw")
        offered.ok("out", "export", "--to", "locked", "--recipient", "in/site.pub")
        remount(offered.path("locked"), "ro")
        offered.ok("in", "import", "locked")


def test_store_full_seen_before(offered):
    before = offered.holdings()
    with mounted(offered.path("small"), "size=1400k"):
        subprocess.run(["cp", "-a", offered.path("in"), offered.path("small/in")], check=True)
        offered.homes["in"] = "small/in"
        done = offered.inside("import", "stick")
        assert done.code == 7
        assert "the store small/in: not enough space" in done.lines["error"]
        assert "bytes are to come" in done.lines["why"]
        assert "it continues where it stopped" in done.lines["hint"]
        assert done.lines["unchanged"] == "nothing was imported; what is served has not changed"
        after = offered.holdings()
        assert (before["served"], before["blobs"], before["catalog"][0]) == (after["served"], after["blobs"], after["catalog"][0])


def test_store_full_on_the_way(offered):
    """The disk fills up between the look and the write."""
    before = offered.holdings()
    with mounted(offered.path("small"), "size=4M"):
        subprocess.run(["cp", "-a", offered.path("in"), offered.path("small/in")], check=True)
        offered.homes["in"] = "small/in"
        blocker = offered.path("small/blocker")
        with pytest.MonkeyPatch.context() as patch:
            look = import_module._refuse_full

            def and_then_fill(*arguments):
                look(*arguments)
                with contextlib.suppress(OSError), blocker.open("wb") as file:
                    while file.write(b"\0" * 4096):
                        file.flush()

            patch.setattr(import_module, "_refuse_full", and_then_fill)
            done = offered.inside("import", "stick")
        assert done.code == 7, done.err
        assert "no space is left" in done.lines["why"] or "full" in done.lines["why"]
        assert done.lines["unchanged"] == "nothing was imported; what is served has not changed"
        after = offered.holdings()
        assert (before["served"], before["blobs"], before["catalog"][0]) == (after["served"], after["blobs"], after["catalog"][0])
        blocker.unlink()
        assert len(offered.ok("in", "import", "stick", "--json").json["sets"][0]["new"]) == 2
        offered.ok("in", "check")
