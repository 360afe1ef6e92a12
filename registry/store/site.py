"""A site's catalog: publishers, releases and their states, as the log says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from securesystemslib.signer import SSlibKey
from sqlite_utils import Database

from registry.content.digest import Digest
from registry.content.reference import Reference
from registry.store.log import Event, Log, Projection
from registry.trust.keys import public_from_json
from registry.trust.refresh import TrustedMetadata

__all__ = ["APPROVED", "PROMOTED", "QUARANTINE", "WITHDRAWN", "CatalogRelease", "PublisherRecord", "Site"]

QUARANTINE, APPROVED, PROMOTED, WITHDRAWN = "quarantine", "approved", "promoted", "withdrawn"

_SCHEMA = """
CREATE TABLE people (key_id TEXT PRIMARY KEY, public TEXT NOT NULL);
CREATE TABLE publishers (
  publisher TEXT PRIMARY KEY, namespaces TEXT NOT NULL, roots TEXT NOT NULL,
  timestamp TEXT, snapshot TEXT, targets TEXT, issued TEXT
);
CREATE TABLE releases (
  publisher TEXT NOT NULL REFERENCES publishers (publisher), repository TEXT NOT NULL, tag TEXT NOT NULL, number INTEGER NOT NULL CHECK (number > 0),
  state TEXT NOT NULL CHECK (state IN ('quarantine', 'approved', 'promoted', 'withdrawn')),
  manifest TEXT NOT NULL, statement TEXT NOT NULL, set_id TEXT NOT NULL, changed TEXT NOT NULL, supersedes INTEGER,
  PRIMARY KEY (publisher, repository, tag, number)
);
CREATE UNIQUE INDEX one_promoted_per_tag ON releases (repository, tag) WHERE state = 'promoted';
CREATE TABLE sets (set_id TEXT PRIMARY KEY, publisher TEXT NOT NULL, header TEXT NOT NULL, completed TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class CatalogRelease:
    """One release that arrived whole, and its state; ``supersedes`` is the number that it replaced when it was promoted."""

    publisher: str
    reference: Reference
    number: int
    state: str
    manifest: Digest
    statement: Digest
    set_id: str
    changed: str
    supersedes: int | None

    @property
    def name(self) -> str:
        """``namespace/model:TAG-rN``."""
        return f"{self.reference}-r{self.number}"

    def subject(self) -> dict[str, Any]:
        """Return what an event says of this release."""
        return {
            "publisher": self.publisher,
            "repository": self.reference.repository,
            "tag": self.reference.tag,
            "number": self.number,
            "manifest": self.manifest,
        }


@dataclass(frozen=True, slots=True)
class PublisherRecord:
    """A trusted publisher: the repository patterns it may use, its metadata's digests, and the newest ``issued`` accepted."""

    publisher: str
    namespaces: tuple[str, ...]
    roots: tuple[Digest, ...]
    timestamp: Digest | None
    snapshot: Digest | None
    targets: Digest | None
    issued: datetime | None


class Site(Log):
    """The site's database."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        super().__init__(path, Projection(_SCHEMA, ("people", "publishers", "releases", "sets"), _apply, _actors), create=create)

    def publishers(self) -> list[PublisherRecord]:
        """Return every trusted publisher."""
        return [_publisher(row) for row in self.db.query("SELECT * FROM publishers ORDER BY publisher")]

    def publisher(self, publisher: str) -> PublisherRecord | None:
        """Return a trusted publisher, or None."""
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
        return [_release(row) for row in self.db.query("SELECT * FROM releases ORDER BY repository, tag, number, publisher")]

    def releases_of(self, reference: Reference) -> list[CatalogRelease]:
        """Return the releases of one reference, oldest number first."""
        return [each for each in self.releases() if each.reference == reference]

    def manifest_of(self, publisher: str, reference: Reference, number: int) -> Digest | None:
        """Return the manifest digest on record for a release, or None."""
        row = self.db.execute(
            "SELECT manifest FROM releases WHERE publisher = ? AND repository = ? AND tag = ? AND number = ?",
            (publisher, reference.repository, reference.tag, number),
        ).fetchone()
        return Digest(row[0]) if row else None

    def completed_sets(self) -> dict[str, Digest]:
        """Return the sets that were imported whole: set id to header digest."""
        return {row["set_id"]: Digest(row["header"]) for row in self.db.query("SELECT set_id, header FROM sets")}


def _publisher(row: Mapping[str, Any]) -> PublisherRecord:
    return PublisherRecord(
        publisher=row["publisher"],
        namespaces=tuple(json.loads(row["namespaces"])),
        roots=tuple(map(Digest, json.loads(row["roots"]))),
        timestamp=row["timestamp"],
        snapshot=row["snapshot"],
        targets=row["targets"],
        issued=datetime.strptime(row["issued"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC) if row["issued"] else None,
    )


def _release(row: Mapping[str, Any]) -> CatalogRelease:
    namespace, _, model = row["repository"].partition("/")
    return CatalogRelease(
        publisher=row["publisher"],
        reference=Reference(namespace, model, row["tag"]),
        number=row["number"],
        state=row["state"],
        manifest=Digest(row["manifest"]),
        statement=Digest(row["statement"]),
        set_id=row["set_id"],
        changed=row["changed"],
        supersedes=row["supersedes"],
    )


def _actors(database: Database) -> dict[str, SSlibKey]:
    rows = database.query("SELECT key_id, public FROM people")
    return {row["key_id"]: public_from_json(json.loads(row["public"]), what=f"key {row['key_id']}") for row in rows}


def _apply(database: Database, event: Event) -> None:
    _VERBS[event.verb](database, event, dict(event.subject))


def _site_init(database: Database, event: Event, subject: dict[str, Any]) -> None:
    database.table("people").insert({"key_id": event.actor, "public": json.dumps(subject["actor"], sort_keys=True)})


def _trust_add(database: Database, event: Event, subject: dict[str, Any]) -> None:
    del event
    database.table("publishers").insert(
        {
            "publisher": subject["publisher"],
            "namespaces": json.dumps(subject["namespaces"]),
            "roots": json.dumps(subject["roots"]),
            "timestamp": None,
            "snapshot": None,
            "targets": None,
            "issued": None,
        }
    )


def _metadata_accept(database: Database, event: Event, subject: dict[str, Any]) -> None:
    del event
    publisher = subject["publisher"]
    [(roots,)] = database.execute("SELECT roots FROM publishers WHERE publisher = ?", (publisher,))
    known = json.loads(roots)
    known += subject["new_roots"]
    changes = {"roots": json.dumps(known), **{name: subject[name] for name in ("timestamp", "snapshot", "targets", "issued")}}
    database.table("publishers").update(publisher, changes)


def _release_quarantine(database: Database, event: Event, subject: dict[str, Any]) -> None:
    row = {name: subject[name] for name in ("publisher", "repository", "tag", "number", "manifest", "statement")}
    row |= {"state": QUARANTINE, "set_id": subject["set"], "changed": event.time, "supersedes": None}
    database.table("releases").insert(row)


def _move(database: Database, event: Event, subject: dict[str, Any], state: str) -> None:
    key = (subject["publisher"], subject["repository"], subject["tag"], subject["number"])
    database.table("releases").update(key, {"state": state, "changed": event.time})


def _release_approve(database: Database, event: Event, subject: dict[str, Any]) -> None:
    _move(database, event, subject, APPROVED)


def _supersede(database: Database, event: Event, subject: dict[str, Any]) -> int | None:
    """Make the release that the plain tag serves, if any, approved again; return its number."""
    row = database.execute(
        "SELECT publisher, number FROM releases WHERE repository = ? AND tag = ? AND state = 'promoted'", (subject["repository"], subject["tag"])
    ).fetchone()
    if row is None:
        return None
    _move(database, event, {**subject, "publisher": row[0], "number": row[1]}, APPROVED)
    return int(row[1])


def _release_promote(database: Database, event: Event, subject: dict[str, Any]) -> None:
    before = _supersede(database, event, subject)
    _move(database, event, subject, PROMOTED)
    key = (subject["publisher"], subject["repository"], subject["tag"], subject["number"])
    database.table("releases").update(key, {"supersedes": before})


def _release_rollback(database: Database, event: Event, subject: dict[str, Any]) -> None:
    # What the earlier release had replaced in its time stays on record, so that a second rollback goes one step further back.
    _supersede(database, event, subject)
    _move(database, event, subject, PROMOTED)


def _set_complete(database: Database, event: Event, subject: dict[str, Any]) -> None:
    row = {"set_id": subject["set"], "publisher": subject["publisher"], "header": subject["header"], "completed": event.time}
    database.table("sets").insert(row, replace=True)


def _nothing(database: Database, event: Event, subject: dict[str, Any]) -> None:
    """Refusals are on record and change nothing."""


_VERBS = {
    "site.init": _site_init,
    "trust.add": _trust_add,
    "metadata.accept": _metadata_accept,
    "release.quarantine": _release_quarantine,
    "release.approve": _release_approve,
    "release.promote": _release_promote,
    "release.rollback": _release_rollback,
    "set.complete": _set_complete,
    "set.refuse": _nothing,
}
