"""JSON as Go's ``encoding/json`` writes it.

Ollama writes configs and parameters with ``json.NewEncoder(…).Encode``: compact, a newline at the end, ``<``, ``>`` and ``&`` escaped, numbers
in the shortest form that reads back equal, in exponent form below 1e-6 and from 1e21 on (Go, ``encoding/json/encode.go``, ``floatEncoder``).
The same bytes are needed here for the same digests.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal

__all__ = ["GoValue", "encode"]

GoValue = str | bool | float | Sequence["GoValue"] | Mapping[str, "GoValue"]
"""What Ollama's small files are made of; a Go ``map`` is a mapping whose keys are sorted already."""

_ESCAPES = {character: f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def encode(value: GoValue) -> bytes:
    """Return ``value`` as Go's encoder writes it, with the newline at the end; members stay in the order given.

    Raises:
        ValueError: a number that is not finite; Go refuses it too.
    """
    return (_text(value) + "\n").encode("utf-8")


def _text(value: GoValue) -> str:
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_string(key)}:{_text(member)}" for key, member in value.items()) + "}"
    if isinstance(value, Sequence):
        return "[" + ",".join(map(_text, value)) + "]"
    return _number(float(value))


def _string(value: str) -> str:
    return "".join(_ESCAPES.get(character, character) for character in json.dumps(value, ensure_ascii=False))


def _number(value: float) -> str:
    if value - value != 0:
        raise ValueError(f"{value} has no place in JSON")
    digits = repr(value)  # the shortest digits that read back equal, as Go's
    if value == 0 or 1e-6 <= abs(value) < 1e21:
        return format(Decimal(digits), "f").removesuffix(".0")
    mantissa, _, exponent = digits.partition("e")
    return f"{mantissa}e{exponent[0]}{exponent[1:].lstrip('0')}"
