"""A stick comes back with a link in the place of a folder: whoever prepared it would have the station write, as its user, where they like."""

import pytest

from registry.errors import FormatRefused
from registry.store.medium import SetWriter

SET = "01M7ZR2K3RRPWNSYSEJR59BV9J"


@pytest.mark.parametrize("name", ["airlock", "AIRLOCK"])
def test_the_folder_of_all_sets(exported, tree, name):
    exported.path("stick").mkdir()
    exported.path("victim").mkdir()
    exported.path("stick", name).symlink_to(exported.path("victim"))
    before = tree(exported.path("stick"))
    done = exported.outside("export", "--to", "stick", "--recipient", "in/site.pub")
    assert done.code == 3
    assert done.lines["error"] == f"stick/{name}: is a link"
    assert done.lines["hint"] == "use another medium, and keep this one"
    assert done.lines["unchanged"].startswith("no set was finished")
    assert list(exported.path("victim").iterdir()) == []
    assert tree(exported.path("stick")) == before


@pytest.mark.parametrize("name", ["", "parts", "metadata"])
def test_a_folder_of_an_unfinished_set(tmp_path, name):
    victim = tmp_path / "victim"
    victim.mkdir()
    place = tmp_path / "stick/airlock" / SET / name
    place.parent.mkdir(parents=True)
    place.symlink_to(victim)
    with pytest.raises(FormatRefused, match="is a link"):
        SetWriter(tmp_path / "stick", SET).begin({"set.json": b"{}", "metadata/1.root.json": b"{}"})
    assert list(victim.iterdir()) == []


@pytest.mark.parametrize("name", ["airlock-signing", "airlock-signing/targets", "airlock-signing/targets/statements"])
def test_a_signing_request(exported, name):
    exported.path("stick", name).parent.mkdir(parents=True)
    exported.path("victim").mkdir()
    exported.path("stick", name).symlink_to(exported.path("victim"))
    done = exported.outside("release", "prepare", "stick")
    assert done.code == 3
    assert done.lines["error"] == f"stick/{name}: is a link"
    assert list(exported.path("victim").iterdir()) == []
