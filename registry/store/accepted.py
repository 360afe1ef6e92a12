"""The newest receipt of each site, in a station's projection."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from registry.content.digest import Digest
from registry.store.log import Event
from registry.store.people import Effect

__all__ = ["RECEIPTS_SCHEMA", "RECEIPTS_TABLES", "RECEIPTS_VERBS", "AcceptedReceipt", "receipts_in"]

RECEIPTS_SCHEMA = """
CREATE TABLE receipts (
  site TEXT PRIMARY KEY, sequence INTEGER NOT NULL, checkpoint TEXT NOT NULL, made TEXT NOT NULL, sets TEXT NOT NULL, receipt TEXT NOT NULL,
  accepted TEXT NOT NULL
);
"""
RECEIPTS_TABLES = ("receipts",)


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


def receipts_in(database: Database) -> list[AcceptedReceipt]:
    """Return the newest receipt of every site that sent one, by site id."""
    return [
        AcceptedReceipt(
            row["site"],
            row["sequence"],
            Digest(row["checkpoint"]),
            row["made"],
            tuple(json.loads(row["sets"])),
            Digest(row["receipt"]),
            row["accepted"],
        )
        for row in database.query("SELECT * FROM receipts ORDER BY site")
    ]


def _receipt_accept(database: Database, event: Event, subject: dict[str, Any]) -> None:
    row = {name: subject[name] for name in ("site", "sequence", "checkpoint", "made", "receipt")}
    database.table("receipts").insert({**row, "sets": json.dumps(subject["sets"]), "accepted": event.time}, replace=True)


RECEIPTS_VERBS: Mapping[str, Effect] = {"receipt.accept": _receipt_accept}
