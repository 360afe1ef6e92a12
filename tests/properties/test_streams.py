"""Streams: whatever bytes come, in whatever pieces, the files that were sent, or a refusal; never a byte beyond the end."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import FormatRefused, MediumDamaged
from registry.media.framing import END, Frame, announce, opening, parse_frame, parse_opening
from registry.media.sets import new_set_id
from registry.store.streamed import Inlet, sets_at

SET_IDS = st.builds(new_set_id, st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10))
SMALL = ["metadata/timestamp.json", "metadata/snapshot.json", "metadata/targets.json", "set.json", "index.sealed"]
NAMES = [*(f"metadata/{number}.root.json" for number in (1, 2, 999)), *SMALL, "medium.json", *(f"parts/{number:08d}.plain" for number in (1, 10_000))]
LINES = st.sampled_from([opening("01M7ZR2K3RRPWNSYSEJR59BV9J"), END, announce("set.json", 1), announce("parts/00000001.sealed", 2**32 - 1)])


class Dribble:
    """A pipe that gives as much at a time as the test says."""

    def __init__(self, data, pieces=(1 << 20,)):
        self.stream, self.pieces, self.turn = io.BytesIO(data), pieces, 0

    def readinto(self, into):
        self.turn += 1
        return self.stream.readinto(into[: self.pieces[self.turn % len(self.pieces)]])

    def read(self, size):
        raise AssertionError("nothing reads so")


@st.composite
def sets(draw):
    """The set id, and the frames of a stream: name to content, in order."""
    roots = [f"metadata/{number}.root.json" for number in range(1, draw(st.integers(1, 4)) + 1)]
    numbers = sorted(draw(st.sets(st.integers(1, 30), max_size=5)))
    names = [*roots, *SMALL, *(f"parts/{number:08d}.sealed" for number in numbers)]
    if draw(st.booleans()):
        names.insert(names.index("set.json"), "medium.json")
    return draw(SET_IDS), {name: draw(st.binary(min_size=1, max_size=300)) for name in names}


def written(set_id, frames):
    return opening(set_id) + b"".join(announce(name, len(data)) + data for name, data in frames.items()) + END


def take(data, wanted, pieces=(1 << 20,)):
    """Read a stream as an import does: what is small, the wanted parts, the end.  Return what came and how it broke."""
    source = Dribble(data, pieces)
    [arriving] = sets_at(Inlet(source))
    came = {name: arriving.read(name, 1 << 20) for name in arriving.small}
    for name in wanted:
        if (size := arriving.size(name)) is not None:
            content = bytearray(size)
            filled = 0
            try:
                with arriving.open(name) as file:
                    while count := file.readinto(memoryview(content)[filled:]):
                        filled += count
            except MediumDamaged:
                continue
            came[name] = bytes(content)
    return arriving, came, arriving.end(lambda _: None), source


@given(SET_IDS, st.sampled_from(NAMES), st.integers(1, 2**32 - 1))
def test_parse_and_write(set_id, name, size):
    assert parse_opening(opening(set_id)) == set_id
    assert parse_frame(announce(name, size), what="x") == Frame(name, size)


@given(LINES, st.integers(0, 63), st.integers(1, 255))
def test_any_changed_byte(line, place, bits):
    """It is refused, or says something else that is written so."""
    changed = bytearray(line)
    changed[place] ^= bits
    changed = bytes(changed)
    for parse, write in ((parse_opening, opening), (lambda data: parse_frame(data, what="x"), lambda frame: announce(frame.name, frame.size))):
        try:
            value = parse(changed)
        except FormatRefused:
            continue
        assert write(value) == changed


@given(st.binary(max_size=100))
def test_any_bytes(data):
    for parse in (parse_opening, lambda data: parse_frame(data, what="x")):
        with pytest.raises(FormatRefused):
            parse(data)
    with pytest.raises((FormatRefused, MediumDamaged)):
        sets_at(Inlet(Dribble(data)))


@given(sets(), st.lists(st.integers(1, 200), min_size=1, max_size=5), st.binary(max_size=200), st.data())
def test_what_is_sent_arrives(sent, pieces, after, data):
    """In whatever pieces; parts that aren't wanted are read over; what comes after the end stays where it is."""
    set_id, frames = sent
    parts = [name for name in frames if name.startswith("parts/")]
    wanted = [name for name in parts if data.draw(st.booleans())]
    stream = written(set_id, frames)
    arriving, came, broken, source = take(stream + after, wanted, pieces)
    assert arriving.set_id == set_id
    assert came == {name: content for name, content in frames.items() if name in wanted or name not in parts}
    assert broken is None
    assert source.stream.tell() == len(stream)
    assert arriving.roots == sum(name.endswith(".root.json") for name in frames)


@given(sets(), st.data())
def test_cut_anywhere(sent, data):
    """Nothing half of a file comes out, and the stream is known to have ended early."""
    set_id, frames = sent
    stream = written(set_id, frames)
    cut = data.draw(st.integers(0, len(stream) - 1))
    try:
        _, came, broken, _ = take(stream[:cut], list(frames))
    except MediumDamaged as damage:
        came, broken = {}, damage
    assert isinstance(broken, MediumDamaged)
    assert "ended early" in broken.what
    assert came.items() <= frames.items()


def in_order(names):
    """Tell whether a stream may have these files; without its newest root it may, what the metadata say of their roots is checked later."""
    roots = [name for name in names if name.endswith(".root.json")]
    parts = [name for name in names if name.startswith("parts/")]
    middle = [name for name in names if name not in (*roots, *parts, "medium.json")]
    note = ["medium.json"] * names.count("medium.json")
    ordered = [*roots, *middle[:3], *note, *middle[3:], *parts]
    return (
        names == ordered
        and len(note) <= 1
        and middle == SMALL
        and parts == sorted(set(parts))
        and roots == [f"metadata/{number}.root.json" for number in range(1, max(1, len(roots)) + 1)]
    )


@given(sets(), st.data())
def test_frames_in_any_other_order(sent, data):
    """Exchanged, doubled or left out: refused, unless parts are left out, which are then missing."""
    set_id, frames = sent
    names = list(frames)
    place, what = data.draw(st.integers(0, len(names) - 1)), data.draw(st.sampled_from(["swap", "double", "drop"]))
    bent = [*names]
    if what == "swap" and place:
        bent[place - 1], bent[place] = bent[place], bent[place - 1]
    elif what == "double":
        bent.insert(place, names[place])
    else:
        bent.pop(place)
    stream = opening(set_id) + b"".join(announce(name, len(frames[name])) + frames[name] for name in bent) + END
    try:
        _, came, broken, _ = take(stream, names)
    except FormatRefused as refusal:
        came, broken = {}, refusal
    assert isinstance(broken, FormatRefused) != in_order(bent), (bent, broken)
    assert came.items() <= frames.items()
