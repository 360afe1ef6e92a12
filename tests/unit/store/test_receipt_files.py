"""Receipts lie beside the sets, and are found however a kiosk spells the folders."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from registry.errors import FormatRefused, NotFound, Usage
from registry.store.receipt_files import find_receipts, new_receipt_path

SITE = "0a1b2c3d" + "0" * 56
NOW = datetime(2026, 11, 28, 18, 9, 5, tzinfo=UTC)
NAME = "0a1b2c3d-20261128T180905Z.receipt"


def test_on_a_medium(tmp_path):
    path = new_receipt_path(tmp_path, SITE, NOW)
    assert path == tmp_path / "airlock" / "receipts" / NAME
    path.write_bytes(b"x")
    assert find_receipts(tmp_path) == find_receipts(tmp_path / "airlock") == find_receipts(tmp_path / "airlock" / "receipts") == [path]


def test_a_medium_mounted_as_airlock(tmp_path):
    medium = tmp_path / "airlock"
    medium.mkdir()
    path = new_receipt_path(medium, SITE, NOW)
    path.write_bytes(b"x")
    assert find_receipts(medium) == [path]


def test_folders_of_another_case_are_used_again(tmp_path):
    (tmp_path / "AIRLOCK" / "RECEIPTS").mkdir(parents=True)
    path = new_receipt_path(tmp_path, SITE, NOW)
    assert path == tmp_path / "AIRLOCK" / "RECEIPTS" / NAME
    path.with_name(NAME.upper()).write_bytes(b"x")
    assert find_receipts(tmp_path) == [path.with_name(NAME.upper())]


def test_the_newest_comes_first_whichever_site(tmp_path):
    folder = new_receipt_path(tmp_path, SITE, NOW).parent
    for name in ("ffffffff-20261127T000000Z.receipt", "00000000-20261129T000000Z.receipt", NAME, ".airlock-x", "notes.txt", "x.receipt"):
        (folder / name).write_bytes(b"x")
    (folder / "11111111-20261129T000000Z.receipt").symlink_to(folder / NAME)
    (folder / "22222222-20261129T000000Z.receipt").mkdir()
    assert [path.name[:8] for path in find_receipts(tmp_path)] == ["00000000", "0a1b2c3d", "ffffffff"]


def test_a_file(tmp_path):
    path = tmp_path / "some.receipt"
    assert new_receipt_path(path, SITE, NOW) == path
    path.write_bytes(b"x")
    assert find_receipts(path) == [path]


def test_nothing_there(tmp_path):
    with pytest.raises(NotFound, match="no such directory"):
        new_receipt_path(tmp_path / "gone" / "x", SITE, NOW)
    with pytest.raises(NotFound, match="no such file or directory"):
        find_receipts(tmp_path / "gone")
    for medium in (tmp_path, tmp_path / "airlock", tmp_path / "airlock" / "receipts"):
        medium.mkdir(exist_ok=True)
        with pytest.raises(NotFound, match="no receipt on this medium"):
            find_receipts(medium)


def test_links_and_twins_are_refused(tmp_path):
    """A link could lead the receipt onto another machine's disk, or read a file of this one."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "airlock").symlink_to(tmp_path / "elsewhere")
    for act in (lambda: new_receipt_path(tmp_path, SITE, NOW), lambda: find_receipts(tmp_path)):
        with pytest.raises(FormatRefused, match="not a folder"):
            act()
    (tmp_path / "airlock").unlink()
    (tmp_path / "airlock").mkdir()
    (tmp_path / "AIRLOCK").mkdir()
    with pytest.raises(FormatRefused, match="more than one folder"):
        find_receipts(tmp_path)


def test_a_device_is_not_replaced():
    with pytest.raises(Usage, match="not a regular file"):
        new_receipt_path(Path("/dev/null"), SITE, NOW)
