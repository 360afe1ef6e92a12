"""Links, pipes, devices, twins and giants in a set's folder: a reader would follow them somewhere else, wait for ever, or run out of memory."""

import os

import pytest

CODE = 3


def symlink(folder):
    (folder / "parts/00000003.sealed").symlink_to("/etc/hostname")
    return "not a regular file"


def symlinked_known_file(folder):
    target = folder.parents[2] / "elsewhere.json"
    (folder / "set.json").rename(target)
    (folder / "set.json").symlink_to(target)
    return "not a regular file"


def symlinked_folder(folder):
    (folder / "parts").rename(folder.parents[2] / "parts-elsewhere")
    (folder / "parts").symlink_to(folder.parents[2] / "parts-elsewhere")
    return "not a regular file"


def symlinked_set(folder):
    folder.rename(folder.parents[2] / folder.name)
    folder.symlink_to(folder.parents[2] / folder.name)
    return "is a link"


def symlink_as_litter(folder):
    (folder / "holiday.jpg").symlink_to("/etc/hostname")
    return "not a regular file"


def dangling_symlink(folder):
    (folder / "metadata/2.root.json").symlink_to("/nowhere")
    return "not a regular file"


def hard_link(folder):
    os.link(folder / "set.json", folder.parents[2] / "second-name")
    return "has several names"


def fifo(folder):
    (folder / "index.sealed").unlink()
    os.mkfifo(folder / "index.sealed")
    return "not a regular file"


def fifo_as_litter(folder):
    os.mkfifo(folder / "pipe")
    return "not a regular file"


def device(folder):
    try:
        os.mknod(folder / "parts/00000003.sealed", 0o20600, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("this user may not make devices")
    return "not a regular file"


def case_twins(folder):
    (folder / "SET.JSON").write_bytes((folder / "set.json").read_bytes())
    return "two files with one name"


def part_twins(folder):
    (folder / "parts/00000001.SEALED").write_bytes(b"x")
    return "two files with one name"


def folder_twins(folder):
    (folder / "Parts").mkdir()
    return "two files with one name"


def top_twins(folder):
    (folder.parents[1] / "AIRLOCK").mkdir()
    return "more than one folder is called airlock"


def giant_header(folder):
    os.truncate(folder / "set.json", 16 << 30)
    return "larger than any airlock writes"


def giant_timestamp(folder):
    os.truncate(folder / "metadata/timestamp.json", 1 << 20)
    return "larger than any airlock writes"


def giant_root(folder):
    os.truncate(folder / "metadata/1.root.json", 16 << 30)
    return "larger than any airlock writes"


def giant_index(folder):
    os.truncate(folder / "index.sealed", 1 << 30)
    return "larger than any airlock writes"


def giant_part(folder):
    os.truncate(folder / "parts/00000001.sealed", 5 << 30)
    return "larger than any airlock writes"


def giant_note(folder):
    os.truncate(folder / "README.txt", 1 << 30)
    return "larger than any airlock writes"


ODD = [value for value in list(globals().values()) if callable(value) and getattr(value, "__module__", "") == __name__]
assert len(ODD) == 20


@pytest.mark.parametrize("odd", ODD, ids=lambda function: function.__name__)
def test_refused(offered, refuses, odd):
    message = odd(offered.folder("stick"))
    refuses(offered, "stick", code=CODE, error=message, why="\\w")


@pytest.mark.parametrize("odd", [symlink, fifo, case_twins, giant_header], ids=lambda function: function.__name__)
def test_inspect_refuses_them_too(offered, odd):
    message = odd(offered.folder("stick"))
    done = offered.airlock("inspect", "stick")
    assert done.code == CODE
    assert message in done.lines["error"]


def test_gap_in_the_roots(offered, refuses):
    (offered.folder("stick") / "metadata/3.root.json").write_bytes((offered.folder("stick") / "metadata/1.root.json").read_bytes())
    refuses(offered, "stick", code=3, error="metadata/2.root.json is missing", why="3.root.json is there")


def test_root_one_twice(offered, refuses):
    (offered.folder("stick") / "metadata/2.root.json").write_bytes((offered.folder("stick") / "metadata/1.root.json").read_bytes())
    refuses(offered, "stick", code=3, error="2.root.json: has another version")
