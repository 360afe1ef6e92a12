"""Sizes and shares as people write them."""

from fractions import Fraction

import click
import pytest

from registry.cli.values import Share, Sizes


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("32M,64M", (32_000_000, 64_000_000)),
        ("32G, 32G ,64GiB", (32 * 10**9, 32 * 10**9, 64 << 30)),
        ("1T", (10**12,)),
        ("4096", (4096,)),
    ],
)
def test_media(text, sizes):
    """Decimal, as sticks are sold; binary where it is spelled so."""
    assert Sizes().convert(text, None, None) == sizes
    assert Sizes().convert(sizes, None, None) == sizes


@pytest.mark.parametrize("text", ["", ",", "32G,", ",32G", "32G;64G", "32G 64G", "-1G", "1e9", "32 G B", "5i", "5iB", "9" * 5000, "١G"])
def test_not_sizes(text):
    with pytest.raises(click.BadParameter, match="is not a size; write 500M, 1G or 1GiB"):
        Sizes().convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "share"),
    [("5%", Fraction(1, 20)), ("12.5%", Fraction(1, 8)), ("100%", Fraction(1)), ("0.01%", Fraction(1, 10_000)), ("1.25%", Fraction(1, 80))],
)
def test_shares(text, share):
    assert Share().convert(text, None, None) == share
    assert Share().convert(share, None, None) == share


@pytest.mark.parametrize("text", ["", "%", "0%", "0.00%", "101%", "100.01%", "-5%", "5 %", "1/20", ".5%", "5.%", "5,5%", "0.05", "5", "1.234%", "٥%"])
def test_not_shares(text):
    """A bare number is refused: 0.05 may mean five per cent or a twentieth of one."""
    with pytest.raises(click.BadParameter, match=r"is not a share; write 5% or 12\.5%, up to 100%"):
        Share().convert(text, None, None)
