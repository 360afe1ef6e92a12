"""Export: sign, seal and write what a medium carries."""

from __future__ import annotations

import errno
import io
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from registry.content.digest import Digest, digest_of
from registry.content.pins import Pin
from registry.content.reference import Reference
from registry.errors import AirlockError, MediumDamaged, NotFound, TrustRefused, Usage
from registry.media.index import MAX_INDEX_BYTES, MAX_PART_BYTES, MAX_PARTS, MIN_PART_BYTES, Index, Object
from registry.media.recipients import SET_KEY_BYTES, Recipient, identity_for, unwrap, wrap
from registry.media.sets import INDEX_NAME, MAX_HEADER_BYTES, Header, metadata_names, new_set_id, parse_header
from registry.media.stream import associated_data, seal_bytes, sealed_size
from registry.media.suites import SUITES
from registry.sources.pinning import locate
from registry.store.blobs import LocalBlobStore
from registry.store.files import replace_file, storage_errors
from registry.store.home import Home
from registry.store.medium import SetFolder, SetWriter, find_sets
from registry.trust.envelope import INDEX_TYPE, envelop
from registry.trust.refresh import OfferedMetadata, fingerprint
from registry.trust.roles import format_time
from registry.trust.statement import parse_statement
from registry.workflow.drafting import refuse_lacking, still_lacking
from registry.workflow.escrow import EscrowCard
from registry.workflow.known_recipients import ESCROW, read_escrow_card, read_site_card, remember
from registry.workflow.medium_notes import medium_json, readme
from registry.workflow.offered import read_index
from registry.workflow.parts import Parts
from registry.workflow.pin import pinned_manifest, read_pins
from registry.workflow.preparing import prepare, require_root
from registry.workflow.progress import Progress
from registry.workflow.publication import PinnedRelease, newest_metadata, sign_metadata
from registry.workflow.signing import drafts_on
from registry.workflow.site_card import SiteCard
from registry.workflow.station import OpenStation, Passphrase, open_station

__all__ = ["DEFAULT_PART_BYTES", "Exported", "export"]

DEFAULT_PART_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote: the set, its folder, the releases in it, and for whom; ``new_recipients`` are names and fingerprints."""

    set_id: str
    folder: Path
    releases: tuple[PinnedRelease, ...]
    sites: tuple[SiteCard, ...]
    new_recipients: tuple[tuple[str, str], ...]
    fingerprint: str
    size: int
    parts: int
    continued: bool


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is asked for: which pins, for which sites, in parts of which size, on which medium, and where their blobs lie."""

    medium: Path
    pins: Sequence[Pin]
    sites: Sequence[SiteCard]
    part_size: int
    sources: dict[Digest, Path]
    escrow: EscrowCard | None


@dataclass(frozen=True, slots=True)
class _Plan:
    """A set about to be written, or found unfinished on the medium."""

    index: Index
    set_key: bytes
    folder: Path


