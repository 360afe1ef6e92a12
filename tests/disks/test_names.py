"""Names: what we write every file system can hold, and a medium whose names come back in another letter case is the same medium."""

import re

import pytest

from registry.media.index import MAX_PARTS
from registry.media.seal import Seal
from registry.media.sets import metadata_names
from registry.store.files import TEMPORARY_PREFIX
from registry.trust.refresh import MAX_ROOTS

# What Windows keeps for itself, alone or before a dot ("Naming Files, Paths, and Namespaces", Win32).
RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)", re.IGNORECASE)
FORBIDDEN = re.compile(r'[:*?"<>|\\\x00-\x1f\x7f-\U0010ffff]|[. ]$|^ ')
LONGEST_PATH = 260 - len("E:\\") - 1  # MAX_PATH, with the drive and the final NUL


def refuse_unsafe(path):
    """Fail for a path that NTFS, exFAT or FAT32 can't hold as it is."""
    assert len(path) <= LONGEST_PATH
    for name in path.split("/"):
        assert name
        assert not RESERVED.match(name), path
        assert not FORBIDDEN.search(name), path


def test_every_name_of_a_set_is_safe_on_windows(offered):
    names = [str(path.relative_to(offered.path("stick"))) for path in offered.path("stick").rglob("*")]
    assert len(names) > 12
    folder = f"airlock/{offered.folder('stick').name}"
    largest = [Seal("", b"").part_name(MAX_PARTS), *metadata_names(MAX_ROOTS), f"parts/{TEMPORARY_PREFIX}{'0' * 16}"]
    for name in [*names, *(f"{folder}/{each}" for each in largest)]:
        refuse_unsafe(name)
    assert len({name.lower() for name in names}) == len(names)


@pytest.mark.parametrize("bad", ["a/con", "NUL.txt", "com1.sealed", "a:b", "a.", "a /b", 'x"', "a\\b", "ä"])
def test_the_check_itself(bad):
    with pytest.raises(AssertionError):
        refuse_unsafe(bad)


def rename_all(top, change):
    """Change the case of every name below a directory, the innermost first."""
    for path in sorted(top.rglob("*"), reverse=True):
        path.rename(path.with_name(change(path.name)))


@pytest.mark.parametrize("change", [str.upper, str.lower, str.swapcase, str.title], ids=lambda change: change.__name__)
def test_other_letter_case_everywhere(offered, tree, change):
    before = {name.lower(): digest for name, digest in tree(offered.path("stick")).items()}
    rename_all(offered.path("stick"), change)
    assert {name.lower(): digest for name, digest in tree(offered.path("stick")).items()} == before
    assert offered.airlock("inspect", "stick", "--json").json["litter"] == []
    done = offered.ok("in", "import", "stick", "--json").json["sets"][0]
    assert (done["new"], done["ignored"]) == (["library/tiny:1b-r3", "library/big:1b-r1"], [])


@pytest.mark.parametrize("change", [str.upper, str.lower], ids=lambda change: change.__name__)
def test_named_from_the_inside(offered, change):
    """Named by its folder instead of the medium's root, a set in other letters is found, too."""
    rename_all(offered.path("stick"), change)
    [top] = offered.path("stick").iterdir()
    [folder] = top.iterdir()
    for each in (top, folder):
        assert offered.airlock("inspect", each, "--json").json["set"] == folder.name.upper()


def test_a_file_system_without_letter_case(offered, disk):
    """exFAT keeps the letters and ignores their case: a folder that a kiosk called AIRLOCK is the folder that an export writes to."""
    usb = disk.exfat(offered.path("usb2"))
    (usb / "AIRLOCK").mkdir()
    offered.ok("out", "export", "tiny:1b", "--to", "usb2", "--recipient", "in/site.pub")
    assert [path.name for path in usb.iterdir()] == ["AIRLOCK"]
    disk.carry(usb, offered.path("slot"))
    assert offered.ok("in", "import", "slot", "--json").json["sets"][0]["new"] == ["library/tiny:1b-r3"]
