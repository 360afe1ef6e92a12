"""A station's catalog: the metadata it signed, the releases it numbered, the recipients it knows, as the log says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securesystemslib.signer import SSlibKey
from sqlite_utils import Database

from registry.content.digest import Digest
from registry.content.reference import Reference
from registry.errors import StoreFailed
from registry.store.accepted import RECEIPTS_SCHEMA, RECEIPTS_TABLES, RECEIPTS_VERBS
from registry.store.log import Event, Log, Projection
from registry.trust.keys import public_from_json
from registry.trust.withdrawal import Severity, Withdrawal

__all__ = ["NumberedRelease", "Station"]

_SCHEMA = """
CREATE TABLE people (key_id TEXT PRIMARY KEY, public TEXT NOT NULL);
CREATE TABLE metadata (role TEXT NOT NULL, version INTEGER NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (role, version));
CREATE TABLE drafts (role TEXT PRIMARY KEY, version INTEGER NOT NULL, digest TEXT);
CREATE TABLE withdrawals (statement TEXT PRIMARY KEY, severity TEXT NOT NULL, why TEXT NOT NULL);
CREATE TABLE releases (
  repository TEXT NOT NULL, tag TEXT NOT NULL, number INTEGER NOT NULL CHECK (number > 0), manifest TEXT NOT NULL, statement TEXT NOT NULL,
  PRIMARY KEY (repository, number), UNIQUE (repository, tag, manifest)
);
CREATE TABLE numbering (first INTEGER NOT NULL CHECK (first > 0));
CREATE TABLE recipients (site TEXT PRIMARY KEY, fingerprint TEXT NOT NULL);
CREATE TABLE sets (set_id TEXT PRIMARY KEY, header TEXT NOT NULL, sites TEXT NOT NULL, started TEXT NOT NULL, finished TEXT);
"""


@dataclass(frozen=True, slots=True)
class NumberedRelease:
    """A release that has its number for ever."""

    reference: Reference
    number: int
    manifest: Digest
    statement: Digest


class Station(Log):
    """The station's database."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        if not create and not path.exists():
            raise StoreFailed(
                f"{path}: the database is missing",
                hint="put its newest backup back; if there is none: airlock station recover DIR, with its media",
            )
        tables = ("people", "numbering", "metadata", "drafts", "withdrawals", "releases", "recipients", "sets", *RECEIPTS_TABLES)
        super().__init__(path, Projection(_SCHEMA + RECEIPTS_SCHEMA, tables, _apply, _actors), create=create)

    def metadata(self, role: str) -> tuple[int, bytes] | None:
        """Return the newest version of a role's metadata and its bytes, or None."""
        row = self.db.execute("SELECT version, digest FROM metadata WHERE role = ? ORDER BY version DESC LIMIT 1", (role,)).fetchone()
        return (int(row[0]), self.document(Digest(row[1]))) if row else None

    def draft(self, role: str) -> tuple[int, bytes] | None:
        """Return the version and bytes of a role's metadata that still gather signatures, or None."""
        row = self.db.execute("SELECT version, digest FROM drafts WHERE role = ? AND digest IS NOT NULL", (role,)).fetchone()
        return (int(row[0]), self.document(Digest(row[1]))) if row else None

    def next_version(self, role: str) -> int:
        """Return a version number that was neither signed nor drafted yet: a signer must never see one number with two contents."""
        row = self.db.execute(
            "SELECT MAX(version) FROM (SELECT version FROM metadata WHERE role = ? UNION SELECT version FROM drafts WHERE role = ?)", (role, role)
        )
        return int(row.fetchone()[0] or 0) + 1

    def withdrawals(self) -> dict[Digest, Withdrawal]:
        """Return every withdrawal, by the digest of the statement it concerns."""
        rows = self.db.query("SELECT * FROM withdrawals")
        return {Digest(row["statement"]): Withdrawal(Severity(row["severity"]), row["why"]) for row in rows}

    def roots(self) -> tuple[bytes, ...]:
        """Return every root from version 1 on."""
        rows = self.db.execute("SELECT digest FROM metadata WHERE role = 'root' ORDER BY version").fetchall()
        return tuple(self.document(Digest(digest)) for (digest,) in rows)

    def releases(self) -> list[NumberedRelease]:
        """Return every release ever numbered."""
        return [_release(row) for row in self.db.query("SELECT * FROM releases ORDER BY repository, number")]

    def release_of(self, reference: Reference, manifest: Digest) -> NumberedRelease | None:
        """Return the release that this content already is under this name, or None."""
        return next((each for each in self.releases() if each.reference == reference and each.manifest == manifest), None)

    def next_number(self, repository: str) -> int:
        """Return the number that the next release in ``repository`` gets: numbers grow per repository."""
        [(highest,)] = self.db.execute("SELECT MAX(number) FROM releases WHERE repository = ?", (repository,))
        [(first,)] = self.db.execute("SELECT first FROM numbering")
        return max(int(highest or 0) + 1, int(first))

    def recipient(self, site: str) -> str | None:
        """Return the fingerprint of the ``site.pub`` that this site was known by, or None."""
        row = self.db.execute("SELECT fingerprint FROM recipients WHERE site = ?", (site,)).fetchone()
        return str(row[0]) if row else None

    def recipients(self) -> list[tuple[str, str]]:
        """Return name and fingerprint of every recipient that is known here."""
        return [(row["site"], row["fingerprint"]) for row in self.db.query("SELECT site, fingerprint FROM recipients ORDER BY site")]

    def unfinished_sets(self) -> dict[str, Digest]:
        """Return the sets whose export has begun and not ended: set id to header digest."""
        return {row["set_id"]: Digest(row["header"]) for row in self.db.query("SELECT set_id, header FROM sets WHERE finished IS NULL")}


