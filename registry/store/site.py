"""What a site knows, as its log says: publishers, epochs and sets here; people, releases, callers, media and keys in modules of their own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from registry.content.digest import Digest
from registry.content.reference import Reference
from registry.errors import PolicyRefused
from registry.store.callers import CALLERS_SCHEMA, CALLERS_TABLES, CALLERS_VERBS
from registry.store.custody import CUSTODY_SCHEMA, CUSTODY_TABLES, SITE_CUSTODY_VERBS, Medium, media_in
from registry.store.log import Event, Log, Projection
from registry.store.people import (
    ACT_VERBS,
    PEOPLE_EFFECTS,
    PEOPLE_SCHEMA,
    Effect,
    Person,
    Proposal,
    actors,
    enrol_first,
    people_in,
    proposals_in,
    settle,
)
from registry.store.releases import RELEASES_SCHEMA, RELEASES_TABLES, RELEASES_VERBS, CatalogRelease, releases_in
from registry.store.station_keys import STATION_KEYS_SCHEMA, STATION_KEYS_TABLES, STATION_KEYS_VERBS
from registry.trust.refresh import TrustedMetadata

__all__ = ["Epoch", "PublisherRecord", "Site"]

_SCHEMA = """
CREATE TABLE site (id TEXT PRIMARY KEY);
CREATE TABLE epochs (epoch INTEGER PRIMARY KEY, witnessed INTEGER NOT NULL, confirmed INTEGER, ended TEXT);
CREATE TABLE publishers (
  publisher TEXT PRIMARY KEY, namespaces TEXT NOT NULL, roots TEXT NOT NULL,
  timestamp TEXT, snapshot TEXT, targets TEXT, issued TEXT, accepted INTEGER, removed TEXT, replaced_by TEXT
);
CREATE TABLE sets (
  set_id TEXT PRIMARY KEY, publisher TEXT NOT NULL, header TEXT NOT NULL, completed TEXT NOT NULL,
  received INTEGER NOT NULL, milliseconds INTEGER NOT NULL
);
"""
_TABLES = ("people", "proposals", "site", "epochs", "publishers", *RELEASES_TABLES, "sets", *CALLERS_TABLES, *CUSTODY_TABLES, *STATION_KEYS_TABLES)


@dataclass(frozen=True, slots=True)
class PublisherRecord:
    """A publisher: the repository patterns it may use, its metadata's digests, and the newest ``issued`` accepted.

    ``removed`` is when trust in it ended, ``replaced_by`` the publisher that took its place; what it published stays.
    """

    publisher: str
    namespaces: tuple[str, ...]
    roots: tuple[Digest, ...]
    timestamp: Digest | None
    snapshot: Digest | None
    targets: Digest | None
    issued: datetime | None
    removed: str | None = None
    replaced_by: str | None = None

    @property
    def trusted(self) -> bool:
        """Whether sets of this publisher may be imported."""
        return self.removed is None


@dataclass(frozen=True, slots=True)
class Epoch:
    """A stretch of the log after a loss: what was witnessed before it, when two people agreed (event number), when serving went on."""

    epoch: int
    witnessed: int
    confirmed: int | None
    ended: str | None


class Site(Log):
    """The site's database."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        schema = PEOPLE_SCHEMA + _SCHEMA + RELEASES_SCHEMA + CALLERS_SCHEMA + CUSTODY_SCHEMA + STATION_KEYS_SCHEMA
        super().__init__(path, Projection(schema, _TABLES, _apply, actors), create=create)

    def site(self) -> str:
        """Return the id of the site whose log this is; an empty text for a log that was never begun."""
        row = self.db.execute("SELECT id FROM site").fetchone()
        return str(row[0]) if row else ""

    def people(self) -> list[Person]:
        """Return everybody who was ever enrolled."""
        return people_in(self.db)

    def person_of(self, keyid: str) -> Person | None:
        """Return who holds a key and may act now, or None."""
        return next((each for each in self.people() if each.left is None and any(key.keyid == keyid for key in each.keys)), None)

    def proposals(self) -> list[Proposal]:
        """Return every proposal, oldest first."""
        return proposals_in(self.db)

    def epoch(self) -> Epoch | None:
        """Return the epoch that was opened after a loss and in which serving still waits, or None."""
        row = self.db.execute("SELECT epoch, witnessed, confirmed, ended FROM epochs WHERE ended IS NULL ORDER BY epoch DESC LIMIT 1").fetchone()
        return Epoch(*row) if row else None

    def next_epoch(self) -> int:
        """Return the number of the epoch after those that were; the first, which nobody opened, is 1."""
        [(highest,)] = self.db.execute("SELECT COALESCE(MAX(epoch), 1) FROM epochs")
        return int(highest) + 1

    def publishers(self) -> list[PublisherRecord]:
        """Return every publisher that was ever trusted."""
        return [_publisher(row) for row in self.db.query("SELECT * FROM publishers ORDER BY publisher")]

    def publisher(self, publisher: str) -> PublisherRecord | None:
        """Return a publisher that was ever trusted, or None."""
        return next((each for each in self.publishers() if each.publisher == publisher), None)

    def trusted_metadata(self, record: PublisherRecord) -> TrustedMetadata:
        """Return the metadata bytes that are trusted of a publisher."""
        rest = [self.document(digest) if digest else None for digest in (record.timestamp, record.snapshot, record.targets)]
        return TrustedMetadata(tuple(map(self.document, record.roots)), *rest)

    def newest_issued(self) -> datetime | None:
        """Return the newest ``issued`` accepted from any publisher: our clock may never be before it."""
        return max((each.issued for each in self.publishers() if each.issued), default=None)

    def releases(self) -> list[CatalogRelease]:
        """Return every complete release, by name and number."""
        return releases_in(self.db)

    def releases_of(self, reference: Reference) -> list[CatalogRelease]:
        """Return the releases of one reference, oldest number first."""
        return [each for each in self.releases() if each.reference == reference]

    def release_of(self, reference: Reference, number: int) -> CatalogRelease | None:
        """Return the release that this name and number stand for here, whoever published it, or None: ``TAG-rN`` means one content for ever."""
        return next((each for each in self.releases_of(reference) if each.number == number), None)

    def completed_sets(self) -> dict[str, Digest]:
        """Return the sets that were imported whole: set id to header digest."""
        return {row["set_id"]: Digest(row["header"]) for row in self.db.query("SELECT set_id, header FROM sets")}

    def newest_set(self) -> int | None:
        """Return when the newest set was imported whole, in Unix seconds, or None before the first."""
        [(time,)] = self.db.execute("SELECT max(completed) FROM sets").fetchall()
        return int(datetime.strptime(time, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()) if time else None

    def received_lately(self) -> tuple[int, int]:
        """Return how many bytes the imports that completed the newest ten sets read, and in how many milliseconds."""
        rows = self.db.execute("SELECT received, milliseconds FROM sets WHERE received > 0 ORDER BY set_id DESC LIMIT 10").fetchall()
        return sum(received for received, _ in rows), sum(milliseconds for _, milliseconds in rows)

    def media(self) -> list[Medium]:
        """Return every medium that came in or was read, the newest set first."""
        return media_in(self.db)


def _publisher(row: Mapping[str, Any]) -> PublisherRecord:
    return PublisherRecord(
        publisher=row["publisher"],
        namespaces=tuple(json.loads(row["namespaces"])),
        roots=tuple(map(Digest, json.loads(row["roots"]))),
        timestamp=row["timestamp"],
        snapshot=row["snapshot"],
        targets=row["targets"],
        issued=datetime.strptime(row["issued"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC) if row["issued"] else None,
        removed=row["removed"],
        replaced_by=row["replaced_by"],
    )


def _apply(database: Database, event: Event) -> None:
    _VERBS[event.verb](database, event, dict(event.subject))


def _site_init(database: Database, event: Event, subject: dict[str, Any]) -> None:
    database.table("site").insert({"id": subject["site"]})
    enrol_first(database, event, subject["actor"])


def _trust_add(database: Database, event: Event, subject: dict[str, Any]) -> None:
    del event
    known = database.execute("SELECT replaced_by FROM publishers WHERE publisher = ?", (subject["publisher"],)).fetchone()
    if known:
        # Trusted again: what was known of it, above all how new its metadata were, holds.
        database.table("publishers").update(subject["publisher"], {"namespaces": json.dumps(subject["namespaces"]), "removed": None})
        return
    _insert_publisher(database, subject, json.dumps(subject["namespaces"]))


def _insert_publisher(database: Database, subject: dict[str, Any], namespaces: str) -> None:
    row = {"publisher": subject["publisher"], "namespaces": namespaces, "roots": json.dumps(subject["roots"])}
    nothing_yet = dict.fromkeys(("timestamp", "snapshot", "targets", "issued", "accepted", "removed", "replaced_by"))
    database.table("publishers").insert({**row, **nothing_yet})


def _trust_remove(database: Database, event: Event, subject: dict[str, Any]) -> None:
    database.table("publishers").update(subject["publisher"], {"removed": event.time})
    _end_epoch(database, event)


def _trust_replace(database: Database, event: Event, subject: dict[str, Any]) -> None:
    found = database.execute("SELECT namespaces FROM publishers WHERE publisher = ? AND removed IS NULL", (subject["old"],)).fetchone()
    known = database.execute("SELECT 1 FROM publishers WHERE publisher = ?", (subject["publisher"],)).fetchone()
    if found is None or known is not None:
        raise PolicyRefused("this can't be done any more", why="one of the two publishers is not what it was then", hint="airlock trust list")
    [namespaces] = found
    database.table("publishers").update(subject["old"], {"removed": event.time, "replaced_by": subject["publisher"]})
    _insert_publisher(database, subject, namespaces)


def _clock_reset(database: Database, event: Event, subject: dict[str, Any]) -> None:
    del event, subject
    database.execute("UPDATE publishers SET issued = NULL")


def _epoch_open(database: Database, event: Event, subject: dict[str, Any]) -> None:
    del event
    database.table("epochs").insert({"epoch": subject["epoch"], "witnessed": subject["witnessed"]["sequence"], "confirmed": None, "ended": None})


def _restore(database: Database, event: Event, subject: dict[str, Any]) -> None:
    row = {"epoch": subject["epoch"], "witnessed": subject["witnessed"]["sequence"], "confirmed": event.seq, "ended": None}
    database.table("epochs").insert(row, replace=True)


def _end_epoch(database: Database, event: Event) -> None:
    """Serving goes on once every publisher trusted now has brought metadata since two people agreed to the restore."""
    accepted = [row[0] for row in database.execute("SELECT accepted FROM publishers WHERE removed IS NULL")]
    if accepted and None not in accepted:
        database.execute("UPDATE epochs SET ended = ? WHERE ended IS NULL AND confirmed < ?", (event.time, min(accepted)))


def _metadata_accept(database: Database, event: Event, subject: dict[str, Any]) -> None:
    publisher = subject["publisher"]
    [(roots,)] = database.execute("SELECT roots FROM publishers WHERE publisher = ?", (publisher,))
    known = json.loads(roots)
    known += subject["new_roots"]
    changes = {"roots": json.dumps(known), **{name: subject[name] for name in ("timestamp", "snapshot", "targets", "issued")}}
    database.table("publishers").update(publisher, {**changes, "accepted": event.seq})
    _end_epoch(database, event)


def _set_complete(database: Database, event: Event, subject: dict[str, Any]) -> None:
    row = {"set_id": subject["set"], "publisher": subject["publisher"], "header": subject["header"], "completed": event.time}
    row |= {name: subject.get(name, 0) for name in ("received", "milliseconds")}  # events before 0.1.0 ended don't tell
    database.table("sets").insert(row, replace=True)


def _nothing(database: Database, event: Event, subject: dict[str, Any]) -> None:
    """Refusals and new recipient keys are on record and change nothing here."""


def _act_confirm(database: Database, event: Event, subject: dict[str, Any]) -> None:
    del subject
    settle(database, event, _EFFECTS)


_EFFECTS: Mapping[str, Effect] = {
    **PEOPLE_EFFECTS,
    "trust.replace": _trust_replace,
    "clock.reset": _clock_reset,
    "restore": _restore,
}
"""What a confirmed act does, by its name."""

_VERBS: Mapping[str, Effect] = {
    **ACT_VERBS,
    **CALLERS_VERBS,
    **RELEASES_VERBS,
    **SITE_CUSTODY_VERBS,
    **STATION_KEYS_VERBS,
    "act.confirm": _act_confirm,
    "site.init": _site_init,
    "site.rotate": _nothing,
    "epoch.open": _epoch_open,
    "trust.add": _trust_add,
    "trust.remove": _trust_remove,
    "metadata.accept": _metadata_accept,
    "set.complete": _set_complete,
    "set.refuse": _nothing,
    "repair.request": _nothing,
}
