"""Written means readable: media that acknowledge every write, and later give back something else."""

import re

import pytest

EXPORT = ("export", "tiny:1b", "big:1b", "--to", "usb2", "--recipient", "in/site.pub", "--part-size", "1MiB")
NEW = ["library/tiny:1b-r3", "library/big:1b-r1"]


def put(world, disk, lie):
    """Put the medium whose bytes lie in ``held`` into the slot ``usb2``; it tells this lie."""
    return disk.lying(world.path("usb2"), world.path("held"), lie)


def swap(world, disk, lie):
    """The same stick, or a copy of it, telling another lie."""
    disk.unmount(world.path("usb2"))
    return put(world, disk, lie)


def test_an_honest_medium(offered, disk):
    """The control: without a lie, the same file system is a good medium."""
    put(offered, disk, "none")
    offered.ok("out", *EXPORT)
    swap(offered, disk, "none")
    assert offered.ok("in", "import", "usb2", "--json").json["sets"][0]["new"] == NEW


@pytest.mark.parametrize("lie", ["zeros", "flip"])
def test_read_back_finds_out(offered, disk, lie):
    """The export ends with exit 5 and claims nothing; on a medium that keeps its word the same command completes."""
    put(offered, disk, lie)
    done = offered.outside(*EXPORT)
    assert done.code == 5
    folder = offered.folder("usb2")
    assert done.lines["error"] == f"part 1 of set {folder.name}: damaged"
    assert done.lines["unchanged"] == "no set was finished; the same command continues where this one stopped"
    assert done.out == ""
    assert not (folder / "SHA256SUMS").exists()
    assert [event["verb"] for event in offered.events("out")].count("set.finish") == 2  # those of the world, made before
    swap(offered, disk, "none")
    again = offered.ok("out", *EXPORT, "--json").json
    assert (again["continued"], again["set"], again["read_back"]) == (True, folder.name, True)
    assert (folder / "SHA256SUMS").exists()
    assert offered.ok("in", "import", "usb2", "--json").json["sets"][0]["new"] == NEW


def test_the_page_cache_hides_the_lie(offered, disk):
    """What was just written reads well as long as memory answers; so ``flip`` above shows that the read-back asks the device."""
    put(offered, disk, "flip")
    offered.ok("out", *EXPORT, "--no-read-back")
    part = offered.folder("usb2") / "parts/00000001.sealed"
    written = (offered.path("held") / part.relative_to(offered.path("usb2"))).read_bytes()
    assert part.read_bytes() == written
    swap(offered, disk, "flip")
    assert part.read_bytes() != written


@pytest.mark.parametrize("lie", ["zeros", "flip"])
def test_without_read_back_the_import_finds_out(offered, disk, lie):
    put(offered, disk, lie)
    done = offered.ok("out", *EXPORT, "--no-read-back")
    assert "was not read back" in done.err
    assert not (offered.folder("usb2") / "SHA256SUMS").exists()
    swap(offered, disk, lie)
    refused = offered.inside("import", "usb2")
    assert refused.code == 5
    assert refused.lines["error"] == f"set {offered.folder('usb2').name}: incomplete"
    assert f"part 1 of set {offered.folder('usb2').name}: damaged" in refused.lines["why"]
    assert refused.lines["unchanged"] == "nothing was imported; what is served has not changed"


def test_input_output_error_at_export(offered, disk):
    put(offered, disk, "eio")
    done = offered.outside(*EXPORT)
    assert done.code == 5
    assert "can't be read" in done.lines["error"]
    assert "input/output error" in done.lines["why"]
    assert not (offered.folder("usb2") / "SHA256SUMS").exists()
    swap(offered, disk, "none")
    assert offered.ok("out", *EXPORT, "--json").json["continued"] is True


def test_input_output_error_at_import(offered, disk, tree):
    """A stick that fails in the middle of a part: nothing changes, and the same command on a good copy completes."""
    put(offered, disk, "none")
    offered.ok("out", *EXPORT)
    swap(offered, disk, "eio")
    before = offered.holdings()
    done = offered.inside("import", "usb2")
    assert done.code == 5
    assert done.lines["error"].endswith(": incomplete")
    assert re.search("^part 1 of set .* can't be read: the device reports an input/output error", done.lines["why"], re.MULTILINE)
    assert done.lines["unchanged"] == "nothing was imported; what is served has not changed"
    after = offered.holdings()
    assert (before["served"], before["blobs"], before["catalog"][0]) == (after["served"], after["blobs"], after["catalog"][0])
    assert not [name for name in tree(offered.path("in")) if ".airlock-" in name]
    swap(offered, disk, "none")
    assert offered.ok("in", "import", "usb2", "--json").json["sets"][0]["new"] == NEW
    offered.ok("in", "check")
