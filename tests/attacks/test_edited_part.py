"""A part changed on the way: other weights would be served under a signed name."""

import pytest


@pytest.mark.parametrize("place", [0, 20, 38, 60, 5000, -20, -1], ids=["length", "salt", "prefix", "first bytes", "middle", "last bytes", "tag"])
def test_edited(offered, refuses, place):
    part = offered.folder("stick") / "parts/00000001.sealed"
    good = part.read_bytes()
    data = bytearray(good)
    data[place] ^= 0x10
    part.write_bytes(data)
    refuses(
        offered,
        "stick",
        code=5,
        error=r"part 1 of set \w{26}: damaged",
        why="segment|first byte",
        hint="copy the medium again",
        commits_metadata=True,
    )
    part.write_bytes(good)
    assert offered.ok("in", "import", "stick", "--json").json["sets"][0]["new"] == ["library/tiny:1b-r3", "library/big:1b-r1"]


def test_edited_later(offered):
    """One bad model doesn't hold back a good one, and the exit code still says that something is missing."""
    part = offered.folder("stick") / "parts/00000002.sealed"
    data = bytearray(part.read_bytes())
    data[100] ^= 1
    part.write_bytes(data)
    done = offered.inside("import", "stick")
    assert done.code == 5
    assert "part 2 of set" in done.lines["error"]
    assert done.lines["unchanged"] == "imported all the same: library/tiny:1b-r3; what is served has not changed"
    assert offered.releases() == [("library/tiny:1b", 1, "promoted"), ("library/tiny:1b", 3, "quarantine"), ("library/tiny:2b", 2, "approved")]
    offered.ok("in", "check")
