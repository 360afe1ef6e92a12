"""The transfer sheet of a medium: what travels beside it on paper, as text of 80 ASCII columns.

It travels in clear: no names of models, no people.  Whoever carries the medium fills in the custody lines by hand.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from registry.content.digest import Digest, hex_of

__all__ = [
    "COMMANDS",
    "CUSTODY_LINES",
    "NOT_READ_BACK",
    "OUT_OF_BAND",
    "Sheet",
    "checking",
    "facts",
    "finding",
    "fingerprint_lines",
    "render_text",
    "render_texts",
]

WIDTH = 80
CUSTODY_LINES = 6

NOT_READ_BACK = "NOT READ BACK: nobody has seen yet that this medium holds what was written"
OUT_OF_BAND = (
    "Compare this fingerprint by phone with the people who run the station, before the site trusts it. "
    "Never take it from this sheet or from the medium: whoever swaps one swaps both."
)
_FOUND = "Please do not plug it in. Hand it, with this sheet, to the IT or information security department of the organisation you found it in. "
_SEALED = "Its content can't be read without a key; it holds no program."
_PLAIN = "airlock left its content UNSEALED, for a medium that is encrypted as a whole; it holds no program."
COMMANDS = ("sha256sum -c SHA256SUMS", "certutil -hashfile FILE SHA256")
_CHECKING = (
    f"Run {COMMANDS[0]} in the folder airlock/SET on the medium; on Windows compare what {COMMANDS[1]} prints with that file's line in SHA256SUMS. "
)
_SUMS_ITSELF = "SHA256SUMS itself must have the digest printed above. "
_NO_SUMS = "Not possible: this medium was not read back, so it has no SHA256SUMS. "
_WHAT_IT_FINDS = "This finds damage; the site checks the signatures."


@dataclass(frozen=True, slots=True)
class Sheet:
    """What a transfer sheet says.  A repair, which is none of its set's media, is medium 0.

    ``made`` is a time as the log spells it; ``publisher``, ``fingerprint`` (64 hex digits each) and ``sites`` are whole ids; ``first`` and ``last``
    are part numbers, 0 and 0 where the medium carries no part; ``size`` is in bytes, as on the medium; ``sums`` is the digest of this medium's
    SHA256SUMS; ``sealed`` is False for a plain set.
    """

    set_id: str
    medium: int
    media: int
    label: str
    serial: str
    made: str
    publisher: str
    fingerprint: str
    sites: tuple[str, ...]
    first: int
    last: int
    size: int
    read_back: bool
    sums: Digest | None = None
    sealed: bool = True

    @property
    def place(self) -> str:
        """Which of the set's media it is, such as ``medium 2 of 3``."""
        return f"medium {self.medium} of {self.media}" if self.medium else "repair"


def facts(sheet: Sheet) -> list[tuple[str, str]]:
    """Return what is known of a medium, as pairs of a word and its value; an empty value is filled in by hand."""
    none = "none was noted" if sheet.read_back else "none: the medium was not read back"
    parts = (
        f"{'' if sheet.medium else 'some from '}{sheet.first} to {sheet.last}, {sheet.size:,} bytes"
        if sheet.last
        else "none on this medium, only what describes the set"
    )
    return [
        ("set", sheet.set_id),
        ("label", sheet.label),
        ("serial", sheet.serial),
        ("made", sheet.made),
        ("publisher", sheet.publisher[:8]),
        ("sealed to" if sheet.sealed else "NOT SEALED", f"{'' if sheet.sealed else 'for '}site {', '.join(site[:8] for site in sheet.sites)}"),
        ("parts", parts),
        ("read back", "yes, every part was opened again after writing" if sheet.read_back else NOT_READ_BACK),
        ("SHA256SUMS", hex_of(sheet.sums) if sheet.sums else none),
    ]


def checking(sheet: Sheet) -> str:
    """Return how whoever carries the medium checks it without a key."""
    if not sheet.sums and not sheet.read_back:
        return _NO_SUMS + "The site checks every part when it imports it."
    return _CHECKING + (_SUMS_ITSELF if sheet.sums else "") + _WHAT_IT_FINDS


def finding(sheet: Sheet) -> str:
    """Return what whoever finds the medium should do and know."""
    return _FOUND + (_SEALED if sheet.sealed else _PLAIN)


def fingerprint_lines(sheet: Sheet) -> list[str]:
    """Return the fingerprint in groups of four, as it is read out on the phone, eight groups a line."""
    groups = textwrap.wrap(sheet.fingerprint, 4)
    return [" ".join(groups[start : start + 8]) for start in range(0, len(groups), 8)]


def render_text(sheet: Sheet) -> str:
    """Return the sheet for a printer without pictures: it fits a page of 66 lines, unless the set is for dozens of sites."""
    title = "AIRLOCK TRANSFER SHEET"
    rule = "=" * WIDTH
    known = [line for word, value in facts(sheet) for line in _fact(word, value or "_" * 40)]
    custody = _columns("date", "handed over by", "received by", "signature")
    blank = _columns("_" * 10, "_" * 21, "_" * 21, "_" * 20)
    lines = [
        f"{title}{sheet.place.upper():>{WIDTH - len(title)}}",
        rule,
        *known,
        "",
        "FINGERPRINT OF THE PUBLISHER",
        *(f"    {line}" for line in fingerprint_lines(sheet)),
        *textwrap.wrap(OUT_OF_BAND, WIDTH),
        rule,
        "CUSTODY",
        custody,
        *(line for _ in range(CUSTODY_LINES) for line in ("", "", blank)),
        rule,
        "CHECK IT WITHOUT A KEY",
        *textwrap.wrap(checking(sheet), WIDTH, break_on_hyphens=False),
        "",
        "FOUND IT?",
        *textwrap.wrap(finding(sheet), WIDTH),
    ]
    return "\n".join(lines) + "\n"


def render_texts(sheets: Sequence[Sheet]) -> str:
    """Return several sheets, each on a page of its own."""
    return "\f".join(map(render_text, sheets))


def _fact(word: str, value: str) -> list[str]:
    return textwrap.wrap(value, WIDTH, initial_indent=f"{word:<12}", subsequent_indent=" " * 12)


def _columns(*cells: str) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, (10, 21, 21, 20), strict=True)).rstrip()
