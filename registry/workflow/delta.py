"""What an export leaves out: the blobs that every site meant is known to hold, and how that is known.

A receipt says it, signed by the site.  Where nothing comes back out, a person says it: ``--assume-held`` names a set that arrived.  What was sent
never counts as what arrived otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from registry.content.digest import Digest
from registry.errors import NotFound, Usage
from registry.media.index import Held, Index, parse_index
from registry.trust.keys import short
from registry.trust.receipt import Receipt
from registry.workflow.accept_receipt import take_receipts
from registry.workflow.station import OpenStation

__all__ = ["Known", "left_out"]


@dataclass(frozen=True, slots=True)
class Known:
    """From where it is known what the sites hold: receipts (files or media), and ids of sets that are taken to have arrived."""

    receipts: Sequence[Path] = ()
    sets: Sequence[str] = ()


def left_out(station: OpenStation, sites: Iterable[str], known: Known, now: datetime) -> dict[Digest, Held]:
    """Return what every one of ``sites`` holds, by digest; receipts are put on record on the way.

    Raises:
        Usage: a site has no receipt among them and no set is assumed to be there; a set that was not finished, or not meant for all of the sites.
        NotFound: a set that this station doesn't know, or no receipt.
        AirlockError: the first receipt that is refused.
    """
    if not known.receipts and not known.sets:
        return {}
    meant = list(sites)
    assumed = _merged(_carried(station, set_id, meant) for set_id in known.sets)
    said = {site: _named(receipt) for site, receipt in _receipts(station, known.receipts, now).items()}
    silent = [site for site in meant if site not in said]
    if silent and (known.receipts and not known.sets):
        raise Usage(
            f"there is no receipt of site {', '.join(map(short, silent))}",
            why="what a site holds is known from its receipt; the receipts given are of "
            f"{', '.join(map(short, sorted(said))) or 'no site that this station knows'}",
            hint="give a receipt of every site with --since, or export once for each site\n"
            "if nothing comes back from that site: --assume-held SET, with a set that arrived there",
        )
    return _shared([{**assumed, **said.get(site, {})} for site in meant])


def _receipts(station: OpenStation, paths: Sequence[Path], now: datetime) -> dict[str, Receipt]:
    if not paths:
        return {}
    done = take_receipts(station, paths, now)
    for refusal in done.refused:
        raise refusal
    return {each.receipt.site: each.receipt for each in done.accepted}


def _named(receipt: Receipt) -> dict[Digest, Held]:
    return {each.digest: Held(each.digest, each.size, each.set_id) for each in receipt.holds}


def _carried(station: OpenStation, set_id: str, sites: Sequence[str]) -> dict[Digest, Held]:
    """Return what a set carried, and what it left out itself, as this station's own log has it."""
    index = _index(station, set_id)
    others = [site for site in sites if site not in index.sites]
    if others:
        raise Usage(
            f"set {set_id}: was not meant for site {', '.join(map(short, others))}",
            why=f"it was for {', '.join(map(short, index.sites))}",
            hint="export for the sites that it was meant for, or name another set with --assume-held",
        )
    brought = {each.digest: Held(each.digest, each.size, set_id) for each in index.objects}
    return brought | {each.digest: Held(each.digest, each.size, each.set_id or set_id) for each in index.have}


def _index(station: OpenStation, set_id: str) -> Index:
    started = station.log.started_set(set_id)
    if started is None:
        raise NotFound(f"set {set_id}: not one whose content this station knows", hint="airlock medium list shows the sets that were exported here")
    if any(each.set_id == set_id for each in station.log.unfinished_sets()):
        raise Usage(f"set {set_id}: was never finished", why="so it can't have arrived whole", hint="name a set that was: airlock medium list")
    return parse_index(station.log.document(started.index), what=f"index of set {set_id}")


def _merged(parts: Iterable[Mapping[Digest, Held]]) -> dict[Digest, Held]:
    merged: dict[Digest, Held] = {}
    for each in parts:
        merged = {**each, **merged}
    return merged


def _shared(by_site: Sequence[Mapping[Digest, Held]]) -> dict[Digest, Held]:
    """Return what all of them have, with the set that brought it where it is one and the same."""
    shared = {}
    for digest, held in by_site[0].items():
        others = [each.get(digest) for each in by_site[1:]]
        if all(other is not None and other.size == held.size for other in others):
            same = all(other is not None and other.set_id == held.set_id for other in others)
            shared[digest] = held if same else Held(digest, held.size, None)
    return shared
