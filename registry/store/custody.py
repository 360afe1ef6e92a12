"""Media in a home's projection: what was written, read, handed over, retired; shared by the station's tables and the site's.

A medium is one stick's or disk's share of one set: set id, number, label.  What changes hands carries one label on its outside, so hand-overs and
retirement concern every share of a set under that label.  The log names no people: a hand-over carries the digest of a note, see
``registry.workflow.custody_notes``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from registry.content.digest import Digest, parse_digest
from registry.errors import PolicyRefused
from registry.media.labels import parse_medium_label, parse_serial
from registry.store.log import Event
from registry.store.people import Effect

__all__ = [
    "CUSTODY_SCHEMA",
    "CUSTODY_TABLES",
    "METHODS",
    "RECEIPTS_SCHEMA",
    "RECEIPTS_TABLES",
    "SITE_CUSTODY_VERBS",
    "STATION_CUSTODY_VERBS",
    "AcceptedReceipt",
    "HandOver",
    "Medium",
    "media_in",
    "receipts_in",
]

METHODS: Mapping[str, str] = {
    "erase": "overwritten or securely erased",
    "crypto-erase": "the key that it is encrypted with was destroyed",
    "destroy": "shredded",
    "reuse": "goes round again",
    "archive": "kept, write-protected",
}
"""How a medium is retired, and what that means."""

CUSTODY_SCHEMA = """
CREATE TABLE media (
  set_id TEXT NOT NULL, medium INTEGER NOT NULL, media INTEGER NOT NULL, label TEXT NOT NULL, seq INTEGER NOT NULL,
  first INTEGER NOT NULL, last INTEGER NOT NULL, size INTEGER NOT NULL, read_back INTEGER, sums TEXT NOT NULL,
  written TEXT, read TEXT, retired TEXT, method TEXT NOT NULL, PRIMARY KEY (set_id, medium, label)
);
CREATE TABLE hand_overs (
  seq INTEGER PRIMARY KEY, set_id TEXT NOT NULL, label TEXT NOT NULL, serial TEXT NOT NULL, note TEXT NOT NULL, time TEXT NOT NULL
);
"""
CUSTODY_TABLES = ("media", "hand_overs")

RECEIPTS_SCHEMA = """
CREATE TABLE receipts (
  site TEXT PRIMARY KEY, sequence INTEGER NOT NULL, checkpoint TEXT NOT NULL, made TEXT NOT NULL, sets TEXT NOT NULL, receipt TEXT NOT NULL,
  accepted TEXT NOT NULL
);
"""
RECEIPTS_TABLES = ("receipts",)


@dataclass(frozen=True, slots=True)
class HandOver:
    """A medium came in or changed hands: event ``seq``, when, the device's serial number or "", the digest of the note on it or ""."""

    seq: int
    time: str
    serial: str
    note: str


@dataclass(frozen=True, slots=True)
class Medium:
    """One medium.

    ``set_id`` is empty, ``number`` and ``media`` are 0 for one that came in and was not read yet; with a ``set_id`` they are 0 for a repair.
    ``written``, ``read`` and ``retired`` are times; ``seq`` is the event that last said what is on it.  Only the station that wrote it knows
    ``first`` and ``last``, the parts on it (0 and 0: none), ``size``, their sealed bytes, ``read_back``, whether they were read again after writing,
    and ``sums``, the digest of its SHA256SUMS.
    """

    set_id: str
    number: int
    media: int
    label: str
    seq: int
    first: int
    last: int
    size: int
    read_back: bool | None
    sums: str
    written: str | None
    read: str | None
    retired: str | None
    method: str
    hand_overs: tuple[HandOver, ...]

    @property
    def serial(self) -> str:
        """The serial number that was noted last, or an empty text."""
        return next((each.serial for each in reversed(self.hand_overs) if each.serial), "")

    @property
    def place(self) -> str:
        """Which of its set's media it is, such as ``2 of 3``; a repair is none of them."""
        return f"{self.number} of {self.media}" if self.number else "repair"

    @property
    def state(self) -> str:
        """``written``, ``handed over``, ``read`` or ``retired``; one that was written anew is ``written`` again."""
        if self.retired:
            return "retired"
        if self.read:
            return "read"
        return "handed over" if any(each.seq > self.seq for each in self.hand_overs) or not self.written else "written"


@dataclass(frozen=True, slots=True)
class AcceptedReceipt:
    """The newest receipt of a site: its log's length and head then, when it was made, the sets complete there, the receipt's own digest."""

    site: str
    sequence: int
    checkpoint: Digest
    made: str
    sets: tuple[str, ...]
    receipt: Digest
    accepted: str


def media_in(database: Database) -> list[Medium]:
    """Return every medium, the newest set first, with its hand-overs, oldest first."""
    passed: dict[tuple[str, str], list[HandOver]] = {}
    for row in database.query("SELECT * FROM hand_overs ORDER BY seq"):
        each = HandOver(row["seq"], row["time"], row["serial"], row["note"])
        passed.setdefault((row["set_id"], row["label"]), []).append(each)
    rows = database.query("SELECT * FROM media ORDER BY set_id DESC, medium, label")
    return [_medium(row, tuple(passed.get((row["set_id"], row["label"]), ()))) for row in rows]


