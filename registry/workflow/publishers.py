"""Publishers as a site knows them: for which names, by which roots, how new and how long valid what they signed is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tuf.api.metadata import Metadata

from registry.content.digest import hex_of
from registry.store.home import Home
from registry.store.site import PublisherRecord, Site
from registry.workflow.site import read_site

__all__ = ["KnownPublisher", "known_publisher", "list_publishers"]


@dataclass(frozen=True, slots=True)
class KnownPublisher:
    """A publisher that is or was trusted.

    ``fingerprints`` are those of its roots, version 1 first; ``expires`` is when the first of its newest metadata files does, by the file's name,
    or None before the first import.
    """

    record: PublisherRecord
    fingerprints: tuple[str, ...]
    expires: datetime | None
    expiries: dict[str, datetime]

    def days_left(self, now: datetime) -> int | None:
        """Return the whole days until what is here expires; negative afterwards."""
        return None if self.expires is None else (self.expires - now).days


def list_publishers(home: Home) -> list[KnownPublisher]:
    """Return every publisher that is or was trusted."""
    with read_site(home) as log:
        return [known_publisher(log, each) for each in log.publishers()]


def known_publisher(log: Site, record: PublisherRecord) -> KnownPublisher:
    """Return what the trusted metadata say of a publisher."""
    trusted = log.trusted_metadata(record)
    files = {"root": trusted.roots[-1], "targets": trusted.targets, "snapshot": trusted.snapshot, "timestamp": trusted.timestamp}
    expiries = {name: Metadata[Any].from_bytes(data).signed.expires for name, data in files.items() if data is not None}
    expires = min(expiries.values()) if trusted.timestamp is not None else None
    return KnownPublisher(record, tuple(map(hex_of, record.roots)), expires, expiries)
