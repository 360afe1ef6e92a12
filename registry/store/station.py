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
from registry.store.custody import (
    CUSTODY_SCHEMA,
    CUSTODY_TABLES,
    RECEIPTS_SCHEMA,
    RECEIPTS_TABLES,
    STATION_CUSTODY_VERBS,
    AcceptedReceipt,
    Medium,
    media_in,
    receipts_in,
)
from registry.store.log import Event, Log, Projection
from registry.trust.keys import public_from_json
from registry.trust.withdrawal import Severity, Withdrawal

__all__ = ["NumberedRelease", "StartedSet", "Station"]

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
CREATE TABLE sets (
  set_id TEXT PRIMARY KEY, header TEXT NOT NULL, sites TEXT NOT NULL, "index" TEXT, timestamp TEXT, media TEXT, started TEXT NOT NULL, finished TEXT
);
CREATE TABLE written_media (
  set_id TEXT NOT NULL, medium INTEGER NOT NULL, passed TEXT, size INTEGER NOT NULL, milliseconds INTEGER NOT NULL, PRIMARY KEY (set_id, medium)
);
"""
_TABLES = ("people", "numbering", "metadata", "drafts", "withdrawals", "releases", "recipients", "sets", "written_media")


@dataclass(frozen=True, slots=True)
class NumberedRelease:
    """A release that has its number for ever."""

    reference: Reference
    number: int
    manifest: Digest
    statement: Digest


@dataclass(frozen=True, slots=True)
class StartedSet:
    """A set that was begun, by the digests of its header, its index's payload and the timestamp.json it was signed with.

    ``media`` are the first and last part of each medium; ``finished`` maps each medium that is written to the digest of what its last parts hold of
    an object that goes on, None where none does.
    """

    set_id: str
    sites: tuple[str, ...]
    header: Digest
    index: Digest
    timestamp: Digest
    media: tuple[tuple[int, int], ...]
    finished: Mapping[int, Digest | None]


class Station(Log):
    """The station's database."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        if not create and not path.exists():
            raise StoreFailed(
                f"{path}: the database is missing",
                hint="put its newest backup back; if there is none: airlock station recover DIR, with its media",
            )
        tables = (*_TABLES, *CUSTODY_TABLES, *RECEIPTS_TABLES)
        super().__init__(path, Projection(_SCHEMA + CUSTODY_SCHEMA + RECEIPTS_SCHEMA, tables, _apply, _actors), create=create)

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

    def unfinished_sets(self) -> list[StartedSet]:
        """Return the sets whose export has begun and not ended, newest first."""
        rows = self.db.query('SELECT * FROM sets WHERE finished IS NULL AND "index" IS NOT NULL ORDER BY set_id DESC')
        return [self._started(row) for row in rows]

    def started_set(self, set_id: str) -> StartedSet | None:
        """Return a set that this station began, finished or not, or None."""
        rows = self.db.query('SELECT * FROM sets WHERE set_id = ? AND "index" IS NOT NULL', [set_id])
        return next((self._started(row) for row in rows), None)

    def written_lately(self) -> tuple[int, int]:
        """Return how many bytes the newest ten media took, and in how many milliseconds."""
        rows = self.db.execute("SELECT size, milliseconds FROM written_media ORDER BY set_id DESC, medium DESC LIMIT 10").fetchall()
        return sum(size for size, _ in rows), sum(milliseconds for _, milliseconds in rows)

    def _started(self, row: Mapping[str, Any]) -> StartedSet:
        written = self.db.query("SELECT medium, passed FROM written_media WHERE set_id = ?", [row["set_id"]])
        return StartedSet(
            set_id=row["set_id"],
            sites=tuple(json.loads(row["sites"])),
            header=Digest(row["header"]),
            index=Digest(row["index"]),
            timestamp=Digest(row["timestamp"]),
            media=tuple((first, last) for first, last in json.loads(row["media"])),
            finished={each["medium"]: each["passed"] for each in written},
        )

    def sites_of(self, set_id: str) -> tuple[str, ...]:
        """Return the ids of the sites that a set was sealed to; none for a set that this log doesn't know."""
        row = self.db.execute("SELECT sites FROM sets WHERE set_id = ?", (set_id,)).fetchone()
        return tuple(json.loads(row[0])) if row else ()

    def media(self) -> list[Medium]:
        """Return every medium that was written, the newest set first."""
        return media_in(self.db)

    def receipts(self) -> list[AcceptedReceipt]:
        """Return the newest receipt of every site that sent one."""
        return receipts_in(self.db)

    def sets_arrived(self, set_id: str) -> tuple[str, ...]:
        """Return the ids of the sites whose receipts say that a set is complete there."""
        return tuple(each.site for each in self.receipts() if set_id in each.sets)


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
    # Events of airlock before 0.1.0 ended don't tell what follows; such a set is not continued.
    row |= {"index": subject.get("index"), "timestamp": subject.get("timestamp"), "media": json.dumps(subject.get("media", []))}
    database.table("sets").insert(row)


def _medium_write(database: Database, event: Event, subject: dict[str, Any]) -> None:
    STATION_CUSTODY_VERBS["medium.write"](database, event, subject)
    row = {"set_id": subject["set"], "medium": subject["medium"], "size": subject["size"]}
    row |= {"passed": subject.get("passed"), "milliseconds": subject.get("milliseconds", 0)}
    database.table("written_media").insert(row, replace=True)


def _set_finish(database: Database, event: Event, subject: dict[str, Any]) -> None:
    database.table("sets").update(subject["set"], {"finished": event.time})


_VERBS = {
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
    "set.send": lambda _database, _event, _subject: None,  # what goes through a one-way link leaves nothing to keep track of
    **STATION_CUSTODY_VERBS,
    "medium.write": _medium_write,
}