def receipts_in(database: Database) -> list[AcceptedReceipt]:
    """Return the newest receipt of every site that sent one, by site id."""
    return [
        AcceptedReceipt(
            site=row["site"],
            sequence=row["sequence"],
            checkpoint=Digest(row["checkpoint"]),
            made=row["made"],
            sets=tuple(json.loads(row["sets"])),
            receipt=Digest(row["receipt"]),
            accepted=row["accepted"],
        )
        for row in database.query("SELECT * FROM receipts ORDER BY site")
    ]


def _medium(row: Mapping[str, Any], hand_overs: tuple[HandOver, ...]) -> Medium:
    columns = {
        name: row[name] for name in ("set_id", "media", "label", "seq", "first", "last", "size", "sums", "written", "read", "retired", "method")
    }
    read_back = None if row["read_back"] is None else bool(row["read_back"])
    return Medium(number=row["medium"], read_back=read_back, hand_overs=hand_overs, **columns)


def _row(event: Event, subject: Mapping[str, Any]) -> dict[str, Any]:
    nothing_yet = {"first": 0, "last": 0, "size": 0, "read_back": None, "sums": "", "written": None, "read": None, "retired": None, "method": ""}
    named = {"set_id": subject["set"], "label": parse_medium_label(subject["label"], what="medium"), "seq": event.seq}
    return {**nothing_yet, **named, "medium": subject["medium"], "media": subject["media"]}


def _medium_write(database: Database, event: Event, subject: dict[str, Any]) -> None:
    known = {name: subject[name] for name in ("first", "last", "size")}
    sums = parse_digest(subject["sums"], what="medium") if subject.get("sums") else ""
    row = {**_row(event, subject), **known, "read_back": int(subject["read_back"]), "sums": sums, "written": event.time}
    database.table("media").insert(row, replace=True)  # written anew: whatever was said of this medium, it is in use again


def _set_repair(database: Database, event: Event, subject: dict[str, Any]) -> None:
    sums = parse_digest(subject["sums"], what="medium") if subject.get("sums") else ""
    if not subject["medium"]:
        _medium_write(database, event, {**subject, "media": 0})
        return
    # Parts of one of the set's own media were written again in place; the other parts on it are as they were.
    database.execute(
        "UPDATE media SET seq = ?, read_back = MIN(COALESCE(read_back, 0), ?), sums = ?, written = ?, retired = NULL, method = '' "
        "WHERE set_id = ? AND medium = ? AND label = ?",
        (event.seq, int(subject["read_back"]), sums, event.time, subject["set"], subject["medium"], subject["label"]),
    )


def _medium_read(database: Database, event: Event, subject: dict[str, Any]) -> None:
    row = {**_row(event, subject), "read": event.time}
    database.table("media").insert(row, ignore=True)
    # What came in under this label before anybody knew what was on it, was this.
    where = "set_id = '' AND label = ? COLLATE NOCASE"
    if database.execute(f"SELECT 1 FROM media WHERE {where} AND retired IS NULL", (row["label"],)).fetchone():  # noqa: S608 - a constant
        database.execute(f"DELETE FROM media WHERE {where}", (row["label"],))  # noqa: S608
        database.execute(f"UPDATE hand_overs SET set_id = ?, label = ? WHERE {where}", (row["set_id"], row["label"], row["label"]))  # noqa: S608


def _medium_receive(database: Database, event: Event, subject: dict[str, Any]) -> None:
    label = parse_medium_label(subject["label"], what="medium")
    note = parse_digest(subject["note"], what="hand-over") if subject["note"] else ""
    if not subject["set"]:
        retired = database.execute("SELECT 1 FROM media WHERE set_id = '' AND label = ? AND retired IS NOT NULL", (label,)).fetchone()
        row = _row(event, {**subject, "medium": 0, "media": 0})
        database.table("media").insert(row, replace=retired is not None, ignore=retired is None)
    serial = parse_serial(subject["serial"], what=f"medium {label}")
    database.table("hand_overs").insert(
        {"seq": event.seq, "set_id": subject["set"], "label": label, "serial": serial, "note": note, "time": event.time}
    )


def _medium_retire(database: Database, event: Event, subject: dict[str, Any]) -> None:
    if subject["method"] not in METHODS:
        raise PolicyRefused(f"medium {subject['label']}: there is no method {str(subject['method'])[:80]!r}", why=f"they are {', '.join(METHODS)}")
    database.execute(
        "UPDATE media SET retired = ?, method = ? WHERE set_id = ? AND label = ?",
        (event.time, subject["method"], subject["set"], subject["label"]),
    )


def _receipt_accept(database: Database, event: Event, subject: dict[str, Any]) -> None:
    row = {name: subject[name] for name in ("site", "sequence", "checkpoint", "made", "receipt")}
    newest = database.execute("SELECT MAX(sequence) FROM receipts WHERE site = ?", (subject["site"],)).fetchone()[0]
    if newest is None or newest <= subject["sequence"]:
        database.table("receipts").insert({**row, "sets": json.dumps(subject["sets"]), "accepted": event.time}, replace=True)


_VERBS: Mapping[str, Effect] = {"medium.receive": _medium_receive, "medium.retire": _medium_retire}

STATION_CUSTODY_VERBS: Mapping[str, Effect] = {
    "medium.write": _medium_write,
    "set.repair": _set_repair,
    **_VERBS,
    "receipt.accept": _receipt_accept,
}
"""The verbs by which a station says where its media are."""

SITE_CUSTODY_VERBS: Mapping[str, Effect] = {"medium.read": _medium_read, **_VERBS}
"""The verbs by which a site does."""
