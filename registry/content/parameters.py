"""Parameters: the values that a model is run with unless a request says otherwise.

Names and types are ``Options`` in Ollama's ``api/types.go``, their conversion is ``FormatParams`` there (0.9.3).
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import struct
from collections.abc import Mapping, Sequence

from registry.content.text import parse_text
from registry.errors import FormatRefused

__all__ = ["Parameters", "parse_parameters"]

Parameters = Mapping[str, bool | float | Sequence[str]]
"""Parameters by name as Ollama's server sees them: every number has become a float64 on its way through JSON."""

_FLOATS = frozenset({"temperature", "top_p", "min_p", "typical_p", "repeat_penalty", "presence_penalty", "frequency_penalty"})
_INTEGERS = frozenset({"num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread", "num_keep", "seed", "num_predict", "top_k", "repeat_last_n"})
_KNOWN = sorted(_FLOATS | _INTEGERS | {"use_mmap", "stop"})
_DEPRECATED = frozenset("penalize_newline low_vram f16_kv logits_all vocab_only use_mlock mirostat mirostat_tau mirostat_eta".split())  # noqa: SIM905
_TRUTH = {text: text[0] in "1tT" for text in ("1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False")}  # strconv.ParseBool


def parse_parameters(data: bytes, *, what: str) -> Parameters:
    """Return the parameters that a file holds.

    The file has either ``PARAMETER name value`` lines as in a Modelfile (with ``#`` comments and blank lines, each value on its line), or
    one JSON object as in Ollama's parameter layers.  ``stop`` may be repeated, or be a list in JSON; nothing else may.

    Raises:
        FormatRefused: neither of the two, a parameter that Ollama 0.9.3 doesn't know or ignores, one given twice, or a value of the wrong type.
    """
    text = parse_text(data, what=what)
    pairs = _json_pairs(text, what) if text.lstrip().startswith("{") else _modelfile_pairs(text, what)
    parameters: dict[str, bool | float | Sequence[str]] = {}
    stops: list[str] = []
    for name, value in pairs:
        if name == "stop":
            stops.append(value)
            parameters[name] = stops
            continue
        if name in parameters:
            raise FormatRefused(f"{what}: {name} is given twice", why="Ollama would take the last one", hint="keep one of them")
        parameters[name] = _typed(name, value, what)
    if not parameters:
        raise FormatRefused(f"{what}: holds no parameters", hint="leave the file out, or write lines such as: PARAMETER temperature 0.7")
    return parameters


class _Literal(str):
    """A number as it stands in JSON, told apart from a text."""

    __slots__ = ()


def _json_pairs(text: str, what: str) -> list[tuple[str, str]]:
    try:
        members = json.loads(text, object_pairs_hook=list, parse_int=_Literal, parse_float=_Literal, parse_constant=_Literal)
        json.dumps(members, ensure_ascii=False).encode("utf-8")  # half a surrogate pair is a ValueError too
    except (ValueError, RecursionError) as error:
        raise FormatRefused(f"{what}: not readable as JSON", why=str(error)) from None
    pairs: list[tuple[str, str]] = []
    for name, value in members:
        _check_known(name, what)
        if name == "stop" and isinstance(value, list) and value and all(type(item) is str for item in value) and "stop" not in dict(pairs):
            pairs.extend((name, item) for item in value)
        elif (name == "use_mmap" and isinstance(value, bool)) or (name in _FLOATS | _INTEGERS and isinstance(value, _Literal)):
            pairs.append((name, str(value)))
        else:
            expected = {"stop": "one list of texts", "use_mmap": "true or false"}.get(name, "a number")
            raise FormatRefused(f"{what}: {name} has a wrong value", why=f"expected {expected}, found {str(value)[:80]!r}")
    return pairs


def _modelfile_pairs(text: str, what: str) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        stripped = line.strip(" \t")
        if not stripped or stripped.startswith("#"):
            continue
        match = re.match(r"(?i:parameter)[ \t]+([A-Za-z0-9_]+)[ \t]+(.+)\Z", stripped)
        if match is None or not stripped.replace("\t", " ").isprintable():
            raise FormatRefused(
                f"{what}: line {number} is no parameter",
                why=f"expected PARAMETER name value, found {stripped[:80]!r}",
                hint="template, system text and licences have options of their own; JSON can hold texts of several lines",
            )
        _check_known(match[1], what)
        pairs.append((match[1], _unquoted(match[2], f"{what}: line {number}")))
    return pairs


def _unquoted(value: str, what: str) -> str:
    for quote in ('"""', '"'):
        if value.startswith(quote):
            if len(value) < 2 * len(quote) or not value.endswith(quote):
                raise FormatRefused(f"{what}: a quotation is not closed", why=f"found {value[:80]!r}")
            return value[len(quote) : -len(quote)]
    return value


def _check_known(name: str, what: str) -> None:
    if name in _DEPRECATED:
        raise FormatRefused(f"{what}: {name} has no effect any more", why="Ollama ignores it with a warning", hint="leave it out")
    if name not in _KNOWN:
        raise FormatRefused(f"{what}: unknown parameter {name[:80]!r}", why=f"Ollama 0.9.3 knows {', '.join(_KNOWN)}")


def _typed(name: str, text: str, what: str) -> bool | float:
    """Return the value as Ollama's server gets it: the client parses it, the JSON between them turns every number into a float64."""
    if name in _INTEGERS and re.match(r"[+-]?[0-9]{1,19}\Z", text) and -(2**63) <= int(text) < 2**63:
        return float(int(text))
    if name in _FLOATS and re.match(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?\Z", text):
        with contextlib.suppress(OverflowError):
            return _float32(float(text))
    if name == "use_mmap" and text in _TRUTH:
        return _TRUTH[text]
    expected = "a whole number of 64 bits" if name in _INTEGERS else "a 32-bit floating-point number" if name in _FLOATS else "true or false"
    raise FormatRefused(f"{what}: {name} has a wrong value", why=f"expected {expected}, found {text[:80]!r}")


def _float32(value: float) -> float:
    """Return the float64 that the shortest digits of the nearest float32 stand for; an ``OverflowError`` beyond its range."""
    packed = struct.pack("<f", value if math.isfinite(value) else math.ldexp(1, 1000))
    nearest: float = struct.unpack("<f", packed)[0]
    return next(short for digits in range(1, 10) if struct.pack("<f", short := float(f"{nearest:.{digits}g}")) == packed)
