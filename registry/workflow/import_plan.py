"""What an import would do, and what earlier ones still wait for; neither opens a part, and neither changes the site."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from registry.errors import AirlockError
from registry.media.parity import Group
from registry.store.files import storage_errors
from registry.store.home import SITE, Home
from registry.store.medium import SetFolder, find_sets
from registry.trust.refresh import refresh
from registry.workflow.actor import Credentials
from registry.workflow.arrivals import Expected, arriving_sets
from registry.workflow.bases import Bases
from registry.workflow.judging import compare_object_map, first_readable, is_here, newest_first, trusted_publisher, unseal, verify_statements
from registry.workflow.offered import read_metadata
from registry.workflow.progress import Silent
from registry.workflow.receive import Receiver
from registry.workflow.site import OpenSite, open_site, read_site

__all__ = ["ImportPlan", "PlannedSet", "import_status", "plan_import"]


@dataclass(frozen=True, slots=True)
class PlannedSet:
    """One set on the media: the releases that are new and those that are here already, and its parts.

    ``needed`` are the parts that would still have to come, ``at_hand`` those of them on these media, ``missing`` those that are not, less those that
    parity parts here or on these media make up for; ``to_read`` and ``to_write`` bytes.  ``problem`` is what the import would refuse it for.
    """

    set_id: str
    new: tuple[str, ...] = ()
    present: tuple[str, ...] = ()
    needed: tuple[int, ...] = ()
    at_hand: tuple[int, ...] = ()
    missing: tuple[int, ...] = ()
    to_read: int = 0
    to_write: int = 0
    problem: AirlockError | None = None


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """Every set on the media; bytes free on our disk; bytes per second of the last imports, None where none was measured."""

    sets: tuple[PlannedSet, ...]
    free: int
    rate: float | None

    @property
    def seconds(self) -> int | None:
        """How long it takes at the measured rate."""
        return None if self.rate is None else round(sum(each.to_read for each in self.sets) / self.rate)


def plan_import(home: Home, media: Sequence[Path], credentials: Credentials, *, now: datetime) -> ImportPlan:
    """Return what an import of these media would do.

    Raises:
        NotFound: a medium is not there or holds no set.
        FormatRefused: a folder on a medium holds what no set holds.
    """
    with open_site(home, credentials, "import --plan", unlock=True) as site:
        folders: dict[str, list[SetFolder]] = {}
        for medium in media:
            for folder in find_sets(medium):
                folders.setdefault(folder.set_id, []).append(folder)
        planned = []
        for set_id in sorted(folders, reverse=True):
            try:
                planned.append(_plan_set(site, folders[set_id], now))
            except AirlockError as refusal:
                planned.append(PlannedSet(set_id, problem=refusal))
        received, milliseconds = site.log.received_lately()
    with storage_errors(f"the store {home.root}"):
        status = os.statvfs(home.root)
    rate = received * 1000 / milliseconds if received and milliseconds else None
    return ImportPlan(tuple(planned), status.f_bavail * status.f_frsize, rate)


def import_status(home: Home) -> list[Expected]:
    """Return the sets of which parts arrived and others are still missing, newest first; no medium and no passphrase is needed."""
    home.require(SITE)
    with read_site(home) as log:
        complete = log.completed_sets()
    return [each for each in arriving_sets(home.incoming) if each.set_id not in complete]


def _plan_set(site: OpenSite, folders: list[SetFolder], now: datetime) -> PlannedSet:
    folders = newest_first(folders)
    offered = first_readable(folders, read_metadata)
    record = trusted_publisher(site, folders, offered)
    refreshed = refresh(site.log.trusted_metadata(record), offered, now=now, floor=site.log.newest_issued())
    arriving = unseal(site, folders, refreshed)
    index, seal = arriving.index, arriving.seal
    releases, refused = verify_statements(site, index, refreshed, record.namespaces)
    compare_object_map(index)
    wanted = [each for each in releases if not is_here(site, each)]
    refused += Bases(site, Silent()).look(index, wanted)
    new = [each.release.name for each in wanted]
    receiver = Receiver(site.home.incoming, site.blobs, index, seal)
    needed = receiver.missing if new else []
    there = {number for number in index.numbers if any(seal.part_name(number) in folder.files for folder in folders)}
    here = there | receiver.arrivals.done
    missing = [number for number in needed if number not in there and not _healable(index.group_of(number), needed, here)]
    return PlannedSet(
        set_id=index.set_id,
        new=tuple(new),
        present=tuple(each.release.name for each in releases if is_here(site, each)),
        needed=tuple(needed),
        at_hand=tuple(number for number in needed if number in there),
        missing=tuple(missing),
        to_read=sum(map(index.part_length, (number for number in needed if number in there))),
        to_write=receiver.bytes_to_come if new else 0,
        problem=refused[0] if refused else None,
    )


def _healable(group: Group | None, needed: Sequence[int], here: set[int]) -> bool:
    """Tell whether enough of a group is here, or on the media, to bring back the rest."""
    if group is None:
        return False
    usable = [number for number in group.data if number not in needed or number in here]
    return len(usable) + len(here.intersection(group.parity)) >= len(group.data)
