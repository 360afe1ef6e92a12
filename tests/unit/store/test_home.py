"""A home: whose it is, and who writes in it."""

import os

import pytest

from registry.errors import FormatRefused, NotFound, StoreFailed, Usage
from registry.store.home import SITE, STATION, Home


@pytest.fixture
def home(tmp_path):
    home = Home(tmp_path / "a/b/home")
    home.create()
    return home


def test_comes_to_be_by_its_mark(home):
    assert home.kind() is None
    with pytest.raises(NotFound, match="there is no airlock home"):
        home.require(SITE)
    home.mark(SITE)
    assert Home(home.root).kind() == SITE
    home.require(SITE)
    with pytest.raises(Usage, match="is the home of a site registry"):
        home.require(STATION)


@pytest.mark.parametrize("data", [b"", b"{}", b'{"kind":"site","v":2}', b'{"kind":"other","v":1}', b'{"kind": "site","v":1}', b"x" * 5000])
def test_another_mark(home, data):
    (home.root / "home.json").write_bytes(data)
    with pytest.raises((FormatRefused, Exception)) as refusal:
        home.kind()
    assert refusal.value.exit_code in (3, 5)


def test_a_file_in_its_place(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    assert Home(tmp_path / "file").kind() is None
    with pytest.raises(StoreFailed):
        Home(tmp_path / "file").create()


def test_one_writer(home):
    with home.locked("import"):
        with pytest.raises(StoreFailed, match="another command is writing") as refusal, Home(home.root).locked("approve"):
            pass
        assert f"airlock import (process {os.getpid()}) since " in refusal.value.why
    with home.locked("approve"):
        pass


def test_the_lock_ends_with_the_process(home):
    """However it ends: the kernel gives it back."""
    pid = os.fork()
    if pid == 0:
        with home.locked("import"):
            os.kill(os.getpid(), 9)
    os.waitpid(pid, 0)
    with home.locked("approve"):
        pass


@pytest.mark.parametrize("left", [b"", b"nonsense", b"[]", b"{}", b"\xff" * 5000])
def test_an_unreadable_holder(home, left):
    with home.locked("import"):
        (home.root / "lock").write_bytes(left)
        with pytest.raises(StoreFailed, match="another airlock process"), home.locked("approve"):
            pass


def test_a_link_as_lock(home):
    (home.root / "lock").symlink_to(home.root / "elsewhere")
    with pytest.raises(StoreFailed), home.locked("import"):
        pass
    assert not (home.root / "elsewhere").exists()


def test_sweep(home):
    for folder in (home.root, home.incoming, home.view.parent, home.sheets, home.blobs / "sha256/ab"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".airlock-0123").write_bytes(b"")
        (folder / "kept").write_bytes(b"")
    home.sweep()
    assert {path.name for path in home.root.rglob("*") if path.is_file()} == {"kept"}
