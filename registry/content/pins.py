"""Pins: references fixed to digests by a person, in a file people read and diff (``pins.toml``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AoT

from registry.content.digest import Digest, parse_digest
from registry.content.reference import Reference, parse_reference
from registry.errors import FormatRefused

__all__ = ["MAX_PINS_BYTES", "Pin", "parse_pins", "with_pin"]

MAX_PINS_BYTES = 16 << 20
_INTRODUCTION = """\
# What this station publishes: each name fixed to one manifest.
# "airlock pin" writes this file; read it, diff it, keep it under version control.
"""
_MEMBERS = {"name", "manifest", "source", "pinned", "newline_dropped"}
_UPSTREAM = {"upstream_oms", "upstream_key"}
"""Both or neither."""


@dataclass(frozen=True, slots=True)
class Pin:
    """A reference fixed to a manifest.

    ``source`` says where the blobs lie (``file:…`` or ``ollama-store:…``); ``pinned`` when, aware, UTC; ``newline_dropped`` that the source's
    manifest ended in one newline, which its canonical bytes don't have.  ``upstream_oms`` is the OMS bundle of whoever made the model, which was
    verified with ``upstream_key`` (base64 of a SubjectPublicKeyInfo); None and empty without one.
    """

    reference: Reference
    manifest: Digest
    source: str
    pinned: datetime
    newline_dropped: bool = False
    upstream_oms: Digest | None = None
    upstream_key: str = ""


def parse_pins(text: str, *, what: str) -> dict[Reference, Pin]:
    """Return every pin in ``text``, by name; an empty text has none.

    Raises:
        FormatRefused: not TOML, another version, unknown or missing members, a name twice.
    """
    if not text:
        return {}
    try:
        document = tomlkit.parse(text).unwrap()
    except TOMLKitError as error:
        raise FormatRefused(f"{what}: not readable as TOML", why=str(error), hint="mend the line, or restore the file from version control") from None
    if document.get("v") != 1 or set(document) - {"v", "pin"} or not isinstance(document.get("pin", []), list):
        raise FormatRefused(f"{what}: not a file of pins of this version", why="expected v = 1 and [[pin]] tables")
    pins: dict[Reference, Pin] = {}
    for entry in document.get("pin", []):
        pin = _pin(entry, what)
        if pin.reference in pins:
            raise FormatRefused(f"{what}: {pin.reference} is pinned twice", hint="remove one of the two [[pin]] tables")
        pins[pin.reference] = pin
    return pins


def with_pin(text: str, pin: Pin) -> str:
    """Return the text of the file with ``pin`` added or replaced; comments and order stay as people left them."""
    document = tomlkit.parse(text or f"{_INTRODUCTION}v = 1\n")
    entries = document.setdefault("pin", tomlkit.aot())
    assert isinstance(entries, AoT)
    for entry in entries:
        if entry.get("name") == str(pin.reference):
            for member in _UPSTREAM & set(entry):
                del entry[member]
            entry.update(_members(pin))
            break
    else:
        entries.append(tomlkit.item(_members(pin)))
    return tomlkit.dumps(document)


def _members(pin: Pin) -> dict[str, object]:
    members: dict[str, object] = {
        "name": str(pin.reference),
        "manifest": pin.manifest,
        "source": pin.source,
        "pinned": pin.pinned.replace(microsecond=0),
        "newline_dropped": pin.newline_dropped,
    }
    return members if pin.upstream_oms is None else members | {"upstream_oms": pin.upstream_oms, "upstream_key": pin.upstream_key}


def _pin(entry: object, what: str) -> Pin:
    if not isinstance(entry, Mapping) or set(entry) not in (_MEMBERS, _MEMBERS | _UPSTREAM):
        raise FormatRefused(f"{what}: a [[pin]] has other members", why=f"expected {', '.join(sorted(_MEMBERS))}")
    name, source, pinned, dropped = entry["name"], entry["source"], entry["pinned"], entry["newline_dropped"]
    bundle, key = entry.get("upstream_oms"), entry.get("upstream_key", "")
    texts = isinstance(name, str) and isinstance(source, str) and isinstance(key, str)
    if not texts or not isinstance(pinned, datetime) or not isinstance(dropped, bool):
        raise FormatRefused(f"{what}: a [[pin]] has a member of another type", why=f"see the pin of {name!r}")
    moment = pinned if pinned.tzinfo else pinned.replace(tzinfo=UTC)
    upstream = None if bundle is None else parse_digest(bundle, what=what)
    return Pin(parse_reference(name, pinnable=True), parse_digest(entry["manifest"], what=what), source, moment, dropped, upstream, key)
