"""What people read on the outside of a medium: its label, the serial number of the device."""

from __future__ import annotations

import re

from registry.errors import FormatRefused

__all__ = ["default_label", "parse_medium_label", "parse_serial"]

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}\Z")
_SERIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+/-]{0,63}\Z")


def default_label(set_id: str, number: int) -> str:
    """Return the label of medium ``number`` of a set that nobody labelled otherwise, such as ``XTY0EW-2``.

    The end of a set id is random, its beginning is the time: two sets of one day differ in the end.
    """
    return f"{set_id[-6:]}-{number}"


def parse_medium_label(text: object, *, what: str) -> str:
    """Return ``text`` as a medium's label: 1 to 32 of ``A-Z``, ``a-z``, ``0-9``, ``.``, ``_``, ``-``, the first a letter or a digit.

    Raises:
        FormatRefused: anything else.
    """
    if isinstance(text, str) and _LABEL.match(text):
        return text
    raise FormatRefused(
        f"{what}: {str(text)[:80]!r} can't be the label of a medium",
        why="expected up to 32 letters, digits, '.', '_' and '-', the first one a letter or a digit",
        hint="for example XTY0EW-2 or STICK-17; never the name of a person: labels enter the log",
    )


def parse_serial(text: object, *, what: str) -> str:
    """Return ``text`` as the serial number that a maker printed on a device; an empty text where nobody read it.

    Raises:
        FormatRefused: anything else.
    """
    if isinstance(text, str) and (not text or _SERIAL.match(text)):
        return text
    raise FormatRefused(
        f"{what}: {str(text)[:80]!r} can't be a serial number",
        why="expected up to 64 letters, digits and any of . _ : + / -",
        hint="copy it from the device, without blanks",
    )
