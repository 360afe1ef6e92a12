"""Parity: the formula of docs/reference/format.md in plain Python, what it brings back, and how parts are grouped."""

import random
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.media.parity import MAX_SHARES, STRIPE_BYTES, Coder, Group, group_parts


def times(a, b):
    """The product in GF(2⁸) modulo 0x11d, by shifting and adding."""
    product = 0
    while b:
        product ^= a if b & 1 else 0
        a, b = a << 1, b >> 1
        a ^= 0x11D if a & 0x100 else 0
    return product


INVERSE = {a: next(b for b in range(1, 256) if times(a, b) == 1) for a in range(1, 256)}
TABLE = {a: bytes(times(a, b) for b in range(256)) for a in range(256)}


def parity_of(parts, r):
    """Parity part ``r`` over ``parts``, byte by byte as the format says it."""
    k = len(parts)
    total = 0
    for j, data in enumerate(parts):
        total ^= int.from_bytes(data.translate(TABLE[INVERSE[(k + r) ^ j]]), "big")
    return total.to_bytes(len(parts[0]), "big")


def group(k, m):
    return Group(tuple(range(1, k + 1)), tuple(range(k + 1, k + m + 1)))


def stripes(k, seed):
    chance = random.Random(seed)
    return [chance.randbytes(STRIPE_BYTES) for _ in range(k)]


def test_field():
    """The field, by what is known of it: 2 generates it, and AES's polynomial is another one."""
    powers, each = set(), 1
    for _ in range(255):
        powers.add(each)
        each = times(each, 2)
    assert len(powers) == 255
    assert times(0x80, 2) == 0x1D


@pytest.mark.parametrize(("k", "m"), [(1, 1), (1, 31), (2, 1), (3, 2), (5, 5), (16, 16), (31, 1), (30, 2)])
def test_formula(k, m):
    parts = stripes(k, f"{k} {m}")
    coded = Coder(group(k, m)).parity(b"".join(parts))
    assert [bytes(each) for each in coded] == [parity_of(parts, r) for r in range(m)]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 20), st.integers(1, 12), st.randoms(use_true_random=False))
def test_any_loss_comes_back(k, m, chance):
    """Whichever parts and parity parts are left: as many as there are parts bring back all parts."""
    parts = stripes(k, f"{k} {m}")
    shares = [*parts, *(parity_of(parts, r) for r in range(m))]
    left = sorted(chance.sample(range(k + m), k))
    lost = [number for number in range(k) if number not in left]
    rebuilt = Coder(group(k, m)).rebuild({number: shares[number] for number in left}, lost)
    assert [bytes(each) for each in rebuilt] == [parts[number] for number in lost]


def test_every_loss_of_a_small_group():
    parts = stripes(3, "small")
    shares = [*parts, *(parity_of(parts, r) for r in range(2))]
    coder = Coder(group(3, 2))
    for left in ([0, 1, 3], [0, 1, 4], [0, 2, 3], [0, 2, 4], [1, 2, 3], [1, 2, 4], [0, 3, 4], [1, 3, 4], [2, 3, 4]):
        lost = [number for number in range(3) if number not in left]
        assert [bytes(each) for each in coder.rebuild({number: shares[number] for number in left}, lost)] == [parts[number] for number in lost]


SHARES = st.sampled_from([Fraction(1, 100), Fraction(1, 20), Fraction(1, 8), Fraction(1, 3), Fraction(1, 2), Fraction(1)])


@given(st.integers(1, 3_000), SHARES)
def test_groups(parts, share):
    groups = group_parts(parts, share)
    data = [number for each in groups for number in each.data]
    parity = [number for each in groups for number in each.parity]
    assert sorted(data) == list(range(1, parts + 1)), "each part once"
    assert sorted(parity) == list(range(parts + 1, parts + len(parity) + 1)), "each parity part once, after the parts"
    wanted = -(-parts * share.numerator // share.denominator)
    assert len(parity) == max(wanted, len(groups)), "the share that was asked for, or one for each group"
    place = {number: index for index, each in enumerate(groups) for number in (*each.data, *each.parity)}
    for each in groups:
        assert each.data
        assert each.parity
        assert len(each.data) + len(each.parity) <= MAX_SHARES
        assert list(each.data) == sorted(each.data)
        assert list(each.parity) == sorted(each.parity)
    sizes = [len(each.data) for each in groups]
    assert max(sizes) - min(sizes) <= 1
    if len(groups) > 1:
        assert all(place[number] != place[number + 1] for number in range(1, parts)), "neighbours are in different groups"
    assert len({place[number] for number in range(1, min(parts, len(groups)) + 1)}) == len(groups)


def test_no_groups():
    assert group_parts(0, Fraction(1, 2)) == ()
    assert group_parts(100, Fraction(0)) == ()


def test_known_groups():
    assert group_parts(1, Fraction(1, 100)) == (Group((1,), (2,)),)
    assert group_parts(6, Fraction(1, 2)) == (Group((1, 2, 3, 4, 5, 6), (7, 8, 9)),)
    assert [len(each.data) for each in group_parts(62, Fraction(1, 100))] == [31, 31]
    assert group_parts(32, Fraction(1, 32)) == (Group(tuple(range(1, 32, 2)), (33,)), Group(tuple(range(2, 33, 2)), (34,)))
