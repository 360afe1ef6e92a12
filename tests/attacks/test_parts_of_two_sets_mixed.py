"""A part of another set of the same station, sealed to the same site, takes a part's place."""


def test_mixed(offered, refuses):
    other = offered.export("other", "tiny:1b", "big:1b")
    folder = offered.folder("stick")
    for name in ("00000001", "00000002"):
        (folder / f"parts/{name}.sealed").write_bytes((other / f"parts/{name}.sealed").read_bytes())
    refuses(offered, "stick", code=5, error="set .*: incomplete", why="part 1 of set .*: damaged", commits_metadata=True)
