"""Where a medium of a set is found, or an empty one for it; whom to ask otherwise."""

import pytest

from registry.errors import MediumDamaged, NotFound
from registry.media.planner import Span
from registry.media.seal import Seal
from registry.store.medium import SetWriter
from registry.workflow.medium_notes import medium_json
from registry.workflow.slots import Slot, Slots, free_bytes, medium_number, open_slots

SET = "01M7ZR2K3RRPWNSYSEJR59BV9J"
SPANS = [Span(0, 1, 2, 2000), Span(1, 3, 4, 2000), Span(2, 5, 5, 1000)]


def put(path, number, **more):
    """Begin a set's medium there."""
    files = {"medium.json": medium_json(Seal(SET, bytes(32)), number, f"X-{number}", SPANS), "set.json": b"{}", **more}
    SetWriter(path, SET).begin({name: data for name, data in files.items() if data is not None})


@pytest.fixture
def places(tmp_path):
    """Three directories."""
    for name in "abc":
        (tmp_path / name).mkdir()
    return [tmp_path / name for name in "abc"]


class Person:
    """Does what a list says, one thing for each question."""

    def __init__(self, *deeds):
        self.deeds, self.asked = list(deeds), []

    def __call__(self, sentence):
        self.asked.append(sentence)
        self.deeds.pop(0)()


def test_open_slots(places):
    a, b, _ = places
    free = free_bytes(a)
    assert open_slots([a], (), None).slots == (Slot(a, pytest.approx(free, rel=0.1)),)
    assert open_slots([a, b], (5, 6), None).slots == (Slot(a, 5), Slot(b, 6))
    assert open_slots([a, b], (5,), None).slots == (Slot(a, 5), Slot(b, 5))
    assert open_slots([a], (5, 6, 7), None).slots == (Slot(a, 5),), "nobody changes media"
    assert open_slots([a], (5, 1 << 60), print).slots == (Slot(a, 5), Slot(a, 1 << 60)), "what comes later is not mounted yet"
    assert open_slots([a], (1 << 60,), print).capacities[0] < 1 << 60, "what is mounted takes what is free"
    assert open_slots([a, b, a], (5,), None).paths == [a, b]
    with pytest.raises(NotFound, match="not a directory"):
        open_slots([a, a / "nowhere"], (), None)


def test_each_in_its_slot(places):
    slots = Slots(tuple(Slot(path, 5000) for path in places), None)
    for number, (span, path) in enumerate(zip(SPANS, places, strict=True), 1):
        assert slots.find(SET, number, span) == path
        put(path, number)
        assert slots.find(SET, number, span) == path


def test_found_wherever_it_is_mounted(places):
    """Begun media are recognised by their note, not by where they were before."""
    put(places[2], 1)
    put(places[0], 3)
    slots = Slots(tuple(Slot(path, 5000) for path in places), None)
    assert [slots.find(SET, number, span) for number, span in enumerate(SPANS, 1)] == [places[2], places[1], places[0]]


def test_another_set_is_no_hindrance(places):
    SetWriter(places[0], "01M8ZR2K3RRPWNSYSEJR59BV9J").begin({"set.json": b"{}"})
    assert Slots((Slot(places[0], 5000),), None).find(SET, 1, SPANS[0]) == places[0]


def test_nobody_to_ask(places):
    put(places[0], 1)
    slots = Slots((Slot(places[0], 5000),), None)
    with pytest.raises(MediumDamaged) as refusal:
        slots.find(SET, 2, SPANS[1])
    assert refusal.value.what == f"set {SET}: no medium takes parts 3 to 4"
    assert refusal.value.why == f"medium 1 of this set is in {places[0]}"
    assert "2,000 bytes free" in refusal.value.hint
    with pytest.raises(MediumDamaged, match="less than 2,000 bytes are free"):
        Slots((Slot(places[1], 1999),), None).find(SET, 2, SPANS[1])
    with pytest.raises(MediumDamaged, match="no medium is mounted"):
        Slots((Slot(places[1] / "gone", 5000),), None).find(SET, 2, SPANS[1])


def test_asked_until_it_is_there(places):
    slot, away = places[0], places[0].with_name("away")
    put(slot, 1)

    def swap():
        slot.rename(away)
        slot.mkdir()

    person = Person(lambda: None, swap)
    assert Slots((Slot(slot, 5000), Slot(slot, 5000)), person).find(SET, 2, SPANS[1]) == slot
    assert person.asked == [f"Insert medium 2, with 2,000 bytes free, into {slot} (now: medium 1 of this set is in {slot})"] * 2
    assert medium_number(slot, SET) is None
    assert medium_number(away, SET) == 1


def test_asked_for_one_with_more_room(places):
    span = Span(0, 1, 1, 1 << 60)
    person = Person(lambda: put(places[0], 1))
    assert Slots((Slot(places[0], 5),), person).find(SET, 1, span) == places[0]
    assert f"(now: {places[0]}: less than {1 << 60:,} bytes are free)" in person.asked[0]


def test_which_medium(places):
    a, b, c = places
    assert medium_number(a, SET) is None
    assert medium_number(a / "nowhere", SET) is None
    put(a, 2)
    assert medium_number(a, SET) == 2
    put(b, 2, **{"medium.json": b"garbage"})
    assert medium_number(b, SET) == 0
    put(c, 2, **{"medium.json": None, "set.json": None})
    assert medium_number(c, SET) is None, "begun, and pulled out before it said which one it is"
    with pytest.raises(MediumDamaged, match="another folder of this set is in"):
        Slots((Slot(b, 5000),), None).find(SET, 1, SPANS[0])
