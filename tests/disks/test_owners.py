"""Media that belong to somebody else: readable is enough, and what isn't readable is named.

airlock runs as it does for an ordinary user: root without any of root's capabilities may open only what the modes allow.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

STRANGER = 54321
NEW = ["library/tiny:1b-r3", "library/big:1b-r1"]


@pytest.fixture
def ordinary(offered):
    """Run a command at the site with no right but an owner's."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("this user can't make files of another user")

    def run(*arguments):
        program = Path(sys.executable).with_name("airlock")
        command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", program, "--home", "in", "--passphrase-file", "passphrase", *arguments]
        return subprocess.run(command, cwd=offered.root, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=60)

    return run


def belongs_to_a_stranger(top, *, files, folders):
    """Give a tree to another user, with these modes."""
    for path in top.rglob("*"):
        path.chmod(folders if path.is_dir() else files)
        os.chown(path, STRANGER, STRANGER)


def test_readable_by_everybody(offered, ordinary, tree):
    """The usual stick of somebody else: nothing on it can be changed, and nothing has to be."""
    belongs_to_a_stranger(offered.path("stick"), files=0o444, folders=0o555)
    before = tree(offered.path("stick"))
    done = ordinary("import", "stick", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["sets"][0]["new"] == NEW
    assert tree(offered.path("stick")) == before


@pytest.mark.parametrize(("files", "folders"), [(0o600, 0o755), (0o644, 0o700)], ids=["files", "folders"])
def test_readable_by_its_owner_alone(offered, ordinary, files, folders):
    before = offered.holdings()
    belongs_to_a_stranger(offered.path("stick"), files=files, folders=folders)
    done = ordinary("import", "stick")
    assert done.returncode == 5
    assert "can't be read" in done.stderr
    assert "this user may not do that" in done.stderr
    assert "nothing was imported; what is served has not changed" in done.stderr
    assert offered.holdings() == before
    belongs_to_a_stranger(offered.path("stick"), files=0o644, folders=0o755)
    assert json.loads(ordinary("import", "stick", "--json").stdout)["sets"][0]["new"] == NEW


def test_one_part_of_somebody_else(offered, ordinary):
    """What can be read comes in; the rest is named, and comes in later."""
    part = offered.folder("stick") / "parts/00000002.sealed"
    part.chmod(0o600)
    os.chown(part, STRANGER, STRANGER)
    done = ordinary("import", "stick")
    assert done.returncode == 5
    assert "00000002.sealed" in done.stderr
    assert "imported all the same: library/tiny:1b-r3" in done.stderr
    part.chmod(0o644)
    assert json.loads(ordinary("import", "stick", "--json").stdout)["sets"][0]["new"] == ["library/big:1b-r1"]
