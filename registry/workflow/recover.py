"""Recover: a station whose database was lost, or put back from an older copy, goes on from its newest media.

Every set is sealed to its own station too, so the keystore and the media together hold what the database held: roots, list, statements, withdrawals.
What was exported after the newest of these media is not on them and may have reached sites all the same.  So version numbers and release numbers
leave a gap: the next ones are above anything that a site can have seen, and no number ever gets two contents.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata

from registry.content.digest import Digest, digest_of
from registry.errors import MediumDamaged, RecipientRefused, TrustRefused, Usage
from registry.media.index import Index, Object
from registry.media.recipients import Identity
from registry.media.seal import Seal
from registry.media.stream import SEGMENT_BYTES
from registry.store.blobs import LocalBlobStore
from registry.store.files import TEMPORARY_PREFIX, fsync_directory, storage_errors, sweep_temporaries
from registry.store.home import STATION, Home
from registry.store.keystore import read_public
from registry.store.medium import SetFolder, find_sets
from registry.store.station import Station
from registry.trust.keys import public_to_json
from registry.trust.refresh import OfferedMetadata, Refreshed, TrustedMetadata, fingerprint, issued_at, refresh
from registry.trust.roles import target_path
from registry.trust.statement import Release, parse_statement
from registry.trust.withdrawal import Withdrawal, withdrawals_in
from registry.workflow.offered import read_header, read_index, read_metadata, seal_of
from registry.workflow.station import Passphrase, open_keys

__all__ = ["SKIPPED_NUMBERS", "SKIPPED_VERSIONS", "Recovered", "recover"]

SKIPPED_VERSIONS = 1000
"""How many versions of each metadata file are left out: exports after the newest medium used some of them."""
SKIPPED_NUMBERS = 100
"""How many release numbers are left out, above the highest of any repository: a repository first exported after the newest medium is unknown."""
_SKIPPING = ("timestamp", "snapshot", "targets")
_SIDE_FILES = ("-wal", "-shm")


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a station knows again.

    ``sets`` are the ids that were read, ``newest`` the one whose list counts, issued at ``issued``; ``sites`` those it was ever sealed to, by id;
    ``lost_evidence`` how many bundles are neither in the home nor on these media; ``replaced`` where an older database lies now, or None.
    """

    sets: tuple[str, ...]
    newest: str
    issued: datetime
    fingerprint: str
    versions: Mapping[str, int]
    next_number: int
    releases: tuple[Release, ...]
    withdrawn: int
    sites: tuple[str, ...]
    lost_evidence: int
    replaced: Path | None
    pins: bool


@dataclass(frozen=True, slots=True)
class _Set:
    """One set that is sealed to this station, verified as of when it was issued."""

    folder: SetFolder
    offered: OfferedMetadata
    refreshed: Refreshed
    index: Index
    seal: Seal

    @property
    def age(self) -> tuple[int, int]:
        """What orders sets: the newest root, then the newest timestamp."""
        return len(self.offered.roots), _version(self.offered.timestamp)


@dataclass(frozen=True, slots=True)
class _Found:
    """What the media say together."""

    sets: tuple[_Set, ...]
    newest: _Set
    statements: Mapping[Digest, tuple[Release, bytes]]
    withdrawals: Mapping[Digest, Withdrawal]

    @property
    def releases(self) -> tuple[Release, ...]:
        """Every release of the newest list, by repository and number."""
        return tuple(release for release, _ in self.statements.values())

    @property
    def first_number(self) -> int:
        """The least number of the releases to come."""
        return max((each.number for each in self.releases), default=0) + SKIPPED_NUMBERS + 1


