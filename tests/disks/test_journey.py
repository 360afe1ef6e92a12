"""From the station over a medium to the site, on every file system that a medium has in practice."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from registry.media.index import MAX_PART_BYTES
from registry.media.stream import sealed_size

NEW = ["library/tiny:1b-r3", "library/big:1b-r1"]
FAT32_LARGEST = (4 << 30) - 1
EXPORT = ("export", "tiny:1b", "big:1b", "--recipient", "in/site.pub", "--part-size", "1MiB", "--json")


def copy(tree, to):
    """Copy as a courier does; FAT knows neither modes nor exact times."""
    subprocess.run(["cp", "-r", tree, to], check=True)


def sums(folder):
    """Check a set as a kiosk does: no airlock, no key."""
    return subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder, capture_output=True, text=True, check=False)


def imports(world, medium, tree):
    """Import a medium; it is whole, and it isn't touched."""
    before = tree(world.path(medium))
    assert sums(world.folder(medium)).returncode == 0
    assert world.ok("in", "import", medium, "--json").json["sets"][0]["new"] == NEW
    assert tree(world.path(medium)) == before
    world.ok("in", "check")


@pytest.mark.parametrize("kind", ["fat32", "exfat", "ext4", "tmpfs"])
def test_written_carried_read(offered, disk, tree, kind):
    usb = getattr(disk, kind)(offered.path("usb2"))
    offered.export("usb2", "tiny:1b", "big:1b")
    written = tree(usb)
    assert tree(disk.carry(usb, offered.path("slot"))) == written
    imports(offered, "slot", tree)


def test_fat32(offered, disk, tree):
    """A courier copies a set to FAT32."""
    usb = disk.fat32(offered.path("usb2"))
    copy(offered.path("stick/airlock"), usb)
    assert tree(disk.carry(usb, offered.path("slot"))) == tree(offered.path("stick"))
    imports(offered, "slot", tree)


def test_parts_written_to_fat32(offered, disk, tree):
    """An export that stopped is moved to a FAT32 stick and continues there: parts and SHA256SUMS are written where there are no modes and no sizes.

    ``fusefat`` says that 0 of 0 bytes are free; that is no reason to refuse.
    """
    disk.lying(offered.path("first"), offered.path("held"), "full")
    assert offered.outside(*EXPORT, "--to", "first").code == 5
    usb = disk.fat32(offered.path("usb2"))
    copy(offered.path("first/airlock"), usb)
    assert offered.ok("out", *EXPORT, "--to", "usb2").json["continued"] is True
    disk.carry(usb, offered.path("slot"))
    imports(offered, "slot", tree)


def test_no_part_is_too_large_for_fat32(disk, tmp_path):
    """FAT32 holds files up to 4 GiB − 1; the largest part of ours is one of them, and a byte more than FAT32 holds is really refused."""
    assert sealed_size(MAX_PART_BYTES) <= FAT32_LARGEST
    usb = disk.fat32(tmp_path / "usb")
    descriptor = os.open(usb / "large", os.O_WRONLY | os.O_CREAT)
    try:
        assert os.pwrite(descriptor, b"x", 1 << 20) == 1  # a hole is no trouble
        with pytest.raises(OSError) as refusal:
            os.pwrite(descriptor, b"x", FAT32_LARGEST)
        assert refusal.value.errno in (errno.EPERM, errno.EFBIG)
    finally:
        os.close(descriptor)


def test_disc(offered, disk, tree):
    disk.squashfs(offered.path("disc"), offered.path("stick"))
    imports(offered, "disc", tree)


def test_write_blocker(offered, disk, tree):
    disk.read_only(offered.path("blocked"), offered.path("stick"))
    imports(offered, "blocked", tree)


def test_disc_is_no_medium_to_write(offered, disk, tree):
    disk.squashfs(offered.path("disc"), offered.path("stick"))
    before = tree(offered.path("disc"))
    done = offered.outside(*EXPORT, "--to", "disc")
    assert done.code == 5
    assert done.json["error"]["what"] == "the medium disc can't be used"
    assert "read-only" in done.json["error"]["why"]
    assert tree(offered.path("disc")) == before


@pytest.mark.slow  # the program comes with a kernel of 40 MB
def test_fat32_of_linux(offered, disk, tree):
    """The whole way on the FAT32 that a real machine has, and the stick read once more by another driver."""
    usb = offered.path("usb2")
    disk.fat32(usb)
    _, image = disk.images[usb]
    disk.unmount(usb)
    told = another_linux(offered.root, image)
    assert told["too large"] == "EFBIG"
    assert told["export"]["code"] == 0, told["export"]["err"]
    assert told["other case"] is True
    assert told["import"]["code"] == 0, told["import"]["err"]
    assert json.loads(told["import"]["out"])["sets"][0]["new"] == NEW
    usb.rmdir()
    disk.insert(usb, "fat32", image)
    imports(offered, "usb2", tree)


def another_linux(world, image):
    """Boot a Linux of its own with this disk; return what it told."""
    kernel, modules = shutil.which("linux.uml"), sorted(Path("/usr/lib/uml/modules").glob("*/kernel/fs"))
    if not kernel or not modules:
        pytest.skip("no user-mode Linux on this machine")
    first = Path(__file__).with_name("another_linux.py")
    machine = ["mem=512M", f"ubda={image}", f"uml_dir={world.parent}", "umid=linux", "con=null", "con0=fd:0,fd:1", "quiet"]
    root = ["root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", f"init={sys.executable}", "--", first, world, modules[-1]]
    process = subprocess.Popen([kernel, *machine, *root], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        said, _ = process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        said, _ = process.communicate()
    told = re.search(r"^told (.*)$", said, re.MULTILINE)
    assert told, said
    return json.loads(told[1])
