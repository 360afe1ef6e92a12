"""Repairing: the parts that a site asked for again are sealed anew and written to a medium, and nothing else of their set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from registry.content.digest import Digest, digest_of
from registry.errors import AirlockError, FormatRefused, NotFound, RecipientRefused, TrustRefused
from registry.media.index import Index, parse_index
from registry.media.seal import Seal
from registry.media.sets import metadata_names, parse_header
from registry.store.home import Home
from registry.store.repair_files import read_repair
from registry.store.station import StartedSet, Station
from registry.trust.envelope import INDEX_TYPE, envelop
from registry.trust.keys import short
from registry.trust.refresh import OfferedMetadata, TrustedMetadata, refresh
from registry.trust.repair import RepairRequest, open_repair
from registry.trust.statement import parse_statement
from registry.workflow.found_sources import found_sources
from registry.workflow.medium_notes import repair_json, repair_readme
from registry.workflow.mending import Mending, objects_for
from registry.workflow.offered import seal_of
from registry.workflow.preparing import require_root
from registry.workflow.progress import Progress
from registry.workflow.publication import newest_metadata, sign_metadata
from registry.workflow.repair_folder import RepairFolder, find_folder
from registry.workflow.sheets import sheet_for, write_sheets
from registry.workflow.slots import open_slots
from registry.workflow.station import OpenStation, Passphrase, open_station

__all__ = ["Repaired", "Target", "repair"]

_SPARE_BYTES = 1 << 20  # notes, directory entries
_FRESH = timedelta(days=30)  # a repair must have the time to travel, too


@dataclass(frozen=True, slots=True)
class Target:
    """Where a repair goes: a mounted medium, its label ("": one of its own), read back or not."""

    medium: Path
    label: str = ""
    read_back: bool = True


@dataclass(frozen=True, slots=True)
class Repaired:
    """What was written: which parts, for whom, where; ``medium`` is 0 unless it went on one of the set's own media.

    ``size`` counts the bytes of the parts' files; ``withdrawn`` names the releases in the set that were withdrawn since.
    """

    set_id: str
    site: str
    parts: tuple[int, ...]
    size: int
    folder: Path
    medium: int
    label: str
    sealed: bool
    withdrawn: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A request that this station can answer, and its set as it was begun."""

    request: RepairRequest
    digest: Digest
    index: Index
    header: bytes
    seal: Seal

    @property
    def names(self) -> dict[int, str]:
        """The names of the parts asked for, by number."""
        return {number: self.seal.part_name(number) for number in self.request.parts}

    @property
    def sizes(self) -> dict[str, int]:
        """The bytes of their files, by name."""
        return {name: self.seal.size(self.index.part_length(number)) for number, name in self.names.items()}


def repair(home: Home, path: Path, target: Target, passphrase: Passphrase, *, now: datetime, progress: Progress) -> Repaired:
    """Answer the request at ``path``, a file or a medium.

    Nothing is written before every source was read and compared.  What an interrupted run wrote stays; the same command continues.

    Raises:
        NotFound: no request, no such set here, or its content is not pinned any more.
        FormatRefused, SignatureRefused, RecipientRefused: not a request that a recipient of this set signed, or for parts that it doesn't have.
        TrustRefused: a source no longer holds what was pinned.
        MediumDamaged: the medium is full, read-only, gone, or gives back other bytes than were written.
    """
    file, data = read_repair(path)
    request = open_repair(data, what=str(file))
    open_slots([target.medium], (), None)
    with open_station(home, passphrase, "export") as station:
        require_root(station)
        wanted = _answerable(station, request, digest_of(data))
        objects = objects_for(wanted.index, request.parts)
        sources = found_sources(home, wanted.index, objects)
        folder = find_folder(target.medium, request.set_id)
        folder.refuse_full(wanted.sizes, _SPARE_BYTES + 2 * len(wanted.index.to_bytes()))
        with Mending(wanted.index, wanted.seal, sources, request.parts) as mending:
            with progress.task("checking the sources", sum(each.size for each in objects)) as advance:
                mending.check(advance)
            folder = _prepared(station, wanted, folder, target, now)
            sums = _written(mending, wanted, folder, target, progress)
        return _noted(station, wanted, folder, target, sums=sums, now=now)


def _answerable(station: OpenStation, request: RepairRequest, digest: Digest) -> _Wanted:
    what, fresh = f"set {request.set_id}", "send a fresh export instead: airlock export --to MEDIUM --recipient site.pub"
    started = station.log.started_set(request.set_id)
    if started is None:
        why = "it is another station's, or this station was recovered since and knows no set from before"
        raise NotFound(f"{what}: was not begun by this station", why=why, hint=fresh)
    _refuse_stranger(station.log, started, request)
    header = station.log.document(started.header)
    index = parse_index(station.log.document(started.index), what=f"{what}: index")
    seal = seal_of(parse_header(header, what="set.json"), station.identities)
    if seal is None:
        raise RecipientRefused(f"{what}: this station can't open it any more", why="its own key for it is not in the keystore", hint=fresh)
    if beyond := [number for number in request.parts if number not in index.numbers]:
        raise FormatRefused(
            f"{what}: the request is for parts that it doesn't have",
            why=f"it has {len(index.numbers)} part(s), asked for is {', '.join(map(str, beyond[:12]))}",
            hint="ask the site for a fresh request: airlock repair-request --to MEDIUM",
        )
    return _Wanted(request, digest, index, header, seal)


