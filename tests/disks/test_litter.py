"""What kiosks, Windows and macOS leave on a stick, beside the set and in every folder of it: never opened, listed, no obstacle."""

import pytest

MACOS = ["._00000001.sealed", "._set.json", ".DS_Store", ".fseventsd/fseventsd-uuid", ".Spotlight-V100/Store-V2/indexState", ".Trashes/501/old"]
WINDOWS = ["desktop.ini", "Thumbs.db", "autorun.inf", "System Volume Information/IndexerVolumeGuid", "$RECYCLE.BIN/S-1-5-18/desktop.ini"]
KIOSKS = ["scan-report.html", "SCAN_2026-11-28.PDF", "quarantine.log", "00000001.sealed.sha256", "Copy of 00000001.sealed", "report/index.html"]
LITTER = [*MACOS, *WINDOWS, *KIOSKS]
PLACES = ["", "metadata/", "parts/"]


def strew(folder):
    """Leave every kind of litter in a folder."""
    for name in LITTER:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"litter")


def tops(prefix):
    """The names that a folder strewn with litter shows."""
    return {prefix + name.partition("/")[0] for name in LITTER}


def test_everywhere(offered, disk, tree):
    stick, folder = offered.path("stick"), offered.folder("stick")
    ours = {str(path.relative_to(stick)) for path in stick.rglob("*")}
    for place in (stick, stick / "airlock", folder, folder / "metadata", folder / "parts"):
        strew(place)
    disk.lying(offered.path("slot"), stick, "none")
    before = tree(stick)
    expected = set().union(*map(tops, PLACES))
    done = offered.ok("in", "import", "slot", "--json").json["sets"][0]
    assert done["new"] == ["library/tiny:1b-r3", "library/big:1b-r1"]
    assert set(done["ignored"]) == expected
    assert set(offered.airlock("inspect", "slot", "--json").json["litter"]) == expected
    opened = disk.opened(offered.path("slot"))
    assert f"airlock/{folder.name}/parts/00000001.sealed" in opened
    assert opened <= {"", *ours}
    assert tree(stick) == before


def test_listed_in_words(offered):
    strew(offered.folder("stick") / "parts")
    done = offered.ok("in", "import", "stick")
    assert "ignored, never opened: " in done.err
    for name in tops("parts/"):
        assert name in done.err


@pytest.mark.parametrize("left", ["00000002.sealed.infected.txt", "00000002.sealed_QUARANTINED", "00000002.zip"])
def test_a_kiosk_that_took_a_part_away(offered, left):
    """It left a note in its place: the set is incomplete, the note is no part, and with the part again the same command completes."""
    parts = offered.folder("stick") / "parts"
    part = (parts / "00000002.sealed").read_bytes()
    (parts / "00000002.sealed").unlink()
    (parts / left).write_bytes(b"removed by policy")
    done = offered.inside("import", "stick")
    assert done.code == 5
    assert "incomplete" in done.lines["error"]
    assert "missing: 2 of 2 part(s)" in done.lines["why"]
    assert f"parts/{left}" in done.err
    (parts / "00000002.sealed").write_bytes(part)
    assert offered.ok("in", "import", "stick", "--json").json["sets"][0]["new"] == ["library/big:1b-r1"]
