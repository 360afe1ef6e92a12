"""Which part size a set gets where it is ours to choose, and how its parts come to be."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import Usage
from registry.media.index import MAX_PART_BYTES, MAX_PARTS, MIN_PART_BYTES
from registry.media.seal import Seal
from registry.workflow.carried import DEFAULT_PART_BYTES, Shape, lay_out, objects_in_order

MIB, GIB, GB = 1 << 20, 1 << 30, 10**9
PLENTY = 1 << 50
A, B = (f"sha256:{digit * 64}" for digit in "ab")


@pytest.mark.parametrize(
    ("size", "shape", "capacity", "part_size"),
    [
        (100 * GB, Shape(), PLENTY, GIB),  # one medium: as large as it is wont to be
        (100 * GB, Shape(), 64 * GB, GIB),  # several: a sixteenth of the smallest is more than that
        (100 * GB, Shape(), 4 * GB, 239 * MIB),  # … and here less
        (100 * GB, Shape(), 100 * GB, GIB),  # the seal needs some bytes, too
        (10 * GB, Shape(parity=Fraction(1, 20)), PLENTY, 477 * MIB),  # a parity part is 5 % of the set, not a whole GiB
        (10 * GB, Shape(parity=Fraction(1)), PLENTY, GIB),
        (5 * MIB, Shape(), PLENTY, GIB),
        (5 * MIB, Shape(parity=Fraction(1, 20)), PLENTY, MIB),
        (0, Shape(parity=Fraction(1, 20)), PLENTY, MIB),
        (10 * GB, Shape(part_size=5 * MIB + 1), 4 * GB, 5 * MIB + 1),
        (100 * GB, Shape(part_size=3 * GIB), 4 * GB, 3 * GIB),
    ],
)
def test_part_size(size, shape, capacity, part_size):
    layout = lay_out(size, shape, capacity)
    assert layout.part_size == part_size
    assert layout.parts == -(-size // part_size)


@settings(deadline=None)
@given(st.integers(0, 1 << 44), st.sampled_from([Fraction(0), Fraction(1, 1000), Fraction(1, 20), Fraction(1)]), st.integers(0, 1 << 45))
def test_our_own_choice_is_always_allowed(size, parity, capacity):
    layout = lay_out(size, Shape(parity=parity), capacity)
    assert MIN_PART_BYTES <= layout.part_size <= MAX_PART_BYTES
    assert len(layout.files) <= MAX_PARTS


@given(st.integers(0, 60 * MIB), st.integers(MIN_PART_BYTES, 5 * MIB), st.sampled_from([Fraction(0), Fraction(1, 20), Fraction(1)]), st.booleans())
def test_files(size, part_size, parity, sealed):
    layout = lay_out(size, Shape(part_size, parity, sealed), PLENTY)
    seal = Seal("", bytes(32) if sealed else None)
    data = [min(part_size, size - start) for start in range(0, size, part_size)]
    assert list(layout.files[: layout.parts]) == [seal.size(each) for each in data]
    for group in layout.parity:
        longest = max(data[number - 1] for number in group.data)
        assert {layout.files[number - 1] for number in group.parity} == {seal.size(longest)}
    assert len(layout.files) == layout.parts + sum(len(group.parity) for group in layout.parity)


@pytest.mark.parametrize("part_size", [0, MIN_PART_BYTES - 1, MAX_PART_BYTES + 1, -1])
def test_part_sizes_out_of_bounds(part_size):
    with pytest.raises(Usage, match=f"part size {part_size} is out of bounds"):
        Shape(part_size)


def test_too_many_parts():
    with pytest.raises(Usage) as refusal:
        lay_out(MAX_PARTS * MIB + 1, Shape(MIB), PLENTY)
    assert refusal.value.hint == "choose a larger --part-size, or export fewer models by naming them"
    assert lay_out(MAX_PARTS * MIB, Shape(MIB), PLENTY).parts == MAX_PARTS
    with pytest.raises(Usage):
        lay_out(MAX_PARTS * MIB, Shape(MIB, Fraction(1, 100)), PLENTY)


def test_more_than_any_set_holds():
    with pytest.raises(Usage):
        lay_out(MAX_PARTS * MAX_PART_BYTES + 1, Shape(), PLENTY)


def test_default():
    assert DEFAULT_PART_BYTES == GIB


def test_objects_in_order():
    assert [(each.digest, each.offset, each.size) for each in objects_in_order({B: 5, A: 7})] == [(B, 0, 5), (A, 5, 7)]
    assert objects_in_order({}) == ()