def recover(home: Home, media: Sequence[Path], passphrase: Passphrase, *, replace_database: bool, now: datetime) -> Recovered:
    """Write a station's database anew, from the sets that it exported.

    The database is whole before it gets its name, and that is the last step: until then there is none, and the same command works again.

    Args:
        home: where the station's keystore is.
        media: roots of media, or sets' folders.
        passphrase: of the keystore.
        replace_database: move a database that is there aside instead of refusing.
        now: aware, UTC.

    Raises:
        Usage: there is a database, or another kind of home.
        RecipientRefused: none of the sets is sealed to this keystore.
        SignatureRefused, TrustRefused: the newest set is not by this station's key, or the sets are not of one history.
        MediumDamaged: the newest list names statements that are on none of the media.
    """
    if home.kind() is not None:
        home.require(STATION)
    read_public(home.root)  # a missing keystore is said before anybody types a passphrase
    with home.locked("station recover"):
        if home.database.exists() and not replace_database:
            raise Usage(
                f"{home.database}: there is a database",
                why="recovering would put what these media say in its place",
                hint="airlock check tells whether it is whole; if an older copy was put back: --replace-database moves it aside",
            )
        keys, identities = open_keys(home, passphrase())
        if not {"actor", "station"} <= keys.keys():
            raise Usage(f"{home.root}: its keystore is not that of a station", hint="put the station's keystore.json back from its backup")
        found = _read(media, keys, identities)
        with storage_errors(f"the home {home.root}"):
            lost = _restore_evidence(home, found)
            temporary = home.database.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}")
            try:
                versions = _write(temporary, found, keys["actor"], now)
                replaced = _set_aside(home)
                home.mark(STATION)  # a home without a database, to which this same command is the answer
                temporary.rename(home.database)
                fsync_directory(home.root)
            finally:
                sweep_temporaries(home.root)
    return Recovered(
        sets=tuple(sorted({each.folder.set_id for each in found.sets})),
        newest=found.newest.folder.set_id,
        issued=found.newest.refreshed.issued,
        fingerprint=fingerprint(found.newest.offered.roots[-1]),
        versions=versions,
        next_number=found.first_number,
        releases=found.releases,
        withdrawn=len(found.withdrawals),
        sites=tuple(sorted({site for each in found.sets for site in each.index.sites})),
        lost_evidence=lost,
        replaced=replaced,
        pins=(home.root / "pins.toml").exists(),
    )


def _read(media: Sequence[Path], keys: Mapping[str, CryptoSigner], identities: Sequence[Identity]) -> _Found:
    sets = [each for medium in media for folder in find_sets(medium) if (each := _open(folder, identities)) is not None]
    if not sets:
        raise RecipientRefused(
            "no set on these media is sealed to this keystore",
            why="a station seals every set to itself, too",
            hint="are these the station's own media, and is this its keystore.json?",
        )
    newest = max(sets, key=lambda each: each.age)
    _refuse_stranger(newest, keys["station"])
    for each in sets:
        _refuse_fork(each, newest)
    listed = newest.refreshed.targets.targets
    every = {digest_of(data): data for each in sets for data in each.index.statements}
    statements = {digest: data for digest, data in every.items() if target_path(digest) in listed}
    missing = len(listed) - len(statements)
    if missing:
        raise MediumDamaged(
            f"{missing} statement(s) are on none of these media",
            why=f"set {newest.folder.set_id}, the newest, lists {len(listed)}; {len(statements)} were found",
            hint="bring more of the station's media and name them all: airlock station recover DIR DIR …; a site's imported media do as well",
        )
    parsed = {digest: (parse_statement(data, what=f"statement {digest}"), data) for digest, data in statements.items()}
    ordered = dict(sorted(parsed.items(), key=lambda item: (item[1][0].reference.repository, item[1][0].number)))
    said = withdrawals_in(listed)
    withdrawals = {digest: said[path] for digest in statements if (path := target_path(digest)) in said}
    return _Found(tuple(sets), newest, ordered, withdrawals)


def _open(folder: SetFolder, identities: Sequence[Identity]) -> _Set | None:
    """Return a set that is sealed to this station, or None if it is sealed to others: sticks carry what they carry."""
    header = read_header(folder)
    seal = seal_of(header, identities)
    if seal is None:
        return None
    offered = read_metadata(folder)
    # As of when it was issued: the delivery window is for sites, and a station may be lost for longer.
    refreshed = refresh(TrustedMetadata(offered.roots), offered, now=issued_at(offered.timestamp), floor=None)
    return _Set(folder, offered, refreshed, read_index(folder, header, seal, *refreshed.keys("timestamp")), seal)


def _refuse_stranger(newest: _Set, station: CryptoSigner) -> None:
    """Refuse a chain of roots that this station's own key doesn't vouch for: whoever can write a medium can write roots of their own."""
    speaking, _ = newest.refreshed.keys("timestamp")
    if station.public_key.keyid not in {key.keyid for key in speaking}:
        raise TrustRefused(
            "the newest root names another station key",
            why=f"set {newest.folder.set_id}: the key of this keystore does not speak for the station there",
            hint="put the keystore.json back that this station had when it exported that set",
        )
    read_index(newest.folder, read_header(newest.folder), newest.seal, [station.public_key], 1)
    if newest.index.publisher != newest.offered.publisher:
        raise TrustRefused(f"set {newest.folder.set_id}: its metadata are another publisher's", hint="do not use this medium; keep it")


