"""People at a site: enrolled, given further keys, and gone.  Their names stay in this home's notes; the log holds key ids."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from securesystemslib.signer import SSlibKey

from registry.errors import NotFound, PolicyRefused, Usage
from registry.store.home import Home
from registry.store.people import Person
from registry.store.site import Site
from registry.trust.keys import public_to_json, short
from registry.workflow.actor import Credentials
from registry.workflow.holders import holder_of, note_holder
from registry.workflow.proposals import Described, propose
from registry.workflow.site import open_site, read_site

__all__ = ["Labelled", "Outcome", "add_key", "add_person", "leave", "list_people"]


@dataclass(frozen=True, slots=True)
class Labelled:
    """A person, and what this home's notes call them (empty where they say nothing)."""

    person: Person
    label: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whom an act concerned, and the proposal that waits for a second person, or None where it took effect at once."""

    person: str
    label: str
    proposal: Described | None = None


def list_people(home: Home) -> list[Labelled]:
    """Return everybody who was ever enrolled."""
    with read_site(home) as log:
        return [Labelled(each, holder_of(home, each.person)) for each in log.people()]


def add_person(home: Home, label: str, key: SSlibKey, credentials: Credentials, *, now: datetime) -> Outcome:
    """Enrol a person by their first key: at once while one person is enrolled, else as an act of two.

    Raises:
        Usage: somebody active has this label.
        PolicyRefused: the key is or was enrolled.
    """
    with open_site(home, credentials, "people add") as site:
        if not label or any(holder_of(home, each.person) == label for each in _active(site.log)):
            raise Usage(f"{label!r}: not a free label", why="somebody who acts here has it" if label else "it is empty")
        if any(key.keyid == each.keyid for person in site.log.people() for each in person.keys):
            raise PolicyRefused(
                f"key {short(key.keyid)} is enrolled here, or was",
                why="a key belongs to one person for ever",
                hint="they make another: airlock key new NAME; airlock key show NAME --to FILE.pub",
            )
        note_holder(home, key.keyid, label)
        subject = {"key": public_to_json(key)}
        if len(_active(site.log)) > 1:
            return Outcome(key.keyid, label, propose(site, "people.add", subject, now=now))
        with site.log.transaction():
            site.log.append("people.add", subject, signer=site.actor, now=now)
    return Outcome(key.keyid, label)


def add_key(home: Home, key: SSlibKey, credentials: Credentials, *, now: datetime) -> Outcome:
    """Give a further key to the person who acts: nobody can give one to another, or they could pose as them.

    Raises:
        PolicyRefused: the key is or was enrolled.
    """
    with open_site(home, credentials, "people add-key") as site:
        person = site.log.person_of(site.actor.public_key.keyid)
        assert person is not None, "open_site refuses strangers"
        with site.log.transaction():
            site.log.append("people.key", {"key": public_to_json(key)}, signer=site.actor, now=now)
    return Outcome(person.person, holder_of(home, person.person))


def leave(home: Home, label: str, credentials: Credentials, *, now: datetime) -> Outcome:
    """End what a person may do here: at once while two others remain, else as an act of two, so that nobody gets to be alone by themselves.

    Raises:
        NotFound: nobody active has this label or an id that begins so.
        PolicyRefused: nobody else would be left.
    """
    with open_site(home, credentials, "people leave") as site:
        active = _active(site.log)
        found = [each for each in active if label and (holder_of(home, each.person) == label or each.person.startswith(label))]
        if len(found) != 1:
            raise NotFound(
                f"{label}: {'nobody' if not found else 'more than one person'} here is called so", hint="airlock people list shows who is enrolled"
            )
        [person] = found
        named = holder_of(home, person.person)
        if len(active) == 1:
            raise PolicyRefused("nobody would be left to act here", hint="first enrol a successor: airlock people add LABEL --key FILE.pub")
        subject = {"person": person.person}
        if len(active) == 2:
            return Outcome(person.person, named, propose(site, "people.leave", subject, now=now))
        with site.log.transaction():
            site.log.append("people.leave", subject, signer=site.actor, now=now)
    return Outcome(person.person, named)


def _active(log: Site) -> list[Person]:
    return [each for each in log.people() if each.left is None]
