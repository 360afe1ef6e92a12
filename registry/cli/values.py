"""Kinds of values that options take."""

from __future__ import annotations

import re
from fractions import Fraction

import click

__all__ = ["Share", "Size", "Sizes", "Threshold"]

_SIZE = re.compile(r"([0-9]{1,18})\s*(?:([kKMGT])(i?))?B?\Z")
_SHARE = re.compile(r"([0-9]{1,3})(\.[0-9]{1,2})?%\Z")


class Size(click.ParamType[int]):
    """A size such as ``1G`` (decimal) or ``1GiB`` (binary), in bytes."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number of bytes."""
        if isinstance(value, int):
            return value
        match = _SIZE.match(str(value))
        if not match:
            self.fail(f"{value!r} is not a size; write 500M, 1G or 1GiB", param, ctx)
        power = " kMGT".index((match[2] or " ").replace("K", "k"))
        return int(match[1]) * int((1024 if match[3] else 1000) ** power)


class Sizes(click.ParamType[tuple[int, ...]]):
    """Sizes separated by commas, such as ``32G,32G,64G``, in bytes."""

    name = "sizes"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Return the numbers of bytes."""
        if isinstance(value, tuple):
            return value
        return tuple(Size().convert(each.strip(), param, ctx) for each in str(value).split(","))


class Share(click.ParamType[Fraction]):
    """A share such as ``5%``, above 0 and up to 100 per cent."""

    name = "share"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Fraction:
        """Return the share as a fraction of 1."""
        if isinstance(value, Fraction):
            return value
        match = _SHARE.match(str(value))
        share = Fraction(f"{match[1]}{match[2] or ''}") / 100 if match else Fraction(0)
        if not 0 < share <= 1:
            self.fail(f"{value!r} is not a share; write 5% or 12.5%, up to 100%", param, ctx)
        return share


class Threshold(click.ParamType[tuple[str, int]]):
    """``ROLE=N``, such as ``root=2``."""

    name = "threshold"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        """Return the role and the number of keys that must sign."""
        role, _, number = str(value).partition("=")
        if role not in ("root", "release", "station") or not number.isdigit() or not 1 <= int(number) <= 20:
            self.fail(f"{value!r} is not ROLE=N with root or release and 1 to 20", param, ctx)
        return role, int(number)
