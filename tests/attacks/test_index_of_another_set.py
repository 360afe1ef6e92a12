"""The index of another set by the same station, on its own or with its header."""


def test_index_alone(offered, refuses):
    other = offered.export("other")
    (offered.folder("stick") / "index.sealed").write_bytes((other / "index.sealed").read_bytes())
    refuses(offered, "stick", code=3, error="index: damaged", commits_metadata=True)


def test_header_and_index(offered, refuses):
    other = offered.export("other")
    for name in ("index.sealed", "set.json"):
        (offered.folder("stick") / name).write_bytes((other / name).read_bytes())
    refuses(offered, "stick", code=3, error=r"set.json belongs to another set", why="it names", commits_metadata=True)


def test_folder_renamed(offered, refuses):
    """Every file is good, but the folder says that it is another set."""
    folder = offered.folder("stick")
    folder.rename(folder.with_name(folder.name[:-1] + ("0" if folder.name[-1] != "0" else "1")))
    refuses(offered, "stick", code=3, error=r"set.json belongs to another set", commits_metadata=True)


def test_sealed_again_under_this_sets_key(offered, refuses, forge):
    """The station's signature is good, but it was made for another set."""
    station = forge(offered)
    other = offered.export("other", "tiny:2b")
    _, set_key, _ = station.open_set(offered.folder("stick"))
    _, _, index = station.open_set(other)
    station.reseal(offered.folder("stick"), set_key, index, station.keys["station"])
    refuses(offered, "stick", code=3, error="index belongs to another set or to another header", commits_metadata=True)
