"""Making a receipt: what this site holds, signed, sealed to the stations of its publishers, on its way out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tuf.api.metadata import Metadata

from registry.content.digest import Digest, digest_of
from registry.errors import MediumDamaged, NotFound, StoreFailed
from registry.media.receipt_file import seal_receipt
from registry.store.files import replace_file, storage_errors
from registry.store.home import Home
from registry.store.receipt_files import new_receipt_path
from registry.store.site import PublisherRecord
from registry.store.station_keys import station_keys_in
from registry.trust.receipt import CompletedSet, Holding, PublisherState, Receipt, sign_receipt
from registry.trust.roles import format_time
from registry.trust.statement import parse_statement
from registry.workflow.actor import Credentials
from registry.workflow.adopted import read_adopted
from registry.workflow.site import OpenSite, open_site
from registry.workflow.stations import stations_of

__all__ = ["MadeReceipt", "make_receipt"]


@dataclass(frozen=True, slots=True)
class MadeReceipt:
    """A receipt and where it lies now; ``readers`` are the publishers whose stations can open it, ``shut_out`` those whose key is not known here.

    ``changed`` are files that were adopted and no longer look as they did: the receipt does not name them.
    """

    path: Path
    receipt: Receipt
    digest: Digest
    readers: tuple[str, ...]
    shut_out: tuple[str, ...]
    changed: tuple[Path, ...]


def make_receipt(home: Home, credentials: Credentials, to: Path, *, now: datetime) -> MadeReceipt:
    """Write a receipt to ``to``: a medium (a directory that is there) or a file.

    Raises:
        NotFound: no station's key is known here yet, or there is no such directory.
        MediumDamaged: the medium is full, read-only or gone.
    """
    with open_site(home, credentials, "receipt", unlock=True) as site:
        stations = stations_of(site.log)
        trusted = [each.publisher for each in site.log.publishers() if each.trusted]
        if not stations:
            raise NotFound(
                "no station is known here that could open a receipt",
                why="a station's key comes with its sets, and none with one was imported from a trusted publisher",
                hint="airlock import MEDIUM   # a set by that station; it can be one of --metadata-only",
            )
        receipt, changed = _state(site, now)
        payload = receipt.to_bytes()
        data = seal_receipt(sign_receipt(receipt, site.keys["receipt"]), stations.values())
        subject = {"receipt": digest_of(payload), "publishers": sorted(stations), "objects": len(receipt.holds)}
        # Inside the transaction: a receipt that could not be written was never made, and one that went out is on record, word for word.
        with site.log.transaction():
            site.log.append("receipt.make", subject, signer=site.actor, now=now, documents=[payload])
            with storage_errors(f"the medium {to}", kind=MediumDamaged):
                path = new_receipt_path(to, site.site, now)
                replace_file(path, data)
    return MadeReceipt(path, receipt, digest_of(payload), tuple(sorted(stations)), tuple(sorted(set(trusted) - set(stations))), changed)


def _state(site: OpenSite, now: datetime) -> tuple[Receipt, tuple[Path, ...]]:
    """Return what the site can say of itself now, and the adopted files that changed."""
    head = site.log.head()
    if head is None:
        raise StoreFailed(f"{site.log.path}: the log is empty", hint="put the home's newest backup back")
    completed = site.log.completed_sets()
    releases = site.log.releases()
    seen = [*completed, *(each.set_id for each in releases), *(each.set_id for each in station_keys_in(site.log.db).values())]
    holds, changed = _holds(site)
    receipt = Receipt(
        site=site.site,
        receipt_key=site.keys["receipt"].public_key,
        made=format_time(now),
        checkpoint=(head.seq, head.digest),
        publishers=tuple(_publisher_state(site, each) for each in site.log.publishers() if each.trusted),
        sets=tuple(CompletedSet(set_id, header) for set_id, header in completed.items()),
        newest_set=max(seen, default=None),
        holds=tuple(holds.values()),
    )
    return receipt, changed


def _holds(site: OpenSite) -> tuple[dict[Digest, Holding], tuple[Path, ...]]:
    """Return the blobs in the store that belong to releases, with the oldest set that named each, then those that were adopted."""
    holds: dict[Digest, Holding] = {}
    for release in sorted(site.log.releases(), key=lambda each: each.set_id):
        for blob in parse_statement(site.log.document(release.statement), what=f"statement of {release.name}").carried:
            if blob.digest not in holds and site.blobs.holds(blob.digest, blob.size):
                holds[blob.digest] = Holding(blob.digest, blob.size, release.set_id)
    changed = []
    for digest, file in read_adopted(site.home).items():
        if digest in holds:
            continue
        if file.is_unchanged():
            holds[digest] = Holding(digest, file.size, None)
        else:
            changed.append(file.path)
    return holds, tuple(sorted(changed))


def _publisher_state(site: OpenSite, record: PublisherRecord) -> PublisherState:
    trusted = site.log.trusted_metadata(record)
    timestamp, snapshot, targets = (None if data is None else _version(data) for data in (trusted.timestamp, trusted.snapshot, trusted.targets))
    return PublisherState(
        record.publisher, len(trusted.roots), timestamp, snapshot, targets, None if record.issued is None else format_time(record.issued)
    )


def _version(data: bytes) -> int:
    return int(Metadata[Any].from_bytes(data).signed.version)
