"""People and two-person acts in a site's projection: the rules live here, so that no log that breaks them can be written, or pass ``airlock check``.

A person is named by the id of the first key they enrolled; the log knows nothing else of them.  An act that takes two is proposed by one person
and confirmed by another; the confirmation applies its effect in the same transaction.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from securesystemslib.signer import SSlibKey
from sqlite_utils import Database

from registry.errors import NotFound, PolicyRefused
from registry.store.log import Event
from registry.trust.keys import public_from_json, short

__all__ = [
    "ACT_VERBS",
    "PEOPLE_EFFECTS",
    "PEOPLE_SCHEMA",
    "Effect",
    "Person",
    "Proposal",
    "actors",
    "enrol_first",
    "people_in",
    "proposals_in",
    "settle",
]

PEOPLE_SCHEMA = """
CREATE TABLE people (key_id TEXT PRIMARY KEY, public TEXT NOT NULL, person TEXT NOT NULL, left TEXT);
CREATE TABLE proposals (
  seq INTEGER PRIMARY KEY, act TEXT NOT NULL, subject TEXT NOT NULL, person TEXT NOT NULL, proposed TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('waiting', 'confirmed', 'rejected'))
);
"""

Effect = Callable[[Database, Event, dict[str, Any]], None]
"""What an event does to the projection: database, event, subject."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who may act here: the opaque id (their first key's id), all their keys, and when they left."""

    person: str
    keys: tuple[SSlibKey, ...]
    left: str | None


@dataclass(frozen=True, slots=True)
class Proposal:
    """An act that waits for a second person, or did: ``seq`` is the event that proposed it, ``person`` who."""

    seq: int
    act: str
    subject: Mapping[str, Any]
    person: str
    proposed: str
    state: str


def actors(database: Database) -> dict[str, SSlibKey]:
    """Return the keys that may sign events now, by key id."""
    rows = database.query("SELECT key_id, public FROM people WHERE left IS NULL")
    return {row["key_id"]: public_from_json(json.loads(row["public"]), what=f"key {row['key_id']}") for row in rows}


def people_in(database: Database) -> list[Person]:
    """Return everybody who was ever enrolled, in the order of their first keys' ids."""
    found: dict[str, Person] = {}
    for row in database.query("SELECT * FROM people ORDER BY person, key_id = person DESC, key_id"):
        key = public_from_json(json.loads(row["public"]), what=f"key {row['key_id']}")
        before = found.get(row["person"])
        found[row["person"]] = Person(row["person"], (*(before.keys if before else ()), key), row["left"])
    return list(found.values())


def proposals_in(database: Database) -> list[Proposal]:
    """Return every proposal, oldest first."""
    rows = database.query("SELECT * FROM proposals ORDER BY seq")
    return [Proposal(row["seq"], row["act"], json.loads(row["subject"]), row["person"], row["proposed"], row["state"]) for row in rows]


def enrol_first(database: Database, event: Event, public: Mapping[str, Any]) -> None:
    """Enrol whoever signs the first event."""
    database.table("people").insert({"key_id": event.actor, "public": json.dumps(public, sort_keys=True), "person": event.actor, "left": None})


def settle(database: Database, event: Event, effects: Mapping[str, Effect]) -> None:
    """Apply ``act.confirm``: the proposal's effect, on the word of a second person."""
    proposal = _waiting(database, event)
    if _person(database, event) == proposal.person:
        raise PolicyRefused(
            f"proposal {proposal.seq}: one person can't do both",
            why="the key that confirms belongs to the person who proposed it",
            hint=_second(database, f"somebody else runs: airlock confirm {proposal.seq}"),
        )
    database.table("proposals").update(proposal.seq, {"state": "confirmed"})
    effects[proposal.act](database, event, dict(proposal.subject))


def _propose(database: Database, event: Event, subject: dict[str, Any]) -> None:
    if _active(database) < 2:
        raise PolicyRefused("this takes two people, and only one is enrolled", hint=_second(database, ""))
    row = {"seq": event.seq, "act": subject["act"], "subject": json.dumps(subject["subject"], sort_keys=True), "proposed": event.time}
    database.table("proposals").insert({**row, "person": _person(database, event), "state": "waiting"})


def _reject(database: Database, event: Event, subject: dict[str, Any]) -> None:
    del subject
    database.table("proposals").update(_waiting(database, event).seq, {"state": "rejected"})


def _people_add(database: Database, event: Event, subject: dict[str, Any]) -> None:
    if event.verb == "people.add" and _active(database) > 1:
        raise PolicyRefused("enrolling somebody takes two people here")
    _enrol(database, subject["key"], person=None)


def _people_add_key(database: Database, event: Event, subject: dict[str, Any]) -> None:
    # Only for oneself: a key that somebody added to another person would let them pose as that person.
    _enrol(database, subject["key"], person=_person(database, event))


def _people_leave(database: Database, event: Event, subject: dict[str, Any]) -> None:
    if event.verb == "people.leave" and _active(database) < 3:
        raise PolicyRefused("this would leave one person alone, which takes two people")
    database.execute("UPDATE people SET left = ? WHERE person = ? AND left IS NULL", (event.time, subject["person"]))
    database.execute("UPDATE proposals SET state = 'rejected' WHERE person = ? AND state = 'waiting'", (subject["person"],))


PEOPLE_EFFECTS: Mapping[str, Effect] = {"people.add": _people_add, "people.leave": _people_leave}
"""What a confirmed act does to the people."""

ACT_VERBS: Mapping[str, Effect] = {
    "act.propose": _propose,
    "act.reject": _reject,
    "people.key": _people_add_key,
    **PEOPLE_EFFECTS,
}
"""The verbs of people and of acts that take two; ``act.confirm`` is :func:`settle`."""


def _enrol(database: Database, public: Mapping[str, Any], person: str | None) -> None:
    key = public_from_json(public, what="key")
    if database.execute("SELECT 1 FROM people WHERE key_id = ?", (key.keyid,)).fetchone():
        raise PolicyRefused(
            f"key {short(key.keyid)} is enrolled here, or was",
            why="a key belongs to one person for ever",
            hint="make another: airlock key new NAME; airlock key show NAME --to FILE",
        )
    row = {"key_id": key.keyid, "public": json.dumps(public, sort_keys=True), "person": person or key.keyid, "left": None}
    database.table("people").insert(row)


def _active(database: Database) -> int:
    [(count,)] = database.execute("SELECT COUNT(DISTINCT person) FROM people WHERE left IS NULL")
    return int(count)


def _person(database: Database, event: Event) -> str:
    row = database.execute("SELECT person FROM people WHERE key_id = ? AND left IS NULL", (event.actor,)).fetchone()
    if row is None:
        raise PolicyRefused(f"key {short(event.actor)} may not act here", why="it was never enrolled, or its person has left")
    return str(row[0])


def _waiting(database: Database, event: Event) -> Proposal:
    number = event.subject["proposal"]
    proposal = next((each for each in proposals_in(database) if each.seq == number), None)
    if proposal is None:
        raise NotFound(f"there is no proposal {number}", hint="airlock proposals")
    if proposal.state != "waiting":
        raise PolicyRefused(f"proposal {number} was {proposal.state} already", hint="airlock proposals")
    return proposal


def _second(database: Database, otherwise: str) -> str:
    if _active(database) > 1:
        return otherwise
    return "the second person runs: airlock key new NAME; airlock key show NAME --to FILE.pub\nhere: airlock people add LABEL --key FILE.pub"
