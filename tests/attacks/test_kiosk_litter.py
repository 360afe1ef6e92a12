"""What kiosks, desktops and scanners leave on a stick is never opened; it is named and otherwise ignored."""


def test_ignored_and_reported(offered):
    folder = offered.folder("stick")
    litter = ["._set.json", ".DS_Store", "desktop.ini", "scan-report.html", "parts/Thumbs.db", "metadata/.hidden", "set.json.bak", "parts/1.sealed"]
    for name in litter:
        (folder / name).write_bytes(b"litter")
        (folder / name).chmod(0)
    (folder / "System Volume Information").mkdir()
    (folder / "System Volume Information/IndexerVolumeGuid").write_bytes(b"litter")
    for name in ("autorun.inf", "airlock/notes.txt", "README"):
        (offered.path("stick") / name).write_bytes(b"nobody looks here")
    (offered.path("stick/airlock/photos")).mkdir()
    done = offered.inside("import", "stick")
    assert done.code == 0, done.err
    for name in [*litter, "System Volume Information"]:
        assert name in done.err
    assert "ignored, never opened" in done.err
    assert "notes.txt" not in done.err
    assert ("library/tiny:1b", 3, "quarantine") in offered.releases()
    assert set(offered.airlock("inspect", "stick", "--json").json["litter"]) == {*litter, "System Volume Information"}


def test_other_letter_case(offered):
    """Some kiosks and FAT drivers shout."""
    folder = offered.folder("stick")
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rename(path.with_name(path.name.upper()))
    folder.rename(folder.with_name(folder.name.lower()))
    offered.path("stick/airlock").rename(offered.path("stick/Airlock"))
    offered.ok("in", "import", "stick")


def test_notes_have_no_say(offered):
    """README.txt, medium.json and SHA256SUMS are for people and machines without a key; whatever they say changes nothing."""
    folder = offered.folder("stick")
    for name in ("README.txt", "medium.json", "SHA256SUMS"):
        (folder / name).write_bytes(b"the parts are elsewhere")
    (folder / "README.txt").unlink()
    offered.ok("in", "import", "stick")


def test_in_json(offered):
    (offered.folder("stick") / ".DS_Store").write_bytes(b"litter")
    assert offered.ok("in", "import", "stick", "--json").json["sets"][0]["ignored"] == [".DS_Store"]
