"""Canonical JSON: one value, one sequence of bytes.

Everything airlock itself writes and signs (index, events, statements, ``set.json``, the published view) is JSON in one form: keys sorted by
code point, no white space, UTF-8 without escapes beyond the mandatory ones, integers only, no duplicate keys, depth at most 16.  It is the
integer subset of RFC 8785 (JCS).  A parser accepts exactly what the writer writes, so that every changed byte is refused.
"""

from __future__ import annotations

import json
from typing import Any

from registry.errors import FormatRefused

__all__ = ["MAX_DEPTH", "MAX_INTEGER", "Json", "dump", "load"]

Json = Any
"""A JSON value: ``None``, ``bool``, ``int``, ``str``, ``list`` or ``dict`` with string keys.  Parse it at the border into a dataclass."""

MAX_DEPTH = 16
MAX_INTEGER = 2**53 - 1
"""The largest integer every JSON reader agrees on (RFC 8259, section 6)."""


def dump(value: Json) -> bytes:
    """Return the canonical bytes of ``value``.

    Raises:
        ValueError: a float, an integer beyond 2^53 − 1, a key that is no string, or nesting deeper than 16: a mistake of ours.
    """
    problem = _problem(value, MAX_DEPTH)
    if problem:
        raise ValueError(problem)
    return _encode(value)


def load(data: bytes, *, what: str, limit: int) -> Json:
    """Return the value whose canonical bytes are ``data``.

    Args:
        data: untrusted bytes.
        what: the thing's name in an error, such as ``set.json``.
        limit: the greatest length accepted, in bytes; checked before parsing.

    Raises:
        FormatRefused: longer than ``limit``, not JSON, or JSON in another form than :func:`dump` writes.
    """
    if len(data) > limit:
        raise FormatRefused(f"{what}: too large", why=f"at most {limit} bytes are allowed, found {len(data)}")
    try:
        value = json.loads(data.decode("utf-8"), parse_float=_no_float, parse_constant=_no_float, parse_int=_bounded)
    except (ValueError, RecursionError) as error:  # CPython's scanner counts its depth, so a billion brackets end here
        raise FormatRefused(f"{what}: not readable as JSON", why=str(error)) from None
    problem = _problem(value, MAX_DEPTH)
    if problem:
        raise FormatRefused(f"{what}: not canonical JSON", why=problem)
    # Re-encoding catches duplicate keys, unsorted keys, white space and needless escapes in one comparison.
    if _encode(value) != data:
        raise FormatRefused(f"{what}: not canonical JSON", why="the same content written canonically gives other bytes")
    return value


def _encode(value: Json) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")).encode("utf-8")
    except UnicodeEncodeError:
        return b""  # a lone surrogate: no bytes are canonical for it, so the comparison in load() refuses it


def _no_float(text: str) -> Json:
    raise ValueError(f"only integers are allowed, found {text[:20]}")


def _bounded(text: str) -> int:
    if len(text) > 17:
        raise ValueError("an integer beyond 2^53")
    return int(text)


def _problem(value: Json, depth: int) -> str:
    if value is None or isinstance(value, bool | str):
        return ""
    if isinstance(value, int):
        return "" if abs(value) <= MAX_INTEGER else "an integer beyond 2^53"
    if isinstance(value, list | dict):
        if depth == 0:
            return f"nested deeper than {MAX_DEPTH}"
        children = value
        if isinstance(value, dict):
            if not all(isinstance(key, str) for key in value):
                return "a key that is no string"
            children = value.values()  # type: ignore[assignment]
        return next((problem for child in children if (problem := _problem(child, depth - 1))), "")
    return f"a {type(value).__name__} has no place in canonical JSON"
