"""Preparing: the list of releases is drafted and carried to those who must sign it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from registry.content.pins import Pin
from registry.errors import NotFound
from registry.store.home import Home
from registry.trust.drafts import Lacking
from registry.trust.roles import roles_of
from registry.workflow.drafting import incomplete_roles, refuse_lacking, still_lacking
from registry.workflow.pin import read_pins
from registry.workflow.publication import PinnedRelease, number_releases, prepare_targets
from registry.workflow.signing import Request, drafts_on, write_request
from registry.workflow.station import OpenStation, Passphrase, open_station

__all__ = ["Prepared", "prepare", "prepare_release", "require_root"]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A list that was carried to a medium, the releases in it that are pinned now, and what it still lacks."""

    folder: Path
    version: int
    releases: tuple[PinnedRelease, ...]
    missing: tuple[Lacking, ...]


def require_root(station: OpenStation) -> None:
    """Return if the root of trust is complete, or say which keys and signatures it lacks."""
    if station.log.roots():
        return
    pending = station.log.draft("root")
    lacks = incomplete_roles(roles_of(pending[1])) if pending else []
    if lacks:
        hint = (
            "each holder runs: airlock key new NAME; airlock key show NAME --to FILE\nhere: airlock root add-key FILE --role ROLE; airlock root sign"
        )
        raise refuse_lacking(station.home, "the root of trust is not complete: keys are missing", lacks, hint)
    missing = still_lacking(station.log, "root", pending[1]) if pending else []
    raise refuse_lacking(
        station.home, "the root of trust is not signed yet", missing, "airlock root sign; for signers elsewhere: airlock root sign MEDIUM"
    )


def prepare(station: OpenStation, pins: Sequence[Pin], now: datetime, others: Iterable[bytes]) -> tuple[list[PinnedRelease], tuple[int, bytes]]:
    """Number the releases of ``pins``, and gather signatures on the list that names them: one transaction."""
    with station.log.transaction():
        return number_releases(station, pins, now), prepare_targets(station, now, others)


def prepare_release(home: Home, medium: Path, passphrase: Passphrase, *, now: datetime) -> Prepared:
    """Write the list of everything pinned to ``medium`` to be signed; take over the signatures that lie there already."""
    pins = list(read_pins(home).values())
    if not medium.is_dir():
        raise NotFound(f"{medium}: not a directory", hint="name the directory where the medium is mounted, such as /media/usb")
    with open_station(home, passphrase, "release prepare") as station:
        require_root(station)
        releases, (version, targets) = prepare(station, pins, now, drafts_on(medium, "targets"))
        statements = tuple(station.log.document(each.statement) for each in station.log.releases())
        folder = write_request(medium, Request("targets", targets, station.log.roots(), statements))
        missing = still_lacking(station.log, "targets", targets)
    return Prepared(folder, version, tuple(releases), tuple(missing))