def export(
    home: Home,
    names: Sequence[Reference],
    medium: Path,
    cards: Sequence[Path],
    passphrase: Passphrase,
    *,
    part_size: int,
    read_back: bool,
    metadata_only: bool = False,
    escrow: Path | None = None,
    now: datetime,
    progress: Progress,
) -> Exported:
    """Write one set with the releases of ``names`` (all pins if empty) to ``medium``, sealed to the sites whose ``site.pub`` are ``cards``.

    An export that was interrupted continues: parts on the medium that are whole stay as they are.  With ``metadata_only`` the set carries no
    model, only what the station says now: a few kilobytes that bring withdrawals and new keys.  ``escrow`` is a further recipient's ``escrow.pub``.

    Raises:
        NotFound: nothing is pinned, a name isn't pinned, a source or the medium is not there.
        TrustRefused: a ``site.pub`` changed silently, or a source no longer matches its pin.
        MediumDamaged: the medium is full, read-only, gone, or gives back other bytes than were written.
    """
    if not MIN_PART_BYTES <= part_size <= MAX_PART_BYTES:
        raise Usage(f"part size {part_size} is out of bounds", why=f"from {MIN_PART_BYTES} to {MAX_PART_BYTES} bytes are allowed")
    pins = [] if metadata_only else _chosen(home, names)
    sites = tuple(map(read_site_card, cards))
    if len({each.site for each in sites}) != len(sites):
        raise Usage("one site is named twice as a recipient")
    _suite_of(sites)
    if not medium.is_dir():
        raise NotFound(f"{medium}: not a directory", hint="name the directory where the medium is mounted, such as /media/usb")
    wanted = _Wanted(medium, pins, sites, part_size, _sources(home, pins), read_escrow_card(escrow) if escrow else None)
    with open_station(home, passphrase, "export") as station:
        require_root(station)
        cards_by_name: dict[str, SiteCard | EscrowCard] = {card.site: card for card in sites}
        if wanted.escrow is not None:
            cards_by_name[ESCROW] = wanted.escrow
        new = remember(station, cards_by_name, now)
        found = _unfinished(station, wanted)
        if found is None:
            plan, releases = _begin(station, wanted, now)
        else:
            plan, releases = found
            progress.say(f"set {plan.index.set_id} on this medium is unfinished; continuing it")
            SetWriter(medium, plan.index.set_id).sweep()
        kept = {digest: LocalBlobStore(home.blobs).path(digest) for digest in _evidence(releases)}
        _write(plan, wanted.sources | kept, progress, read_back=read_back)
        with station.log.transaction():
            station.log.append("set.finish", {"set": plan.index.set_id}, signer=station.keys["actor"], now=now)
        newest_root = fingerprint(station.log.roots()[-1])
    return Exported(
        plan.index.set_id,
        plan.folder,
        tuple(releases),
        sites,
        tuple((name, cards_by_name[name].fingerprint) for name in new),
        newest_root,
        plan.index.size,
        plan.index.parts,
        continued=found is not None,
    )


def _chosen(home: Home, names: Sequence[Reference]) -> list[Pin]:
    pins = read_pins(home)
    if not pins:
        raise NotFound("nothing is pinned yet", hint="pin a model first: airlock pin library/gemma3:270m --from file:gemma-3-270m.gguf")
    for name in names:
        if name not in pins:
            raise NotFound(f"{name}: is not pinned", why=f"pinned are: {', '.join(map(str, pins))}", hint=f"airlock pin {name} --from SOURCE")
    return [pins[name] for name in dict.fromkeys(names or pins)]


def _sources(home: Home, pins: Sequence[Pin]) -> dict[Digest, Path]:
    """Return where every blob of the pins lies: in the home what pinning kept there, the rest at its source."""
    blobs = LocalBlobStore(home.blobs)
    paths: dict[Digest, Path] = {}
    for pin in pins:
        _, manifest = pinned_manifest(home, pin)
        paths[pin.manifest] = blobs.path(pin.manifest)
        elsewhere = []
        for each in manifest.blobs:
            if blobs.holds(each.digest, each.size):
                paths[each.digest] = blobs.path(each.digest)
            elif each.digest not in paths:
                elsewhere.append(each.digest)
        located = locate(pin.source, elsewhere)
        for digest in elsewhere:
            size = next(each.size for each in manifest.blobs if each.digest == digest)
            path = located[digest]
            if path.stat().st_size != size:
                raise TrustRefused(
                    f"{path}: no longer matches its pin",
                    why=f"{pin.reference} was pinned with {size} bytes here, found {path.stat().st_size}",
                    hint=f"put the pinned file back, or pin what is there now: airlock pin {pin.reference} --from {pin.source}",
                )
        paths |= located
    return paths


def _suite_of(sites: Sequence[SiteCard]) -> str:
    """Return the suite in which a set for these sites is sealed: one for all of them."""
    by_suite: dict[str, list[str]] = {}
    for card in sites:
        by_suite.setdefault(card.recipient.suite, []).append(card.site[:8])
    if len(by_suite) > 1:
        raise Usage(
            "these sites share no sealing suite",
            why="\n".join(f"{SUITES[suite].short}: site {', '.join(names)}" for suite, names in sorted(by_suite.items())),
            hint="export once per suite, each time with the site.pub of the sites that have it",
        )
    return next(iter(by_suite))


