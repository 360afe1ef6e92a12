"""Who handed a medium over, in words: notes that stay in this home and can be deleted, because the log may not name people.

::

    custody.json   {"notes":{"17":{"from":"courier","salt":"…","to":"gate 2"}},"v":1}      17: the event's sequence number

The event carries the SHA-256 of the note and its salt.  So a note that was changed is noticed.  The salt goes with the note: once both are deleted,
nobody can find out from the digest, by trying names, who it was.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from registry.content import canonical
from registry.content.digest import Digest, digest_of
from registry.errors import AirlockError, StoreFailed, Usage
from registry.store.custody import HandOver
from registry.store.files import read_limited, replace_file, storage_errors
from registry.store.home import Home

__all__ = ["CHANGED", "DELETED", "KEPT", "NONE", "Note", "Noted", "delete_notes", "new_note", "noted", "read_notes", "write_note"]

FILE_NAME = "custody.json"
_LIMIT = 16 << 20
_LONGEST = 80

KEPT, CHANGED, DELETED, NONE = "kept", "changed", "deleted", "none"


@dataclass(frozen=True, slots=True)
class Note:
    """Who handed a medium over, who took it: roles or companies, each may be empty; ``salt`` is 32 hex digits."""

    giver: str
    taker: str
    salt: str

    def as_json(self) -> dict[str, str]:
        """Return the note as the file holds it."""
        return {"from": self.giver, "to": self.taker, "salt": self.salt}

    @property
    def digest(self) -> Digest:
        """What the event carries."""
        return digest_of(canonical.dump(self.as_json()))


@dataclass(frozen=True, slots=True)
class Noted:
    """A hand-over with its note, and what became of it: ``kept``, ``changed``, ``deleted``, or ``none`` where none was made."""

    hand_over: HandOver
    note: Note | None
    state: str


def new_note(giver: str, taker: str) -> Note | None:
    """Return a note of who gave and who took, or None where neither is said.

    Raises:
        Usage: not printable, or longer than 80 characters.
    """
    for text in (giver, taker):
        if not text.isprintable() or len(text) > _LONGEST:
            raise Usage(
                f"{text[:_LONGEST]!r}: can't be noted", why=f"expected up to {_LONGEST} printable characters, such as 'courier' or 'ward pharmacy'"
            )
    return Note(giver, taker, secrets.token_hex(16)) if giver or taker else None


def read_notes(home: Home) -> dict[int, Note]:
    """Return every note, by the sequence number of its event.

    Raises:
        StoreFailed: the file is not readable as one of these.
    """
    path = home.root / FILE_NAME
    try:
        with storage_errors(f"the file {path}"):
            if not path.exists():
                return {}
            document = canonical.load(read_limited(path, _LIMIT, what=str(path)), what=str(path), limit=_LIMIT)
        return {int(seq): _note(members) for seq, members in document["notes"].items()}
    except (AirlockError, KeyError, TypeError, ValueError, AttributeError) as problem:
        raise StoreFailed(
            f"{path}: can't be read",
            why=str(problem),
            hint="put it back from a backup, or move it away: the log keeps every hand-over, only the words are lost",
        ) from None


def write_note(home: Home, seq: int, note: Note | None, passed: Collection[int]) -> None:
    """Keep the note of event ``seq``, which is about to be committed; ``passed`` are the hand-overs on record before it.

    A note of any other number was left by a command that was stopped before its event was committed: it goes.
    """
    before = read_notes(home)
    notes = {number: each for number, each in before.items() if number in passed} | ({seq: note} if note else {})
    if notes != before:
        _replace(home, notes)


def delete_notes(home: Home, numbers: Collection[int]) -> int:
    """Delete the notes of these events; return how many there were."""
    notes = read_notes(home)
    left = {number: each for number, each in notes.items() if number not in numbers}
    if left != notes:
        _replace(home, left)
    return len(notes) - len(left)


def noted(hand_over: HandOver, notes: Mapping[int, Note]) -> Noted:
    """Return a hand-over with its note, compared with the digest that the event carries."""
    note = notes.get(hand_over.seq) if hand_over.note else None
    if not hand_over.note:
        return Noted(hand_over, None, NONE)
    if note is None:
        return Noted(hand_over, None, DELETED)
    return Noted(hand_over, note, KEPT if note.digest == hand_over.note else CHANGED)


def _note(members: Any) -> Note:
    giver, taker, salt = (members[name] for name in ("from", "to", "salt"))
    if len(members) != 3 or not all(isinstance(text, str) for text in (giver, taker, salt)):
        raise ValueError("a note has other members than from, salt and to")
    return Note(giver, taker, salt)


def _replace(home: Home, notes: Mapping[int, Note]) -> None:
    document = {"v": 1, "notes": {str(seq): note.as_json() for seq, note in notes.items()}}
    with storage_errors(f"the home {home.root}"):
        replace_file(home.root / FILE_NAME, canonical.dump(document), mode=0o600)
