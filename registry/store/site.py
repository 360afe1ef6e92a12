"""A site's catalog: publishers, releases and their states, as the log says."""

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
from registry.store.station_keys import STATION_KEYS_SCHEMA, STATION_KEYS_TABLES, STATION_KEYS_VERBS
from registry.trust.refresh import TrustedMetadata
from registry.trust.withdrawal import Severity, Withdrawal

__all__ = ["APPROVED", "PROMOTED", "QUARANTINE", "WITHDRAWN", "CatalogRelease", "Epoch", "PublisherRecord", "Site"]

QUARANTINE, APPROVED, PROMOTED, WITHDRAWN = "quarantine", "approved", "promoted", "withdrawn"

_SCHEMA = """
CREATE TABLE site (id TEXT PRIMARY KEY);
CREATE TABLE epochs (epoch INTEGER PRIMARY KEY, witnessed INTEGER NOT NULL, confirmed INTEGER, ended TEXT);
CREATE TABLE publishers (
  publisher TEXT PRIMARY KEY, namespaces TEXT NOT NULL, roots TEXT NOT NULL,
  timestamp TEXT, snapshot TEXT, targets TEXT, issued TEXT, accepted INTEGER, removed TEXT, replaced_by TEXT
);
CREATE TABLE releases (
  publisher TEXT NOT NULL REFERENCES publishers (publisher), repository TEXT NOT NULL, tag TEXT NOT NULL, number INTEGER NOT NULL CHECK (number > 0),
  state TEXT NOT NULL CHECK (state IN ('quarantine', 'approved', 'promoted', 'withdrawn')),
  manifest TEXT NOT NULL, statement TEXT NOT NULL, set_id TEXT NOT NULL, changed TEXT NOT NULL, supersedes INTEGER, severity TEXT, why TEXT,
  PRIMARY KEY (publisher, repository, tag, number), UNIQUE (repository, tag, number)
);
CREATE UNIQUE INDEX one_promoted_per_tag ON releases (repository, tag) WHERE state = 'promoted';
CREATE TABLE sets (
  set_id TEXT PRIMARY KEY, publisher TEXT NOT NULL, header TEXT NOT NULL, completed TEXT NOT NULL,
  received INTEGER NOT NULL, milliseconds INTEGER NOT NULL
);
"""
_TABLES = ("people", "proposals", "site", "epochs", "publishers", "releases", "sets", *CALLERS_TABLES, *CUSTODY_TABLES, *STATION_KEYS_TABLES)


@dataclass(frozen=True, slots=True)
class CatalogRelease:
    """One release that arrived whole, and its state.

    ``supersedes`` is the number that it replaced when it was promoted; ``withdrawal`` what was said against it, also while a person has yet to act.
    """

    publisher: str
    reference: Reference
    number: int
    state: str
    manifest: Digest
    statement: Digest
    set_id: str
    changed: str
    supersedes: int | None
    withdrawal: Withdrawal | None = None

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
        schema = PEOPLE_SCHEMA + _SCHEMA + CALLERS_SCHEMA + CUSTODY_SCHEMA + STATION_KEYS_SCHEMA
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
        return [_release(row) for row in self.db.query("SELECT * FROM releases ORDER BY repository, tag, number, publisher")]

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
        withdrawal=Withdrawal(Severity(row["severity"]), row["why"]) if row["severity"] else None,
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


def _release_quarantine(database: Database, event: Event, subject: dict[str, Any]) -> None:
    row = {name: subject[name] for name in ("publisher", "repository", "tag", "number", "manifest", "statement")}
    row |= {"state": QUARANTINE, "set_id": subject["set"], "changed": event.time, "supersedes": None, "severity": None, "why": None}
    database.table("releases").insert(row)


def _release_adopt(database: Database, event: Event, subject: dict[str, Any]) -> None:
    # The same bytes under the same name and number: whoever may use the name now answers for them; what people decided about them stays.
    del event
    database.execute(
        "UPDATE releases SET publisher = ?, statement = ? WHERE repository = ? AND tag = ? AND number = ? AND manifest = ?",
        tuple(subject[name] for name in ("publisher", "statement", "repository", "tag", "number", "manifest")),
    )


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


def _release_withdraw(database: Database, event: Event, subject: dict[str, Any]) -> None:
    if subject["severity"] == Severity.STOP:
        _move(database, event, subject, WITHDRAWN)
    key = (subject["publisher"], subject["repository"], subject["tag"], subject["number"])
    database.table("releases").update(key, {"severity": subject["severity"], "why": subject["why"]})


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
    **SITE_CUSTODY_VERBS,
    **STATION_KEYS_VERBS,
    "act.confirm": _act_confirm,
    "site.init": _site_init,
    "site.rotate": _nothing,
    "epoch.open": _epoch_open,
    "trust.add": _trust_add,
    "trust.remove": _trust_remove,
    "metadata.accept": _metadata_accept,
    "release.quarantine": _release_quarantine,
    "release.adopt": _release_adopt,
    "release.approve": _release_approve,
    "release.promote": _release_promote,
    "release.rollback": _release_rollback,
    "release.withdraw": _release_withdraw,
    "set.complete": _set_complete,
    "set.refuse": _nothing,
    "repair.request": _nothing,
}