def _refuse_stranger(log: Station, started: StartedSet, request: RepairRequest) -> None:
    if request.site in started.sites and log.recipient(request.site) is not None:
        return
    raise RecipientRefused(
        f"set {started.set_id}: was not made for the site that asks",
        why=f"asked by site {short(request.site)}; the set is for {', '.join(map(short, started.sites))}",
        hint="airlock recipient list shows the sites that are known here",
    )


def _prepared(station: OpenStation, wanted: _Wanted, folder: RepairFolder, target: Target, now: datetime) -> RepairFolder:
    """Return the set's folder with everything in it but the parts: one that a site would take today stays as it is."""
    if folder.is_good(wanted.index, wanted.header, wanted.seal, station.log.roots(), now + _FRESH):
        folder.sweep()
        return folder
    metadata, (_, label) = _current_metadata(station, now), folder.place((), target.label)
    index = envelop(wanted.index.to_bytes(), INDEX_TYPE, [station.keys["station"]])
    files = (*metadata.roots, metadata.timestamp, metadata.snapshot, metadata.targets)
    folder.write_small(
        {
            "README.txt": repair_readme(wanted.index, wanted.seal, wanted.request.parts),
            "set.json": wanted.header,
            "medium.json": repair_json(wanted.seal, label, wanted.request.parts),
            wanted.seal.index_name: wanted.seal.index_file(index),
            **dict(zip(metadata_names(len(metadata.roots)), files, strict=True)),
        }
    )
    return find_folder(folder.medium, folder.set_id)


def _current_metadata(station: OpenStation, now: datetime) -> OfferedMetadata:
    """Return what this station says now; snapshot and timestamp are signed anew where what was signed last is not good for long."""
    newest = newest_metadata(station)
    assert newest is not None  # a set was begun
    trusted = TrustedMetadata(station.log.roots())
    try:
        refresh(trusted, newest, now=now + _FRESH, floor=None)
    except AirlockError:
        published = station.log.metadata("targets")
        assert published is not None
        with station.log.transaction():
            newest = sign_metadata(station, *published, now)
            _refuse_stale(trusted, newest, now)
    return newest


def _refuse_stale(trusted: TrustedMetadata, metadata: OfferedMetadata, now: datetime) -> None:
    try:
        refresh(trusted, metadata, now=now, floor=None)
    except AirlockError as refusal:
        raise TrustRefused(
            "the list of releases must be signed anew before a repair can travel",
            why=str(refusal),
            hint="airlock export --metadata-only --to MEDIUM --recipient site.pub\nthen the same command again",
        ) from refusal


def _written(mending: Mending, wanted: _Wanted, folder: RepairFolder, target: Target, progress: Progress) -> Digest | None:
    """Write the parts, read them back, and bring ``SHA256SUMS`` up to date; return its digest."""
    paths = folder.paths(wanted.names)
    size = sum(map(wanted.index.part_length, wanted.request.parts))
    with progress.task("writing", size) as advance:
        mending.write(paths, advance)
    sums: dict[str, str] = {}
    if target.read_back:
        with progress.task("reading back", size) as advance:
            sums = mending.read_back(paths, advance)
    return folder.write_sums(list(wanted.names.values()), sums, ["set.json", wanted.seal.index_name])


def _noted(station: OpenStation, wanted: _Wanted, folder: RepairFolder, target: Target, *, sums: Digest | None, now: datetime) -> Repaired:
    """Put the repair on record; its transfer sheet is there before the log says so."""
    request, log = wanted.request, station.log
    known = [(each.number, each.label) for each in log.media() if each.set_id == request.set_id and each.number]
    medium, label = folder.place(known, target.label)
    size = sum(wanted.sizes.values())
    subject = {
        "set": request.set_id,
        "site": request.site,
        "request": wanted.digest,
        "medium": medium,
        "label": label,
        "parts": len(request.parts),
        "first": request.parts[0],
        "last": request.parts[-1],
        "size": size,
        "read_back": target.read_back,
        **({"sums": sums} if sums else {}),
    }
    with log.transaction():
        log.append("set.repair", subject, signer=station.keys["actor"], now=now)
        write_sheets(station.home, [sheet_for(log, request.set_id, medium)])
    sealed = wanted.seal.key is not None
    return Repaired(request.set_id, request.site, request.parts, size, folder.path, medium, label, sealed, _withdrawn(log, wanted.index.statements))


def _withdrawn(log: Station, statements: Sequence[bytes]) -> tuple[str, ...]:
    said = log.withdrawals()
    return tuple(parse_statement(each, what="statement").name for each in statements if digest_of(each) in said)
