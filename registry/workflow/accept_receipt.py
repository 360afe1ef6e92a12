"""Accepting a receipt: what a site says it holds, read at a station, compared with what that site said before, put on record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from registry.content.digest import Digest, digest_of
from registry.content.reference import Reference
from registry.errors import AirlockError, MediumDamaged, RecipientRefused, TrustRefused
from registry.media.receipt_file import MAX_FILE_BYTES, open_receipt_file
from registry.store.blobs import LocalBlobStore
from registry.store.files import read_limited, storage_errors
from registry.store.home import Home
from registry.store.receipt_files import find_receipts
from registry.trust.keys import short
from registry.trust.receipt import Holding, Receipt, open_receipt
from registry.trust.statement import parse_statement
from registry.workflow.pin import pinned_manifest, read_pins
from registry.workflow.station import OpenStation, Passphrase, open_station

__all__ = ["AcceptedHere", "Accepting", "accept_receipts", "take_receipts"]

_MAX_SETS = 2000  # an event has 64 KiB; which older sets came back, the receipts before said


@dataclass(frozen=True, slots=True)
class AcceptedHere:
    """A receipt that counts here; ``new`` unless it was accepted before.

    ``unknown`` are the blobs that no statement and no pin of this station names; ``within_reach`` are pinned
    models that are not under the site's control although the site has their large blobs.
    """

    path: Path
    receipt: Receipt
    new: bool
    unknown: tuple[Holding, ...]
    within_reach: tuple[Reference, ...]


@dataclass(frozen=True, slots=True)
class Accepting:
    """What became of the receipts: those that count, and what was refused beside them."""

    accepted: tuple[AcceptedHere, ...]
    refused: tuple[AirlockError, ...]


def accept_receipts(home: Home, paths: Sequence[Path], passphrase: Passphrase, *, now: datetime) -> Accepting:
    """Accept the newest receipt of each site at ``paths``: files, or media.

    Raises:
        NotFound: nothing there.
        StoreFailed: our own disk.
    """
    with open_station(home, passphrase, "receipt") as station:
        return take_receipts(station, paths, now)


def take_receipts(station: OpenStation, paths: Sequence[Path], now: datetime) -> Accepting:
    """Accept receipts at a station that is open; receipts for other stations are passed over where there is one for this one."""
    newest: dict[str, tuple[Path, Receipt]] = {}
    refused: list[AirlockError] = []
    for path in (file for each in paths for file in _found(each)):
        try:
            receipt = _open(station, path)
        except AirlockError as refusal:
            refused.append(refusal)
            continue
        before = newest.get(receipt.site)
        if before is None or before[1].checkpoint[0] < receipt.checkpoint[0]:
            newest[receipt.site] = path, receipt
    accepted = []
    for path, receipt in newest.values():
        try:
            new = _record(station, receipt, str(path), now)
        except AirlockError as refusal:
            refused.append(refusal)
            continue
        accepted.append(AcceptedHere(path, receipt, new, _unknown(station, receipt), _within_reach(station.home, receipt)))
    grave = [each for each in refused if not isinstance(each, RecipientRefused)]
    return Accepting(tuple(accepted), tuple(grave if accepted or grave else refused))


def _found(path: Path) -> list[Path]:
    with storage_errors(f"the medium {path}", kind=MediumDamaged):
        return find_receipts(path)


def _open(station: OpenStation, path: Path) -> Receipt:
    what = str(path)
    with storage_errors(what, kind=MediumDamaged):
        data = read_limited(path, MAX_FILE_BYTES, what=what)
    return open_receipt(open_receipt_file(data, station.identities, what=what), what=what)


def _record(station: OpenStation, receipt: Receipt, what: str, now: datetime) -> bool:
    """Put a receipt on record unless it is already; refuse one that contradicts what its site said before."""
    _refuse_stranger(station, receipt, what)
    known = next((each for each in station.log.receipts() if each.site == receipt.site), None)
    sequence, checkpoint = receipt.checkpoint
    if known is not None and (known.sequence, known.checkpoint) == (sequence, checkpoint):
        return False
    if known is not None and sequence <= known.sequence:
        found = f"this one says {sequence} events" if sequence < known.sequence else f"this one says another event {sequence}"
        raise TrustRefused(
            f"{what}: the site's log is behind what it said before",
            why=f"its receipt of {known.made} said {known.sequence} events, {found}\n"
            "an older copy of its home was put back, or this receipt is an old one",
            hint="ask the site for a fresh one: airlock receipt --to MEDIUM\n"
            "if that is refused as well, its home is an older copy: the site runs airlock restore, and until then export without --since",
            details={"site": receipt.site},
        )
    payload = receipt.to_bytes()
    subject = {
        "site": receipt.site,
        "sequence": sequence,
        "checkpoint": checkpoint,
        "made": receipt.made,
        "sets": sorted(each.set_id for each in receipt.sets)[-_MAX_SETS:],
        "receipt": digest_of(payload),
    }
    with station.log.transaction():
        station.log.append("receipt.accept", subject, signer=station.keys["actor"], now=now, documents=[payload])
    return True


def _refuse_stranger(station: OpenStation, receipt: Receipt, what: str) -> None:
    if station.log.recipient(receipt.site) is None:
        raise TrustRefused(
            f"{what}: of a site that is not known here",
            why=f"site {short(receipt.site)} signed it, and no site.pub of that site was ever accepted",
            hint="get its site.pub and compare the fingerprint by phone, then: airlock recipient accept site.pub --fingerprint DIGITS",
            details={"site": receipt.site},
        )


def _unknown(station: OpenStation, receipt: Receipt) -> tuple[Holding, ...]:
    stated = (parse_statement(station.log.document(each.statement), what=f"statement of {each.reference}") for each in station.log.releases())
    known = {blob.digest for release in stated for blob in release.carried}
    known |= {blob.digest for each in read_pins(station.home).values() for blob in pinned_manifest(station.home, each)[1].blobs}
    return tuple(each for each in receipt.holds if each.digest not in known)


def _within_reach(home: Home, receipt: Receipt) -> tuple[Reference, ...]:
    """Return the pinned models whose manifest the site has not, while every blob that pinning left at its source lies there."""
    held: dict[Digest, int] = {each.digest: each.size for each in receipt.holds}
    kept = LocalBlobStore(home.blobs)
    reach = []
    for each in read_pins(home).values():
        _, manifest = pinned_manifest(home, each)
        large = [blob for blob in manifest.blobs if not kept.holds(blob.digest, blob.size)]
        if each.manifest not in held and large and all(held.get(blob.digest) == blob.size for blob in large):
            reach.append(each.reference)
    return tuple(reach)
