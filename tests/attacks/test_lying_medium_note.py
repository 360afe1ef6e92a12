"""``medium.json`` is unsigned: whatever it says changes hints at most, and what it says can't flood or forge what people read."""

import pytest

from registry.content import canonical

NOTE = {"v": 1, "medium": 1, "media": 1, "label": "STICK-1", "parts": [], "spans": [[1, 2]]}


def note(**changes):
    return canonical.dump({**NOTE, **changes})


LIES = {
    "nothing": b"",
    "not JSON": b"\x00\xff",
    "an array": b"[]",
    "2 MB": b'"' + b"x" * ((2 << 20) - 2) + b'"',
    "2 MB of spans": note(spans=[[1, 1]] * 200_000),
    "spans that never end": note(spans=[[number, number] for number in range(1, 10_003)]),
    "spans over each other": note(spans=[[1, 2], [1, 2]]),
    "spans with a gap": note(spans=[[1, 1], [5, 6]]),
    "spans backwards": note(spans=[[2, 1]]),
    "span of another type": note(spans=[["1", "2"]]),
    "three numbers": note(spans=[[1, 2, 3]]),
    "spans of another type": note(spans=7),
    "huge numbers": note(spans=[[1, 2**53 - 1]]),
    "negative numbers": note(spans=[[-5, 2]]),
    "medium beyond its media": note(medium=7),
    "medium 0": note(medium=0),
    "medium true": note(medium=True),
    "label with a newline": note(label="STICK\nairlock: everything is fine"),
    "label with an escape": note(label="\u001b[2J"),
    "a person": note(label="Anna Beispiel"),
    "no label": note(label=""),
    "label of another type": note(label=["x"]),
    "another set": note(set="01M7ZR2K3RRPWNSYSEJR59BV9J"),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_lie_changes_nothing(offered, lie):
    (offered.folder("stick") / "medium.json").write_bytes(lie)
    done = offered.ok("in", "import", "stick", "--json")
    assert len(done.json["sets"][0]["new"]) == 2
    noted = [
        event["subject"] for event in offered.events() if event["verb"] == "medium.read" and event["subject"]["set"] == done.json["sets"][0]["set"]
    ]
    assert noted == ([] if lie != LIES["another set"] else [{"label": "STICK-1", "media": 1, "medium": 1, "set": done.json["sets"][0]["set"]}])


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_lie_while_a_part_is_missing(offered, lie):
    """What people are told to bring stays short, and true as to the parts."""
    folder = offered.folder("stick")
    (folder / "medium.json").write_bytes(lie)
    (folder / "parts/00000002.sealed").unlink()
    done = offered.inside("import", "stick")
    assert done.code == 5
    assert done.lines["why"] == "missing: 2 of 2 part(s)"
    assert len(done.err) < 1_000
    assert "\x1b" not in done.err
    assert "everything is fine" not in done.err
    [waiting] = offered.ok("in", "import", "--status", "--json").json["sets"]
    assert waiting["missing"] == [2]
    assert len(waiting["media"]) <= 1


def test_oversized(offered, refuses):
    """Above its cap it is refused like any file of a set, before a byte of it is read."""
    (offered.folder("stick") / "medium.json").write_bytes(b" " * ((2 << 20) + 1))
    refuses(offered, "stick", code=3, error="larger than any airlock writes", why="at most 2097152 bytes")


def test_a_hundred_media(offered):
    """A note that is possible, and false: the parts' numbers stay right, and the hint names no more media than there are missing parts."""
    folder = offered.folder("stick")
    spans = [[number, number] for number in range(1, 101)]
    (folder / "medium.json").write_bytes(note(medium=100, spans=spans))
    (folder / "parts/00000002.sealed").unlink()
    done = offered.inside("import", "stick")
    assert done.lines["why"] == "missing: 2 of 2 part(s)\n2: on medium 2 of 100"