def _recipients(station: OpenStation, wanted: _Wanted) -> list[Recipient]:
    """Return to whom a set is sealed: the sites, this station, and the escrow if there is one."""
    suite = _suite_of(wanted.sites)
    recipients = [*(card.recipient for card in wanted.sites), station.identity_in(suite).recipient]
    if wanted.escrow is not None and suite not in wanted.escrow.recipients:
        raise Usage(f"the escrow has no key in the suite of these sites, {suite}", hint="make a new escrow: airlock escrow new")
    return recipients if wanted.escrow is None else [*recipients, wanted.escrow.recipients[suite]]


def _begin(station: OpenStation, wanted: _Wanted, now: datetime) -> tuple[_Plan, list[PinnedRelease]]:
    """Number, sign, and put header, metadata and index on the medium."""
    set_id = new_set_id(int(now.timestamp() * 1000), secrets.token_bytes(10))
    set_key = secrets.token_bytes(SET_KEY_BYTES)
    keys = {each.key_id: wrap(set_key, each, set_id=set_id) for each in _recipients(station, wanted)}
    header = Header(set_id, keys, suite=_suite_of(wanted.sites)).to_bytes()
    sizes = _sizes(station.home, wanted)
    with storage_errors(f"the medium {wanted.medium}", kind=MediumDamaged):
        _refuse_full(wanted.medium, _sealed_total(sum(sizes.values()), wanted.part_size))
    releases, (version, targets) = prepare(station, wanted.pins, now, drafts_on(wanted.medium, "targets"))
    missing = still_lacking(station.log, "targets", targets)
    if missing:
        raise refuse_lacking(
            station.home,
            "the list of releases is not signed by enough release signers",
            missing,
            f"airlock release prepare {wanted.medium}\nthe other signers run: airlock sign {wanted.medium} --key NAME\nthen the same export again",
        )
    with station.log.transaction():
        metadata = sign_metadata(station, version, targets, now)
        head = station.log.head()
        assert head is not None
        index = Index(
            set_id=set_id,
            header=digest_of(header),
            created=format_time(now),
            publisher=metadata.publisher,
            root=len(metadata.roots),
            sites=tuple(sorted(card.site for card in wanted.sites)),
            statements=tuple(each.statement for each in releases),
            objects=_objects(_evidence(releases) | sizes),
            part_size=wanted.part_size,
            checkpoint=(head.seq, head.digest),
        )
        if index.parts > MAX_PARTS:
            raise Usage(f"the set would have {index.parts} parts", why=f"at most {MAX_PARTS} are allowed", hint="choose a larger --part-size")
        subject = {"set": set_id, "header": digest_of(header), "sites": list(index.sites)}
        station.log.append("set.start", subject, signer=station.keys["actor"], now=now)
    plan = _Plan(index, set_key, SetWriter(wanted.medium, set_id).path)
    sealed = io.BytesIO()
    seal_bytes(sealed, envelop(index.to_bytes(), INDEX_TYPE, [station.keys["station"]]), set_key, associated_data(set_id, "index", 0))
    small = {
        "README.txt": readme(index),
        "set.json": header,
        "medium.json": medium_json(index),
        INDEX_NAME: sealed.getvalue(),
        **_metadata_files(metadata),
    }
    with storage_errors(f"the medium {wanted.medium}", kind=MediumDamaged):
        SetWriter(wanted.medium, set_id).begin(small)
    return plan, releases


def _metadata_files(metadata: OfferedMetadata) -> dict[str, bytes]:
    names = metadata_names(len(metadata.roots))
    return dict(zip(names, (*metadata.roots, metadata.timestamp, metadata.snapshot, metadata.targets), strict=True))


def _sizes(home: Home, wanted: _Wanted) -> dict[Digest, int]:
    """Return the objects of a set in order, manifests and small blobs of each model before its large ones."""
    sizes: dict[Digest, int] = {}
    for pin in wanted.pins:
        data, manifest = pinned_manifest(home, pin)
        sizes[pin.manifest] = len(data)
        sizes |= {each.digest: each.size for each in sorted(manifest.blobs, key=lambda blob: blob.size)}
    return sizes


def _evidence(releases: Sequence[PinnedRelease]) -> dict[Digest, int]:
    """Return the evidence that belongs to releases: digest to size."""
    stated = [parse_statement(each.statement, what=f"statement of {each.pin.reference}") for each in releases]
    return {each.bundle.digest: each.bundle.size for release in stated for each in release.evidence}


