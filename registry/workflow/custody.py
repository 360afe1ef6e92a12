"""Custody: which medium is where, who handed it over, when it may go; the same at a station as at a site."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime

from securesystemslib.signer import Signer

from registry.errors import NotFound, PolicyRefused
from registry.media.labels import parse_medium_label, parse_serial
from registry.store.custody import Medium
from registry.store.home import SITE, Home
from registry.store.site import Site
from registry.store.station import Station
from registry.workflow.actor import Credentials
from registry.workflow.custody_notes import Note, delete_notes, noted, read_notes, write_note
from registry.workflow.site import open_site, read_site
from registry.workflow.station import open_station, read_station
from registry.workflow.tracked import Tracked, chosen, labelled, of_set, tracked

__all__ = ["Retirement", "forget_hand_overs", "list_media", "receive_medium", "retire_medium"]


@dataclass(frozen=True, slots=True)
class Retirement:
    """What retiring a medium did; ``changed`` is False where it was retired so already."""

    medium: Tracked
    method: str
    changed: bool


def list_media(home: Home, ending: str = "") -> list[Tracked]:
    """Return every medium, or those of the set whose id ends so.

    Raises:
        NotFound: no set has media whose id ends so.
        StoreFailed: the notes can't be read.
    """
    notes = read_notes(home)
    with _reading(home) as log:
        found = of_set(tracked(log), ending)
    if ending and not found:
        raise NotFound(f"no medium of set {ending} is known here", hint="airlock medium list")
    return [Tracked(each.medium, each.sites, each.arrived, tuple(noted(hand_over, notes) for hand_over in each.medium.hand_overs)) for each in found]


def receive_medium(
    home: Home, label: str, credentials: Credentials, *, ending: str = "", serial: str = "", note: Note | None = None, now: datetime
) -> Medium:
    """Put on record that a medium came in or changed hands; return it.

    A site may receive a medium that it hasn't read: what is on it is known once it is imported.

    Args:
        home: a station's or a site's.
        label: what is written on the medium, in any letter case.
        credentials: who acts.
        ending: the end of the set's id, where several sets have a medium of this label.
        serial: the device's serial number.
        note: who handed it over and who took it.
        now: the time.

    Raises:
        NotFound: a station wrote no medium of this label.
        Usage: several sets have one.
    """
    serial = parse_serial(serial, what=f"medium {parse_medium_label(label, what='medium')}")
    with _writing(home, credentials, "medium receive") as (log, signer):
        found = _in_use(log, label, ending)
        medium = found[0].medium if found else None
        subject = {"set": medium.set_id if medium else "", "label": medium.label if medium else label, "serial": serial}
        passed = {hand_over.seq for each in log.media() for hand_over in each.hand_overs}
        with log.transaction():
            event = log.append("medium.receive", {**subject, "note": note.digest if note else ""}, signer=signer, now=now)
            write_note(home, event.seq, note, passed)  # before the commit: an event without its note would look as if somebody had deleted it
        return next(each for each in log.media() if (each.set_id, each.label) == (subject["set"], subject["label"]))


def retire_medium(
    home: Home,
    label: str,
    credentials: Credentials,
    confirm: Callable[[Tracked], None],
    *,
    method: str,
    without_receipt: bool = False,
    ending: str = "",
    now: datetime,
) -> Retirement:
    """Put on record that a medium is out of use, and how.

    ``confirm`` is called before anything changes; ``method`` is one of ``METHODS``.  The same again does nothing; another method is put on record.

    Raises:
        NotFound: no medium of this label.
        Usage: several sets have one.
        PolicyRefused: the set is not known to be complete at every site it was sealed to, and ``without_receipt`` is not said.
    """
    with _writing(home, credentials, "medium retire") as (log, signer):
        medium = chosen(tracked(log), label, ending)[0]
        if medium.medium.method == method:
            return Retirement(medium, method, changed=False)
        if medium.needed and not without_receipt and not medium.medium.retired:
            raise _still_needed(medium, f"--method {method}{f' --set {ending}' if ending else ''}", at_site=isinstance(log, Site))
        confirm(medium)
        subject = {"set": medium.medium.set_id, "label": medium.medium.label, "method": method}
        with log.transaction():
            log.append("medium.retire", subject, signer=signer, now=now)
    return Retirement(medium, method, changed=True)


def forget_hand_overs(home: Home, label: str, credentials: Credentials, confirm: Callable[[Tracked], None], *, ending: str = "") -> int:
    """Delete the notes on a medium's hand-overs, with the salt of their digests; return how many there were.  The log stays as it is.

    Raises:
        NotFound: no medium of this label.
        Usage: several sets have one.
    """
    with _writing(home, credentials, "medium forget") as (log, _):
        medium = chosen(tracked(log), label, ending)[0]
        confirm(medium)
        return delete_notes(home, {each.seq for each in medium.medium.hand_overs})


def _in_use(log: Station | Site, label: str, ending: str) -> list[Tracked]:
    """Return the media that a hand-over of ``label`` is about: none where a site receives what it has not read."""
    media = tracked(log)
    found = labelled(media, label, ending)
    if isinstance(log, Site) and not ending and all(each.medium.retired for each in found):
        return []
    return chosen(media, label, ending)


def _still_needed(medium: Tracked, options: str, *, at_site: bool) -> PolicyRefused:
    each = medium.medium
    again = f"airlock medium retire {each.label} {options} --without-receipt"
    if at_site:
        what = f"set {each.set_id} is not complete here" if each.set_id else "it was never read here"
        return PolicyRefused(f"medium {each.label}: may still be needed", why=what, hint=f"airlock import MEDIUM\nor, if it is not needed: {again}")
    sites, awaited = (", ".join(site[:8] for site in each) for each in (medium.sites, medium.awaited))
    why = f"sealed to site {sites}; no receipt that names it yet from {awaited}"
    return PolicyRefused(
        f"medium {each.label}: no receipt says that set {each.set_id} has arrived",
        why=why if medium.sites else "this log doesn't know for which sites the set was made",
        hint=f"at the site: airlock receipt --to MEDIUM; then here: airlock receipt MEDIUM\nor, if you know that it is not needed: {again}",
    )


@contextmanager
def _writing(home: Home, credentials: Credentials, command: str) -> Iterator[tuple[Station | Site, Signer]]:
    if home.kind() == SITE:
        with open_site(home, credentials, command) as site:
            yield site.log, site.actor
    else:
        with open_station(home, credentials.passphrase, command) as station:
            yield station.log, station.keys["actor"]


def _reading(home: Home) -> AbstractContextManager[Station | Site]:
    return read_site(home) if home.kind() == SITE else read_station(home)
