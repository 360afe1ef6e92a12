"""Which parts go on which medium."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.media.planner import CLUSTER_BYTES, Span, span_media

K = CLUSTER_BYTES


def laid(sizes, capacities, beside=0, **rest):
    spans = span_media(sizes, capacities, beside=beside, **rest)
    return None if spans is None else [(span.slot, list(span.numbers)) for span in spans]


def test_one_medium():
    assert span_media([K, K, 5], [4 * K], beside=K) == [Span(0, 1, 3, 2 * K + 5)]


@pytest.mark.parametrize(
    ("sizes", "capacities", "expected"),
    [
        ([K] * 5, [2 * K, 2 * K, 2 * K], [(0, [1, 2]), (1, [3, 4]), (2, [5])]),
        ([K] * 5, [2 * K, 2 * K], None),
        ([K] * 2, [2 * K, 2 * K], [(0, [1, 2])]),
        ([2 * K] * 2, [K, 2 * K, K, 2 * K], [(1, [1]), (3, [2])]),  # media that take nothing are passed over
        ([2 * K] * 2, [2 * K, K], None),
        ([1], [K - 1], None),  # a byte takes a whole cluster
        ([1], [K], [(0, [1])]),
        ([K + 1], [2 * K - 1], None),
        ([], [0], [(0, [])]),
        ([], [-1], None),
        ([], [-1, 5], [(1, [])]),
        ([K], [], None),
    ],
)
def test_laid(sizes, capacities, expected):
    assert laid(sizes, capacities) == expected


def test_beside_is_on_every_medium():
    assert laid([K] * 4, [3 * K, 3 * K], beside=K) == [(0, [1, 2]), (1, [3, 4])]
    assert laid([K] * 4, [3 * K, 3 * K], beside=K + 1) is None
    assert laid([], [K], beside=K + 1) is None


def test_endless():
    """After the last come as many like it as it takes; one that takes nothing is no way to go on."""
    assert laid([K] * 5, [3 * K, K], endless=True) == [(0, [1, 2, 3]), (1, [4]), (2, [5])]
    assert laid([K] * 5, [K, 0], endless=True) is None
    assert laid([2 * K] * 2, [0, 0, 2 * K], endless=True) == [(2, [1]), (3, [2])]
    assert laid([], [K], endless=True) == [(0, [])]


SIZES = st.lists(st.integers(1, 5 * K), max_size=40)


@given(SIZES, st.lists(st.integers(-K, 20 * K), min_size=1, max_size=8), st.integers(0, 2 * K), st.booleans())
def test_each_part_once_and_no_medium_too_full(sizes, capacities, beside, endless):
    spans = span_media(sizes, capacities, beside=beside, endless=endless)
    if spans is None:
        largest = max((-(-size // K) * K for size in sizes), default=0)
        rooms = [capacity - beside for capacity in capacities]
        if endless:
            assert rooms[-1] < largest or not sizes  # else it would go on
        else:
            assert sum(-(-size // K) * K for size in sizes) > sum(max(0, room - largest) for room in rooms) or not sizes  # it wastes no more
        assert sizes or max(rooms) < 0
        return
    assert [number for span in spans for number in span.numbers] == list(range(1, len(sizes) + 1))
    assert len(spans) >= 1
    slots = [span.slot for span in spans]
    assert slots == sorted(set(slots))
    for span in spans:
        room = capacities[min(span.slot, len(capacities) - 1)] - beside
        assert sum(-(-sizes[number - 1] // K) * K for number in span.numbers) <= room
        assert span.size == sum(sizes[number - 1] for number in span.numbers)
        assert span.numbers or not sizes


@given(SIZES.filter(bool), st.integers(5 * K, 20 * K))
def test_endless_always_ends_well(sizes, capacity):
    assert span_media(sizes, [capacity], beside=0, endless=True) is not None