def _objects(sizes: dict[Digest, int]) -> tuple[Object, ...]:
    offset, objects = 0, []
    for digest, size in sizes.items():
        objects.append(Object(digest, offset, size))
        offset += size
    return tuple(objects)


def _sealed_total(size: int, part_size: int) -> int:
    whole, rest = divmod(size, part_size)
    return whole * sealed_size(part_size) + (sealed_size(rest) if rest else 0)


def _refuse_full(medium: Path, needed: int) -> None:
    status = os.statvfs(medium)
    if status.f_flag & os.ST_RDONLY:  # a disc is always full, and that's not what is wrong with it
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(medium))
    free = status.f_bavail * status.f_frsize
    spare = 1 << 20  # header, index, metadata, directory entries
    if status.f_blocks and free < needed + spare:  # some FUSE file systems say 0 of 0
        raise MediumDamaged(
            f"{medium}: not enough space",
            why=f"the set needs {needed + spare:,} bytes, {free:,} are free",
            hint="use a larger medium, delete what is no longer needed on it, or export fewer models by naming them",
        )


def _unfinished(station: OpenStation, wanted: _Wanted) -> tuple[_Plan, list[PinnedRelease]] | None:
    """Return the unfinished set on the medium that says what a new one would say, or None."""
    begun = station.log.unfinished_sets()
    releases = _numbered(station, wanted.pins)
    newest = newest_metadata(station)
    if not begun or releases is None or newest is None:
        return None
    try:
        folders = find_sets(wanted.medium)
    except AirlockError:
        return None  # whatever else lies there is not ours to continue
    for folder in folders:
        # Signed anew since then: whatever changed, a fresh set says it.
        if folder.set_id in begun and all(folder.read(name, MAX_INDEX_BYTES) == data for name, data in _metadata_files(newest).items()):
            plan = _unseal(station, folder, begun[folder.set_id], {each.key_id for each in _recipients(station, wanted)})
            asked = (tuple(each.statement for each in releases), tuple(sorted(card.site for card in wanted.sites)), wanted.part_size)
            if plan and (plan.index.statements, plan.index.sites, plan.index.part_size) == asked:
                return plan, releases
    return None


def _numbered(station: OpenStation, pins: Sequence[Pin]) -> list[PinnedRelease] | None:
    """Return the releases that the pins already are, or None if one of them never was one."""
    releases = []
    for pin in pins:
        numbered = station.log.release_of(pin.reference, pin.manifest)
        if numbered is None:
            return None
        _, manifest = pinned_manifest(station.home, pin)
        releases.append(PinnedRelease(pin, numbered, station.log.document(numbered.statement), manifest, new=False))
    return releases


def _unseal(station: OpenStation, folder: SetFolder, header_digest: Digest, recipients: set[str]) -> _Plan | None:
    """Return the plan of a set that this station began for these very recipient keys, read from the medium."""
    data = folder.read("set.json", MAX_HEADER_BYTES)
    if digest_of(data) != header_digest:
        return None
    header = parse_header(data, what="set.json")
    identity = identity_for(header.keys, header.suite, station.identities)
    if identity is None or header.keys.keys() != recipients:
        return None
    set_key = unwrap(header.keys[identity.recipient.key_id], identity, set_id=folder.set_id)
    index = read_index(folder, header, set_key, (station.keys["station"].public_key,), 1)
    return _Plan(index, set_key, folder.path)


def _write(plan: _Plan, sources: dict[Digest, Path], progress: Progress, *, read_back: bool) -> None:
    parts = Parts(plan.folder, plan.index, plan.set_key)
    with progress.task("writing", plan.index.size) as advance:
        parts.write(sources, advance)
    if not read_back:
        return
    with progress.task("reading back", plan.index.size) as advance:
        sums = parts.read_back(advance)
    with storage_errors(f"the medium {plan.folder}", kind=MediumDamaged):
        sums |= {name: digest_of((plan.folder / name).read_bytes())[7:] for name in (INDEX_NAME, "set.json")}
        lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))
        replace_file(plan.folder / "SHA256SUMS", lines.encode("ascii"))
