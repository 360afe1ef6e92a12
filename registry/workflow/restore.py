"""Restore: a site goes on after its database was lost or put back from an older copy; two people answer for it, and serving waits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from registry.errors import PolicyRefused, StoreFailed
from registry.store.home import SITE, Home
from registry.store.site import Site
from registry.trust.keys import public_to_json
from registry.workflow.actor import Credentials
from registry.workflow.proposals import Described, propose
from registry.workflow.site import open_site, publish, refuse_stranger
from registry.workflow.station import open_keys
from registry.workflow.witness import check_witness, is_lost, site_id, witness

__all__ = ["Restoring", "restore"]


@dataclass(frozen=True, slots=True)
class Restoring:
    """An epoch that was opened after event ``witnessed``; ``proposal`` is what the second person confirms, None until there is a second person."""

    epoch: int
    witnessed: int
    proposal: Described | None


def restore(home: Home, credentials: Credentials, *, now: datetime) -> Restoring:
    """Open a new epoch of the log if it lost something, and propose to go on.

    A log that is behind the published view continues after the last number that was published.  Where it agrees, because the whole home was put
    back from an older copy, the epoch opens only when the second person confirms.

    Raises:
        PolicyRefused: it was proposed already, or the key belongs to nobody who may act here.
        StoreFailed: the database can't be read, or is another site's.
    """
    home.require(SITE)
    _open_epoch(home, credentials, now)
    with open_site(home, credentials, "restore") as site:
        epoch, head = site.log.epoch(), site.log.head()
        assert head is not None
        waiting = next((each.seq for each in site.log.proposals() if each.act == "restore" and each.state == "waiting"), None)
        if waiting is not None:
            raise PolicyRefused("the restore is proposed already", hint=f"another person runs: airlock confirm {waiting} --actor DIR")
        if epoch is not None and epoch.confirmed is not None:
            raise PolicyRefused("this site is being restored already", hint="airlock import MEDIUM, with the newest set of each publisher")
        number, witnessed = (epoch.epoch, {"sequence": epoch.witnessed}) if epoch else (site.log.next_epoch(), _checkpoint(head.seq, head.digest))
        if epoch is not None and sum(each.left is None for each in site.log.people()) < 2:
            return Restoring(number, witnessed["sequence"], None)
        return Restoring(number, witnessed["sequence"], propose(site, "restore", {"epoch": number, "witnessed": witnessed}, now=now))


def _open_epoch(home: Home, credentials: Credentials, now: datetime) -> None:
    """Bring the log up to the last number that was published, if it is behind: serving ends here, until two people have agreed."""
    with home.locked("restore"):
        view = witness(home)
        witnessed = view.sequence if view is not None and view.site == site_id(home) else 0
        if is_lost(home):
            _begin_anew(home, credentials, witnessed, now)
            return
        try:
            check_witness(home)
        except StoreFailed:
            log = Site(home.database)
            try:
                head = log.head()
                if log.site() != site_id(home) or (head is not None and head.seq >= witnessed):
                    raise  # not a loss: another site's database or view
                actor = credentials.own() if credentials.own else open_keys(home, credentials.passphrase())[0]["actor"]
                refuse_stranger(log, actor)
                with log.transaction():
                    subject = {"epoch": log.next_epoch(), "witnessed": {"sequence": witnessed}}
                    log.append("epoch.open", subject, signer=actor, now=now, witnessed=witnessed)
                publish(home, log)
            finally:
                log.close()


def _begin_anew(home: Home, credentials: Credentials, witnessed: int, now: datetime) -> None:
    """Begin an empty log with the site's own key: nobody else is known any more."""
    keys, _ = open_keys(home, credentials.passphrase())
    log = Site(home.database, create=True)
    try:
        with log.transaction():
            subject = {"actor": public_to_json(keys["actor"].public_key), "site": keys["receipt"].public_key.keyid}
            found = {"witnessed": {"sequence": witnessed}}
            log.append("site.init", subject | found, signer=keys["actor"], now=now, witnessed=witnessed)
            log.append("epoch.open", {"epoch": log.next_epoch(), **found}, signer=keys["actor"], now=now)
        publish(home, log)
    finally:
        log.close()


def _checkpoint(sequence: int, digest: str) -> dict[str, Any]:
    return {"sequence": sequence, "digest": digest}