def _release(row: Mapping[str, Any]) -> NumberedRelease:
    namespace, _, model = row["repository"].partition("/")
    return NumberedRelease(Reference(namespace, model, row["tag"]), row["number"], Digest(row["manifest"]), Digest(row["statement"]))


def _actors(database: Database) -> dict[str, SSlibKey]:
    rows = database.query("SELECT key_id, public FROM people")
    return {row["key_id"]: public_from_json(json.loads(row["public"]), what=f"key {row['key_id']}") for row in rows}


def _apply(database: Database, event: Event) -> None:
    _VERBS[event.verb](database, event, dict(event.subject))


def _station_init(database: Database, event: Event, subject: dict[str, Any]) -> None:
    database.table("people").insert({"key_id": event.actor, "public": json.dumps(subject["actor"], sort_keys=True)})
    database.table("numbering").insert({"first": subject["first_number"]})


def _metadata_sign(database: Database, event: Event, subject: dict[str, Any]) -> None:
    del event
    database.table("metadata").insert_all(subject["metadata"])
    for each in subject["metadata"]:
        database.execute("UPDATE drafts SET digest = NULL WHERE role = ?", (each["role"],))


def _metadata_draft(database: Database, event: Event, subject: dict[str, Any]) -> None:
    del event
    database.table("drafts").insert({name: subject[name] for name in ("role", "version", "digest")}, replace=True)


def _station_recover(database: Database, event: Event, subject: dict[str, Any]) -> None:
    # What the newest medium says was signed is not called published here: an export after it may have said more, under the versions that follow.
    # So everything is signed anew, under versions that are above those of any such export.
    del event
    rows = [{"role": each["role"], "version": each["version"] + subject["skipped"], "digest": None} for each in subject["metadata"]]
    database.table("drafts").insert_all(rows, replace=True)


def _release_withdraw(database: Database, event: Event, subject: dict[str, Any]) -> None:
    del event
    row = {"statement": subject["statement"], "severity": subject["severity"], "why": subject["why"]}
    database.table("withdrawals").insert(row, replace=True)


def _release_number(database: Database, event: Event, subject: dict[str, Any]) -> None:
    del event
    database.table("releases").insert({name: subject[name] for name in ("repository", "tag", "number", "manifest", "statement")})


def _recipient_remember(database: Database, event: Event, subject: dict[str, Any]) -> None:
    del event
    database.table("recipients").insert({"site": subject["site"], "fingerprint": subject["fingerprint"]}, replace=True)


def _set_start(database: Database, event: Event, subject: dict[str, Any]) -> None:
    row = {"set_id": subject["set"], "header": subject["header"], "sites": json.dumps(subject["sites"]), "started": event.time, "finished": None}
    database.table("sets").insert(row)


def _set_finish(database: Database, event: Event, subject: dict[str, Any]) -> None:
    database.table("sets").update(subject["set"], {"finished": event.time})


_VERBS = {
    **RECEIPTS_VERBS,
    "station.init": _station_init,
    "station.recover": _station_recover,
    "metadata.sign": _metadata_sign,
    "metadata.draft": _metadata_draft,
    "release.number": _release_number,
    "release.withdraw": _release_withdraw,
    "recipient.remember": _recipient_remember,
    "recipient.accept": _recipient_remember,
    "set.start": _set_start,
    "set.finish": _set_finish,
}
