"""Two parts of one set change places."""


def test_swapped(offered, refuses):
    first, second = (offered.folder("stick") / f"parts/0000000{number}.sealed" for number in (1, 2))
    data = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(data)
    refuses(offered, "stick", code=5, error="set .*: incomplete", why="part 1 of set .*: (incomplete|too long)", commits_metadata=True)


def test_same_length(exported, refuses, forge):
    """Even parts of one length don't open in each other's place: the number is bound to the bytes."""
    station = forge(exported)
    exported.ok("in", "trust", "add", "usb", "--fingerprint", exported.fingerprint())
    model = station.model(weights=station.weights(5) + bytes(2 << 20))
    folder = station.make_set("evil", [station.release(model)], model.objects)
    parts = sorted((folder / "parts").iterdir())
    assert len({part.stat().st_size for part in parts[:2]}) == 1
    a, b = parts[0].read_bytes(), parts[1].read_bytes()
    parts[0].write_bytes(b)
    parts[1].write_bytes(a)
    refuses(
        exported,
        "evil",
        code=5,
        error="set .*: incomplete",
        why="part 1 of set .*: damaged: segment 0 is not what was sealed",
        commits_metadata=True,
        keeps_blobs=True,
    )
