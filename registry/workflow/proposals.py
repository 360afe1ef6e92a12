"""Acts that take two people: one proposes, another confirms, and the confirmation carries the act out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from registry.content.digest import Digest, hex_of
from registry.errors import NotFound
from registry.store.home import Home
from registry.store.people import Proposal
from registry.trust.keys import public_from_json, short
from registry.workflow.actor import Credentials
from registry.workflow.holders import holder_of
from registry.workflow.site import OpenSite, open_site, read_site

__all__ = ["Described", "confirm_proposal", "list_proposals", "propose", "reject_proposal"]


@dataclass(frozen=True, slots=True)
class Described:
    """A proposal, what it would do in one sentence, and by whom, as far as this home's notes know."""

    proposal: Proposal
    sentence: str
    by: str


def propose(site: OpenSite, act: str, subject: Mapping[str, Any], *, now: datetime, documents: Iterable[bytes] = ()) -> Described:
    """Put an act on record that another person must confirm.

    Raises:
        PolicyRefused: only one person is enrolled.
    """
    with site.log.transaction():
        event = site.log.append("act.propose", {"act": act, "subject": dict(subject)}, signer=site.actor, now=now, documents=documents)
    return _describe(site.home, next(each for each in site.log.proposals() if each.seq == event.seq))


def list_proposals(home: Home) -> list[Described]:
    """Return the proposals that wait for a second person, oldest first."""
    with read_site(home) as log:
        return [_describe(home, each) for each in log.proposals() if each.state == "waiting"]


def confirm_proposal(home: Home, number: int, credentials: Credentials, ask: Callable[[Described], None], *, now: datetime) -> Described:
    """Carry out what another person proposed.

    Raises:
        NotFound: no such proposal.
        PolicyRefused: the same person proposed it, it was settled already, or its effect is impossible by now.
    """
    return _settle(home, number, credentials, ask, now=now, verb="confirm")


def reject_proposal(home: Home, number: int, credentials: Credentials, ask: Callable[[Described], None], *, now: datetime) -> Described:
    """End a proposal without effect; one person is enough, also the one who proposed it."""
    return _settle(home, number, credentials, ask, now=now, verb="reject")


def _settle(home: Home, number: int, credentials: Credentials, ask: Callable[[Described], None], *, now: datetime, verb: str) -> Described:
    with open_site(home, credentials, verb) as site:
        found = next((each for each in site.log.proposals() if each.seq == number), None)
        if found is None:
            raise NotFound(f"there is no proposal {number}", hint="airlock proposals lists those that wait")
        described = _describe(home, found)
        ask(described)
        with site.log.transaction():
            site.log.append(f"act.{verb}", {"proposal": number}, signer=site.actor, now=now)
        return described


def _describe(home: Home, proposal: Proposal) -> Described:
    return Described(proposal, _SENTENCES[proposal.act](home, proposal.subject), _named(home, proposal.person))


def _named(home: Home, keyid: str) -> str:
    holder = holder_of(home, keyid)
    return f'{short(keyid)} ("{holder}")' if holder else short(keyid)


def _people_add(home: Home, subject: Mapping[str, Any]) -> str:
    keyid = public_from_json(subject["key"], what="key").keyid
    return f"enrol {_named(home, keyid)}, whose key is {keyid}"


def _people_leave(home: Home, subject: Mapping[str, Any]) -> str:
    return f"let {_named(home, subject['person'])} leave"


def _trust_replace(home: Home, subject: Mapping[str, Any]) -> str:
    del home
    newest = hex_of(Digest(subject["roots"][-1]))
    return f"trust publisher {short(subject['publisher'])}, whose newest root has the fingerprint {newest}, instead of {short(subject['old'])}"


def _clock_reset(home: Home, subject: Mapping[str, Any]) -> str:
    del home
    return f"forget that a set issued {subject['floor']} was accepted, so that a clock before it is believed again"


def _restore(home: Home, subject: Mapping[str, Any]) -> str:
    del home
    return f"go on after a loss: epoch {subject['epoch']}, after event {subject['witnessed']['sequence']}; serving waits for the newest set"


_SENTENCES: Mapping[str, Callable[[Home, Mapping[str, Any]], str]] = {
    "people.add": _people_add,
    "people.leave": _people_leave,
    "trust.replace": _trust_replace,
    "clock.reset": _clock_reset,
    "restore": _restore,
}
