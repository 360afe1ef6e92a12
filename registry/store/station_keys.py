"""The stations that a site answers to, in its projection: to which key of each publisher's station its receipts are sealed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from registry.content.digest import Digest, parse_digest
from registry.store.log import Event
from registry.store.people import Effect

__all__ = ["STATION_KEYS_SCHEMA", "STATION_KEYS_TABLES", "STATION_KEYS_VERBS", "StationKey", "station_keys_in"]

STATION_KEYS_SCHEMA = """
CREATE TABLE station_keys (publisher TEXT PRIMARY KEY, suite TEXT NOT NULL, key TEXT NOT NULL, document TEXT NOT NULL, set_id TEXT NOT NULL);
"""
STATION_KEYS_TABLES = ("station_keys",)


@dataclass(frozen=True, slots=True)
class StationKey:
    """The recipient key of a publisher's station: its suite, its id, the document that holds it, and the set that brought it."""

    publisher: str
    suite: str
    key_id: str
    document: Digest
    set_id: str


def station_keys_in(database: Database) -> dict[str, StationKey]:
    """Return the newest key of each publisher's station, by publisher."""
    rows = database.query("SELECT * FROM station_keys ORDER BY publisher")
    return {row["publisher"]: StationKey(row["publisher"], row["suite"], row["key"], Digest(row["document"]), row["set_id"]) for row in rows}


def _station_key(database: Database, event: Event, subject: dict[str, Any]) -> None:
    del event
    row = {name: subject[name] for name in ("publisher", "suite", "key")}
    row |= {"document": parse_digest(subject["document"], what="station key"), "set_id": subject["set"]}
    database.table("station_keys").insert(row, pk="publisher", replace=True)


def _nothing(database: Database, event: Event, subject: dict[str, Any]) -> None:
    """What was said to publishers is on record and changes nothing here."""


STATION_KEYS_VERBS: Mapping[str, Effect] = {
    "station.key": _station_key,
    "receipt.make": _nothing,
    "adopt.list": _nothing,
}
"""The verbs of a site about its publishers' stations."""
