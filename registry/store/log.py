"""The log: what happened, in order; everything else in a home's database is a projection of it.

An event is canonical JSON of at most 64 KiB: ``v``, ``seq``, ``time``, ``actor`` (a key id), ``verb``, ``subject`` (digests and names of models,
never documents or people), ``prev`` (the digest of the event before).  It is signed by the actor's key.  Event, projection and the documents it
names (statements, metadata) are written in one SQLite transaction, so that none is ever there without the others.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from securesystemslib.signer import Signer, SSlibKey
from sqlite_utils import Database
from sqlite_utils.db import NotFoundError

from registry.content import canonical
from registry.content.digest import Digest, digest_of, parse_digest
from registry.errors import AirlockError, FormatRefused, StoreFailed
from registry.trust.envelope import EVENT_TYPE, sign_detached, verify_detached
from registry.trust.roles import format_time

__all__ = ["Event", "Log", "Projection"]

MAX_EVENT_BYTES = 64 << 10
_SCHEMA_VERSION = 1
_APPLICATION_ID = 0x41524C4B  # "ARLK", see sqlite3's application_id
_SCHEMA = """
CREATE TABLE events (seq INTEGER PRIMARY KEY, document BLOB NOT NULL, signature TEXT NOT NULL);
CREATE TABLE documents (digest TEXT PRIMARY KEY, data BLOB NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the log; ``digest`` names its bytes."""

    seq: int
    time: str
    actor: str
    verb: str
    subject: Mapping[str, Any]
    prev: Digest | None
    document: bytes
    signature: str

    @property
    def digest(self) -> Digest:
        """The digest of the event's bytes: what the next event's ``prev`` says."""
        return digest_of(self.document)


@dataclass(frozen=True, slots=True)
class Projection:
    """How a home's log becomes tables.

    ``tables`` are the projected ones, in the order they are compared; ``apply`` changes them for one event and reads nothing else; ``actors`` returns
    the public keys that may sign events, read from the projection.
    """

    schema: str
    tables: tuple[str, ...]
    apply: Callable[[Database, Event], None]
    actors: Callable[[Database], Mapping[str, SSlibKey]]


class Log:
    """A home's database.  One writer at a time (``home.locked``); any number of readers."""

    def __init__(self, path: Path, projection: Projection, *, create: bool = False) -> None:
        self.path = path
        self._projection = projection
        with _database_errors(path):
            if create:
                path.unlink(missing_ok=True)
            elif not path.exists():
                raise StoreFailed(f"{path}: the database is missing", hint="put the home's newest backup back")
            self.db = _connect(str(path))
            if create:
                path.chmod(0o600)
                self.db.conn.executescript(_SCHEMA + projection.schema)
                self.db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                self.db.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
            self.db.execute("PRAGMA journal_mode = WAL").fetchone()
            self.db.execute("PRAGMA synchronous = FULL")
            found = self.db.execute("PRAGMA user_version").fetchone()[0]
            if found != _SCHEMA_VERSION:
                raise StoreFailed(
                    f"{path}: has schema version {found}", why=f"this airlock reads version {_SCHEMA_VERSION}", hint="use the airlock that made it"
                )
            self._project_anew()

    def _project_anew(self) -> None:
        """Make the projection again from the events where this version's tables are not those that lie in the database.

        So an update needs no migrations: the log is the state, and its events stay as they are.
        """
        wanted = _connect(":memory:")
        wanted.conn.executescript(self._projection.schema)
        schema = _projected(wanted)
        wanted.close()
        if _projected(self.db) == schema:
            return
        self.db.conn.execute("BEGIN IMMEDIATE")  # SQLite's writer lock before anything is read: a reader may have come here as well
        with self.db.atomic():
            for kind, name, _ in reversed(_projected(self.db)):  # what was made later may refer to what was made earlier
                self.db.execute(f'DROP {kind} IF EXISTS "{name}"')
            for _, _, sql in schema:
                self.db.execute(sql)
            for event in list(self.events()):
                self._replay(event)
        self.db.conn.execute("COMMIT")

    def _replay(self, event: Event) -> None:
        try:
            self._projection.apply(self.db, event)
        except (KeyError, TypeError, ValueError, AttributeError, NotFoundError) as error:
            raise StoreFailed(
                f"{self.path}: event {event.seq} ({event.verb}) can't be applied",
                why=f"{type(error).__name__}: {error}",
                hint="use the airlock that wrote it, or a newer one; if there is none: restore the home from its backup",
            ) from error

    def close(self) -> None:
        """Close the database."""
        self.db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything appended inside commits together at its end, or not at all."""
        with _database_errors(self.path), self.db.atomic():
            yield

    def append(
        self, verb: str, subject: Mapping[str, Any], *, signer: Signer, now: datetime, documents: Iterable[bytes] = (), witnessed: int = 0
    ) -> Event:
        """Append one signed event, apply it to the projection and store the documents it names.

        ``witnessed`` is a sequence number that others saw although this log doesn't reach it: the event is numbered after it and says so.
        Call it inside :meth:`transaction`.
        """
        last = self.head()
        members = {
            "v": 1,
            "seq": max(last.seq if last else 0, witnessed) + 1,
            "time": format_time(now),
            "actor": signer.public_key.keyid,
            "verb": verb,
            "subject": dict(subject),
            "prev": last.digest if last else None,
        }
        document = canonical.dump(members)
        if len(document) > MAX_EVENT_BYTES:
            raise StoreFailed(f"the event {verb} is too large for the log", why=f"at most {MAX_EVENT_BYTES} bytes, found {len(document)}")
        event = parse_event(document, sign_detached(document, EVENT_TYPE, signer))
        self.db.execute("INSERT INTO events VALUES (?, ?, ?)", (event.seq, event.document, event.signature))
        for data in documents:
            self.db.execute("INSERT OR IGNORE INTO documents VALUES (?, ?)", (digest_of(data), data))
        self._projection.apply(self.db, event)
        return event

    def head(self) -> Event | None:
        """Return the newest event."""
        row = self.db.execute("SELECT document, signature FROM events ORDER BY seq DESC LIMIT 1").fetchone()
        return parse_event(*row) if row else None

    def events(self, *, start: int = 1) -> Iterator[Event]:
        """Yield the events from sequence number ``start`` on, oldest first."""
        for document, signature in self.db.execute("SELECT document, signature FROM events WHERE seq >= ? ORDER BY seq", (start,)):
            yield parse_event(document, signature)

    def document(self, digest: Digest) -> bytes:
        """Return a stored document, checked against its digest."""
        row = self.db.execute("SELECT CASE typeof(data) WHEN 'blob' THEN data END FROM documents WHERE digest = ?", (digest,)).fetchone()
        if row is None or not isinstance(row[0], bytes) or digest_of(row[0]) != digest:
            raise StoreFailed(f"document {digest}: {'damaged in' if row else 'missing from'} the database", hint="restore the home from its backup")
        return bytes(row[0])

    def problems(self) -> Iterator[str]:
        """Yield, as sentences, everything in which log, documents and projection disagree: chain, signatures, digests, tables."""
        rebuilt = _connect(":memory:")
        rebuilt.conn.executescript(self._projection.schema)
        previous: Event | None = None
        for document, signature in self.db.execute("SELECT document, signature FROM events ORDER BY seq"):
            try:
                event = parse_event(document, signature)
            except FormatRefused as refusal:
                yield str(refusal)
                return
            expected = (previous.seq + 1, previous.digest) if previous else (1, None)
            if (event.seq, event.prev) != expected and (event.prev != expected[1] or event.seq != _after_loss(event)):
                yield f"event {event.seq} does not follow the one before it: the log was cut or rewritten there"
            try:
                known = self._projection.actors(rebuilt)  # before the event: somebody may say that they leave
                self._projection.apply(rebuilt, event)
                key = (known if previous else self._projection.actors(rebuilt))[event.actor]
                verify_detached(document, EVENT_TYPE, key, signature, what=f"event {event.seq}")
            except AirlockError as refusal:
                yield str(refusal)
            except (KeyError, TypeError, ValueError, AttributeError, NotFoundError, sqlite3.Error) as error:
                # Whoever owns the database may have written there whatever they like.
                yield f"event {event.seq} ({event.verb}) can't be applied or was signed by nobody known here: {error}"
            previous = event
        for table in self._projection.tables:
            ours, theirs = (sorted(map(repr, database.execute(f"SELECT * FROM {table}"))) for database in (self.db, rebuilt))  # noqa: S608
            if ours != theirs:
                changed = len(set(ours) ^ set(theirs))
                yield f"table {table} is not what the log says ({changed} row(s) differ)"
        for digest, data in self.db.execute("SELECT digest, CASE typeof(data) WHEN 'blob' THEN data END FROM documents"):
            if not isinstance(data, bytes) or digest_of(data) != digest:
                yield f"document {digest} is damaged in the database"


def parse_event(document: bytes, signature: str) -> Event:
    """Return the event that ``document`` spells; its signature and place in the chain are :meth:`Log.problems`' matter."""
    if not isinstance(document, bytes) or not isinstance(signature, str):  # SQLite holds anything in any column
        raise FormatRefused("event: not bytes with a signature")
    members = canonical.load(document, what="event", limit=MAX_EVENT_BYTES)
    if not isinstance(members, dict) or set(members) != {"v", "seq", "time", "actor", "verb", "subject", "prev"} or members["v"] != 1:
        raise FormatRefused("event: not one of this version")
    texts = (members["time"], members["actor"], members["verb"])
    if type(members["seq"]) is not int or not all(isinstance(text, str) for text in texts) or not isinstance(members["subject"], dict):
        raise FormatRefused("event: a member has another type")
    prev = None if members["prev"] is None else parse_digest(members["prev"], what="event")
    return Event(members["seq"], members["time"], members["actor"], members["verb"], members["subject"], prev, document, signature)


def _after_loss(event: Event) -> int | None:
    """Return the sequence number that an event has which opens the log again after a loss, or None."""
    witnessed = event.subject.get("witnessed")
    return int(witnessed["sequence"]) + 1 if isinstance(witnessed, dict) else None


def _projected(database: Database) -> list[tuple[str, str, str]]:
    """Return kind, name and text of everything the projection made in a database, in the order it was made."""
    rows = database.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT IN ('events', 'documents') ORDER BY rowid")
    return [(kind, name, sql) for kind, name, sql in rows]


def _connect(path: str) -> Database:
    # sqlite-utils would load whatever plugins are installed: nothing unknown may run inside the writer.
    database = Database(sqlite3.connect(path, timeout=10), execute_plugins=False)
    database.execute("PRAGMA foreign_keys = ON")
    return database


@contextmanager
def _database_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        full = "full" in str(error) or "disk I/O" in str(error)
        hint = "free some space and run the same command again" if full else "check the disk and the file's owner, then run the same command again"
        raise StoreFailed(f"{path}: the database can't be used", why=str(error), hint=hint) from error
    except sqlite3.DatabaseError as error:
        raise StoreFailed(f"{path}: the database is damaged", why=str(error), hint="restore the home from its backup") from error
