"""A part that is not there: half a model must never show."""


def test_first_missing(offered):
    """What the other parts bring is kept, and the same command continues with a whole medium."""
    part = offered.folder("stick") / "parts/00000001.sealed"
    before, good = offered.holdings(), part.read_bytes()
    part.unlink()
    done = offered.inside("import", "stick")
    assert done.code == 5
    assert done.lines["error"].endswith(": incomplete")
    assert done.lines["why"] == "missing: 1 of 2 part(s)"
    assert "what arrived is kept, the same command continues" in done.lines["hint"]
    assert done.lines["unchanged"] == "nothing was imported; what is served has not changed"
    after = offered.holdings()
    assert (before["served"], before["blobs"], before["catalog"][0]) == (after["served"], after["blobs"], after["catalog"][0])
    assert offered.events()[-1]["verb"] == "set.refuse"
    part.write_bytes(good)
    (offered.folder("stick") / "parts/00000002.sealed").unlink()
    assert len(offered.ok("in", "import", "stick", "--json").json["sets"][0]["new"]) == 2


def test_all_missing(offered, refuses):
    for part in (offered.folder("stick") / "parts").iterdir():
        part.unlink()
    (offered.folder("stick") / "parts").rmdir()
    refuses(offered, "stick", code=5, error="incomplete", why=r"missing: 1, 2 of 2 part\(s\)", commits_metadata=True)
