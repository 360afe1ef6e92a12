"""The record of an unfinished set: it survives interruptions, and whatever becomes of the file."""

import dataclasses
import json

import pytest

from registry.content import canonical
from registry.workflow.arrivals import Arrivals, Expected, arriving_sets

SET = "01M7ZR2K3RRPWNSYSEJR59BV9J"
LATER = "01M8ZR2K3RRPWNSYSEJR59BV9J"
EXPECTED = Expected(
    set_id=SET,
    publisher="c" * 64,
    parts=4,
    parity=1,
    releases=("library/tiny:1b-r1",),
    needed=(1, 2, 3, 4),
    damaged={3: "part 3: cut"},
    media=(("A", 1, 2), ("", 3, 5)),
    seen=(1,),
)


def record(tmp_path):
    return tmp_path / f"{SET}.arrivals"


def test_nothing_yet(tmp_path):
    assert Arrivals(tmp_path, SET).done == set()
    assert list(arriving_sets(tmp_path)) == []
    assert list(arriving_sets(tmp_path / "nowhere")) == []


def test_what_arrived_is_not_missing(tmp_path):
    arrivals = Arrivals(tmp_path / "incoming", SET)
    arrivals.expect(EXPECTED)
    assert list(arriving_sets(tmp_path / "incoming")) == [EXPECTED]
    arrivals.add(1, 3)
    arrivals.add(2)
    assert list(arriving_sets(tmp_path / "incoming")) == [dataclasses.replace(EXPECTED, needed=(4,), damaged={})]
    arrivals.remove(3)
    assert Arrivals(tmp_path / "incoming", SET).done == {1, 2}
    assert list(arriving_sets(tmp_path / "incoming")) == [dataclasses.replace(EXPECTED, needed=(3, 4))]


def test_what_is_known_of_media_grows(tmp_path):
    """Each medium knows its own label; the labels of those that came before stay, as long as they say the same of the media."""
    arrivals = Arrivals(tmp_path, SET)
    arrivals.expect(EXPECTED)
    Arrivals(tmp_path, SET).expect(dataclasses.replace(EXPECTED, media=(("", 1, 2), ("B", 3, 5)), seen=(2,)))
    [found] = arriving_sets(tmp_path)
    assert (found.media, found.seen) == ((("A", 1, 2), ("B", 3, 5)), (1, 2))
    Arrivals(tmp_path, SET).expect(dataclasses.replace(EXPECTED, media=(), seen=()))
    [found] = arriving_sets(tmp_path)
    assert (found.media, found.seen) == ((("A", 1, 2), ("B", 3, 5)), (1, 2))
    Arrivals(tmp_path, SET).expect(dataclasses.replace(EXPECTED, media=(("C", 1, 5),), seen=(1,)))
    [found] = arriving_sets(tmp_path)
    assert found.media == (("C", 1, 5),)


def test_newest_first(tmp_path):
    for set_id in (SET, LATER):
        Arrivals(tmp_path, set_id).expect(EXPECTED)
    assert [each.set_id for each in arriving_sets(tmp_path)] == [LATER, SET]


def test_forget(tmp_path):
    other = Arrivals(tmp_path, LATER)
    other.add(1)
    other.parity_file(7).write_bytes(b"other")
    arrivals = Arrivals(tmp_path, SET)
    arrivals.add(1)
    for number in (5, 6):
        arrivals.parity_file(number).write_bytes(b"parity")
    arrivals.forget()
    assert {path.name for path in tmp_path.iterdir()} == {f"{LATER}.arrivals", f"{LATER}.parity-7"}
    arrivals.forget()


def garbage():
    """A good record, bent."""
    good = {
        "v": 1,
        "done": [1, 2],
        "expected": {"publisher": "c" * 64, "parts": 4, "parity": 1, "releases": ["x"], "needed": [3], "damaged": {"3": "cut"}},
    }
    good["expected"] |= {"media": [["A", 1, 2]], "seen": [1]}
    yield "nothing", b""
    yield "half", canonical.dump(good)[:50]
    yield "zeros", bytes(200)
    yield "an array", b"[]"
    yield "a number", b"7"
    yield "a later version", canonical.dump({**good, "v": 2})
    yield "white space", json.dumps(good).encode()
    yield "9 MB", b'"' + b"x" * (9 << 20) + b'"'
    for name in ("done", "expected"):
        yield f"no {name}", canonical.dump({key: value for key, value in good.items() if key != name})
    for odd in (None, 7, "12", ["x"], [[1]], [1, True], {}, {"a": 1}):
        if odd != {}:
            yield f"done {odd}", canonical.dump({**good, "done": odd})
            yield f"expected {odd}", canonical.dump({**good, "expected": odd}) if odd else b"x"
        for name in good["expected"]:
            if (name, odd) != ("damaged", {}):
                yield f"{name} {odd}", canonical.dump({**good, "expected": {**good["expected"], name: odd}})
    for name in good["expected"]:
        yield f"no {name} in it", canonical.dump({**good, "expected": {key: value for key, value in good["expected"].items() if key != name}})


GARBAGE = dict(garbage())
FINE = {
    "releases {}",
    "needed {}",
    "seen {}",
    "media {}",
    "releases ['x']",
    "releases {'a': 1}",
    "releases 12",
    "publisher 12",
    "parts 7",
    "parity 7",
    "needed [1, True]",
}


@pytest.mark.parametrize("name", [name for name in GARBAGE if name not in FINE])
def test_garbage_is_survived(tmp_path, name):
    """Whatever the file holds: nothing has arrived, which is always safe, and the next record replaces it."""
    record(tmp_path).write_bytes(GARBAGE[name])
    arrivals = Arrivals(tmp_path, SET)
    assert arrivals.done == set()
    assert list(arriving_sets(tmp_path)) == []
    arrivals.expect(EXPECTED)
    arrivals.add(4)
    assert [each.needed for each in arriving_sets(tmp_path)] == [(1, 2, 3)]


@pytest.mark.parametrize("name", sorted(FINE & GARBAGE.keys()))
def test_odd_but_harmless(tmp_path, name):
    record(tmp_path).write_bytes(GARBAGE[name])
    assert Arrivals(tmp_path, SET).done == {1, 2}
    assert len(list(arriving_sets(tmp_path))) == 1


def test_other_files_in_incoming(tmp_path):
    (tmp_path / "x.arrivals").write_bytes(b"{}")
    (tmp_path / f"{SET}.arrivals.old").write_bytes(b"{}")
    record(tmp_path).mkdir()
    assert list(arriving_sets(tmp_path)) == []
