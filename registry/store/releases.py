"""The releases that a site has, and their states, as the log says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from registry.content.digest import Digest
from registry.content.reference import Reference
from registry.store.log import Event
from registry.store.people import Effect
from registry.trust.withdrawal import Severity, Withdrawal

__all__ = [
    "APPROVED",
    "PROMOTED",
    "QUARANTINE",
    "RELEASES_SCHEMA",
    "RELEASES_TABLES",
    "RELEASES_VERBS",
    "WITHDRAWN",
    "CatalogRelease",
    "releases_in",
]

QUARANTINE, APPROVED, PROMOTED, WITHDRAWN = "quarantine", "approved", "promoted", "withdrawn"

RELEASES_SCHEMA = """
CREATE TABLE releases (
  publisher TEXT NOT NULL REFERENCES publishers (publisher), repository TEXT NOT NULL, tag TEXT NOT NULL, number INTEGER NOT NULL CHECK (number > 0),
  state TEXT NOT NULL CHECK (state IN ('quarantine', 'approved', 'promoted', 'withdrawn')),
  manifest TEXT NOT NULL, statement TEXT NOT NULL, set_id TEXT NOT NULL, changed TEXT NOT NULL, supersedes INTEGER, severity TEXT, why TEXT,
  PRIMARY KEY (publisher, repository, tag, number), UNIQUE (repository, tag, number)
);
CREATE UNIQUE INDEX one_promoted_per_tag ON releases (repository, tag) WHERE state = 'promoted';
"""
RELEASES_TABLES = ("releases",)


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


def releases_in(database: Database) -> list[CatalogRelease]:
    """Return every complete release, by name and number."""
    return [_release(row) for row in database.query("SELECT * FROM releases ORDER BY repository, tag, number, publisher")]


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


RELEASES_VERBS: Mapping[str, Effect] = {
    "release.quarantine": _release_quarantine,
    "release.adopt": _release_adopt,
    "release.approve": _release_approve,
    "release.promote": _release_promote,
    "release.rollback": _release_rollback,
    "release.withdraw": _release_withdraw,
}
