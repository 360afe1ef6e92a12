"""The two notes on a medium that are for people and machines without a key: ``README.txt`` and ``medium.json``.  Nobody trusts them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from registry.content import canonical
from registry.errors import AirlockError
from registry.media.index import MAX_PARTS, Index
from registry.media.labels import default_label, parse_medium_label
from registry.media.planner import Span
from registry.media.seal import Seal
from registry.store.medium import SetFolder

__all__ = ["MediumNote", "medium_json", "read_medium_note", "readme", "repair_json", "repair_readme"]

_LIMIT = 2 << 20


@dataclass(frozen=True, slots=True)
class MediumNote:
    """What ``medium.json`` hints: which medium of how many this is, its label, and the first and last part on each of them.

    A repair, which is none of the set's media, is medium 0 and says nothing of them.
    """

    medium: int
    label: str
    spans: tuple[tuple[int, int], ...]


def medium_json(seal: Seal, medium: int, label: str, spans: Sequence[Span]) -> bytes:
    """Return the hint which medium this is, and which parts it and the others carry."""
    parts = [seal.part_name(number) for number in spans[medium - 1].numbers]
    document = {"v": 1, "set": seal.set_id, "medium": medium, "media": len(spans), "label": label, "parts": parts}
    return canonical.dump(document | {"spans": [[each.first, each.last] for each in spans]})


def repair_json(seal: Seal, label: str, numbers: Sequence[int]) -> bytes:
    """Return the hint that this is a repair, and which parts it carries."""
    document = {"v": 1, "set": seal.set_id, "medium": 0, "media": 0, "label": label, "parts": list(map(seal.part_name, numbers))}
    return canonical.dump(document | {"spans": []})


def read_medium_note(folder: SetFolder) -> MediumNote | None:
    """Return what ``medium.json`` hints, or None where it says nothing that makes sense: it is a hint."""
    try:
        document = canonical.load(folder.read("medium.json", _LIMIT), what="medium.json", limit=_LIMIT)
        spans = tuple((first, last) for first, last in document.get("spans", [[1, len(document["parts"])]]))
        note = MediumNote(document["medium"], parse_medium_label(_label(document, folder), what="medium.json"), spans)
    except (AirlockError, AttributeError, KeyError, TypeError, ValueError):
        return None
    numbers = [note.medium, *(number for span in spans for number in span)]
    if any(type(number) is not int or not 0 <= number <= MAX_PARTS + 1 for number in numbers) or not min(1, len(spans)) <= note.medium <= len(spans):
        return None
    return note if _in_a_row(spans) else None


def _in_a_row(spans: Sequence[tuple[int, int]]) -> bool:
    """Tell whether each medium goes on where the one before it ends, which also bounds how many there can be."""
    begins = [1, *(last + 1 for _, last in spans)]
    return spans in ((), ((1, 0),)) or all(first == begin <= last for begin, (first, last) in zip(begins, spans, strict=False))


def _label(document: dict[str, Any], folder: SetFolder) -> object:
    return document.get("label", default_label(folder.set_id, document["medium"]))


def readme(index: Index, seal: Seal, medium: int, spans: Sequence[Span]) -> bytes:
    """Return the text for whoever finds the medium."""
    return _readme(index, seal, f"{medium} of {len(spans)}", len(spans[medium - 1].numbers))


def repair_readme(index: Index, seal: Seal, numbers: Sequence[int]) -> bytes:
    """Return the text for whoever finds a medium with a repair."""
    return _readme(index, seal, "repair: parts that a site asked for again", len(numbers))


def _readme(index: Index, seal: Seal, place: str, count: int) -> bytes:
    state = "encrypted for the sites that may open them.  Without a site's key nothing in\nit can be read."
    plain = "NOT encrypted: this medium was meant to be encrypted as a whole."
    text = f"""\
This folder is one airlock set: AI model files, signed by their publisher and
{state if seal.key else plain}  It contains no program and starts nothing by itself.

    set        {index.set_id}
    medium     {place}
    made       {index.created}
    parts      {count} of {len(index.numbers)} (folder "parts")
    publisher  {index.publisher}

Found it?  Please hand it to the IT or information security department of the
organisation you found it in.

Carrying it?  Copy the folder as a whole, with its sub-folders.  To check that
it arrived whole, without any key, run inside this folder:

    sha256sum -c SHA256SUMS

Importing it?  On the site registry, with this folder's medium mounted:

    airlock import MEDIUM

The first time, the publisher is trusted by the fingerprint that its people
read out on the phone.  Never take the fingerprint from the medium itself:

    airlock trust add MEDIUM --fingerprint ...

By hand: everything under "metadata" is TUF metadata, JSON that
"jq" shows; 1.root.json names the keys.{_BY_HAND_SEALED if seal.key else _BY_HAND_PLAIN}
"""
    # No fingerprint in here, on purpose: one that comes with the medium proves nothing.
    return text.replace("\n", "\r\n").encode("ascii")


_BY_HAND_SEALED = """  The sealed files are Google Tink
streaming AEAD (AES256_GCM_HKDF_1MB), their key is wrapped in set.json
with HPKE (RFC 9180)."""
_BY_HAND_PLAIN = """  The parts are the models' bytes,
one after another; index.plain says where each begins."""