def _refuse_fork(each: _Set, newest: _Set) -> None:
    ours, theirs = newest.offered, each.offered
    twice = each.age == newest.age and (theirs.timestamp, theirs.snapshot, theirs.targets) != (ours.timestamp, ours.snapshot, ours.targets)
    if ours.roots[: len(theirs.roots)] != theirs.roots or twice:
        raise TrustRefused(
            f"sets {each.folder.set_id} and {newest.folder.set_id} are not of one history",
            why="both can be opened here, but their roots or their newest lists contradict each other",
            hint="leave the media out that this station did not export last",
        )


def _restore_evidence(home: Home, found: _Found) -> int:
    """Bring back the bundles that an export reads from the home; return how many are nowhere."""
    blobs = LocalBlobStore(home.blobs)
    lost = 0
    for bundle in {each.bundle.digest: each.bundle for release in found.releases for each in release.evidence}.values():
        if blobs.holds(bundle.digest, bundle.size):
            continue
        carrying = ((each, item) for each in found.sets for item in each.index.objects if item.digest == bundle.digest)
        data = next((data for each, item in carrying if (data := _object(each, item)) is not None), None)
        if data is None:
            lost += 1
        else:
            blobs.add(data)
    return lost


def _object(carrier: _Set, wanted: Object) -> bytes | None:
    """Return a small object of a set, or None where its parts are missing or damaged.  Bundles lie in front: little is read."""
    index, end, found = carrier.index, wanted.offset + wanted.size, bytearray()
    buffer = memoryview(bytearray(SEGMENT_BYTES))
    with suppress(MediumDamaged, KeyError), storage_errors(f"the medium {carrier.folder.path}", kind=MediumDamaged):
        for number in index.parts_of(wanted):
            position = (number - 1) * index.part_size
            with carrier.folder.open(carrier.seal.part_name(number)) as stream:
                reader = carrier.seal.part_reader(stream, index.part_length(number), number)
                while not reader.done and position < end:
                    segment = buffer[: reader.gives]
                    reader.open(segment)
                    found += segment[max(0, wanted.offset - position) : end - position]
                    position += len(segment)
    return bytes(found) if digest_of(bytes(found)) == wanted.digest else None


def _write(path: Path, found: _Found, actor: CryptoSigner, now: datetime) -> dict[str, int]:
    """Write the whole database to ``path``, in one transaction; return the next version of each metadata file."""
    log = Station(path, create=True)
    offered = found.newest.offered
    try:
        with log.transaction():

            def append(verb: str, subject: Mapping[str, Any], documents: Iterable[bytes] = ()) -> None:
                log.append(verb, subject, signer=actor, now=now, documents=documents)

            append("station.init", {"actor": public_to_json(actor.public_key), "first_number": found.first_number})
            for root in offered.roots:
                append("metadata.sign", {"metadata": [_named("root", root)]}, [root])
            for digest, (release, statement) in found.statements.items():
                numbered = {
                    "repository": release.reference.repository,
                    "tag": release.reference.tag,
                    "number": release.number,
                    "manifest": release.manifest.digest,
                    "statement": digest,
                }
                append("release.number", numbered, [statement])
                if (withdrawal := found.withdrawals.get(digest)) is not None:
                    append("release.withdraw", numbered | {"severity": str(withdrawal.severity), "why": withdrawal.why})
            files = [getattr(offered, role) for role in _SKIPPING]
            subject = {
                "sets": sorted({each.folder.set_id for each in found.sets}),
                "metadata": [_named(role, data) for role, data in zip(_SKIPPING, files, strict=True)],
                "skipped": SKIPPED_VERSIONS,
            }
            append("station.recover", subject, files)
        return {role: log.next_version(role) for role in _SKIPPING}
    finally:
        log.close()


def _set_aside(home: Home) -> Path | None:
    """Move an older database out of the way, with the files that SQLite keeps beside it: they must never meet the new one."""
    names = [name for name in (home.database.name, *(f"{home.database.name}{suffix}" for suffix in _SIDE_FILES)) if (home.root / name).exists()]
    if not names:
        return None
    number = 1
    while (aside := home.root / f"before-recovery-{number}").exists():
        number += 1
    aside.mkdir(mode=0o700)
    for name in names:
        (home.root / name).rename(aside / name)
    fsync_directory(aside)
    fsync_directory(home.root)
    return aside


def _named(role: str, data: bytes) -> dict[str, Any]:
    return {"role": role, "version": _version(data), "digest": digest_of(data)}


def _version(data: bytes) -> int:
    return int(Metadata[Any].from_bytes(data).signed.version)
