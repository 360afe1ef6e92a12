"""Status: what waits for somebody, what ends soon, and what would be lost with one key; each with the next command.  No passphrase is needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tuf.api.metadata import Metadata

from registry.store.home import SITE, Home
from registry.store.releases import QUARANTINE, WITHDRAWN
from registry.store.site import Site
from registry.store.station import Station
from registry.trust.drafts import Lacking
from registry.trust.keys import short
from registry.trust.roles import format_time, roles_of
from registry.workflow.drafting import incomplete_roles, still_lacking
from registry.workflow.holders import holder_of
from registry.workflow.proposals import list_proposals
from registry.workflow.publishers import known_publisher
from registry.workflow.site import read_site
from registry.workflow.station import read_station

__all__ = ["Notice", "status"]

_SOON = timedelta(days=60)
_SPOKEN = {"root": "root", "targets": "release"}


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to know or to do: ``kind`` (``waits``, ``ends`` or ``single``), a sentence, and the next command, empty where there is none."""

    kind: str
    sentence: str
    command: str


def status(home: Home, *, now: datetime) -> list[Notice]:
    """Return everything that somebody should know or do at a station or a site: first what waits, then what ends, then single points of failure.

    Raises:
        StoreFailed: a site's log is behind what it published, or lost.
    """
    if home.kind() == SITE:
        with read_site(home) as log:
            found = [*_restoring(log), *_waiting_inside(home, log), *_ends_inside(log, now), *_single_person(log)]
    else:
        with read_station(home) as station:
            found = [*_waiting_outside(home, station), *_ends_outside(station, now), *_single_keys(home, station)]
    return found


def _restoring(log: Site) -> Iterator[Notice]:
    epoch = log.epoch()
    if epoch is not None and epoch.confirmed is None:
        yield Notice("waits", f"this site lost what was published up to event {epoch.witnessed}; nothing is served", "airlock restore")
    elif epoch is not None:
        yield Notice(
            "waits", "this site is being restored: nothing is served until each publisher's newest set was imported", "airlock import MEDIUM"
        )


def _waiting_inside(home: Home, log: Site) -> Iterator[Notice]:
    for described in list_proposals(home):
        number = described.proposal.seq
        yield Notice("waits", f"{described.by} proposes to {described.sentence}", f"airlock confirm {number} --actor DIR")
    for each in log.releases():
        at = f"{each.reference}@{each.number}"
        if each.withdrawal is not None and each.state != WITHDRAWN:
            yield Notice("waits", f"{each.name} ({each.state}) was withdrawn by its publisher: {each.withdrawal.why}", f"airlock withdraw {at}")
        elif each.state == QUARANTINE:
            yield Notice("waits", f"{each.name} is in quarantine since {each.changed}", f"airlock approve {at}")


def _ends_inside(log: Site, now: datetime) -> Iterator[Notice]:
    for record in log.publishers():
        if not record.trusted:
            continue
        ends = [(name, expires) for name, expires in known_publisher(log, record).expiries.items() if name in _SPOKEN or record.timestamp]
        for name, expires in ends:
            # Snapshot and timestamp end together; one line says it.
            if name != "snapshot" and expires - now < _SOON:
                what = "the newest set imported" if name == "timestamp" else f"{name}.json"
                yield Notice(
                    "ends",
                    f"publisher {short(record.publisher)}: {what} {_until(expires, now)}; what is here is served all the same",
                    "airlock import MEDIUM   # a fresh export",
                )


def _single_person(log: Site) -> Iterator[Notice]:
    active = [each for each in log.people() if each.left is None]
    if len(active) == 1:
        yield Notice("single", "only one person may act here; nothing that takes two can be done", "airlock people add LABEL --key FILE.pub")
    elif len(active) == 2:
        yield Notice(
            "single",
            "only two people may act here: without one of them nothing that takes two can be done",
            "airlock people add LABEL --key FILE.pub",
        )


def _waiting_outside(home: Home, log: Station) -> Iterator[Notice]:
    root, targets = log.draft("root"), log.draft("targets")
    if root is not None:
        keys = incomplete_roles(roles_of(root[1]))
        for each in keys:
            yield Notice(
                "waits",
                f"the root needs {each.needed} keys for {each.role}, it has {len(each.have)}",
                f"airlock root add-key FILE --role {each.role}",
            )
        if not keys:
            for each in still_lacking(log, "root", root[1]):
                yield Notice("waits", f"root {root[0]} {_signatures(home, each)}", "airlock root sign MEDIUM")
    if targets is not None and log.roots():
        for each in still_lacking(log, "targets", targets[1]):
            yield Notice("waits", f"list {targets[0]} of releases {_signatures(home, each)}", "airlock release prepare MEDIUM")


def _signatures(home: Home, each: Lacking) -> str:
    return (
        f"lacks {each.missing} of {each.needed} signature(s) of {each.role}; these may sign: {', '.join(_named(home, keyid) for keyid in each.could)}"
    )


def _ends_outside(log: Station, now: datetime) -> Iterator[Notice]:
    roots, targets, timestamp = log.roots(), log.metadata("targets"), log.metadata("timestamp")
    files: list[tuple[str, bytes, str]] = []
    if roots:
        files.append(("the root of trust", roots[-1], "airlock root set-threshold root=N   # drafts a new root, also with the same N"))
    if targets is not None:
        files.append(("the list of releases", targets[1], "airlock export --to MEDIUM --recipient site.pub"))
    if timestamp is not None:
        files.append(("the delivery window of the newest set", timestamp[1], "airlock export --to MEDIUM --recipient site.pub"))
    for what, data, command in files:
        expires = Metadata[Any].from_bytes(data).signed.expires
        if expires - now < _SOON:
            yield Notice("ends", f"{what} {_until(expires, now)}", command)


def _single_keys(home: Home, log: Station) -> Iterator[Notice]:
    roots = log.roots()
    for role, keys in roles_of(roots[-1]).items() if roots else ():
        if role not in _SPOKEN:
            continue  # the station's own key is one by design, and the root replaces it
        name, count = _SPOKEN[role], len(keys.keys)
        command = f"airlock root add-key FILE --role {name}"
        if count == 1:
            holder = holder_of(home, keys.keys[0].keyid)
            yield Notice("single", f"only one {name} key; its holder is {holder or 'not noted'}", command)
        elif count == keys.threshold:
            yield Notice("single", f"all {count} {name} keys must sign: if one is lost, nothing can be signed", command)


def _named(home: Home, keyid: str) -> str:
    holder = holder_of(home, keyid)
    return f'{short(keyid)} ("{holder}")' if holder else short(keyid)


def _until(expires: datetime, now: datetime) -> str:
    days = (expires - now).days
    return f"ends {format_time(expires)}, in {days} day(s)" if expires > now else f"ended {format_time(expires)}"
