"""What a station signs before it exports: release numbers, statements, TUF metadata."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from tuf.api.metadata import Metadata

from registry.content.config import ModelConfig, parse_config
from registry.content.digest import Digest, digest_of
from registry.content.manifest import MANIFEST_TYPE, Descriptor, Manifest
from registry.content.pins import Pin
from registry.store.blobs import LocalBlobStore
from registry.store.station import NumberedRelease
from registry.trust.drafts import same_content
from registry.trust.refresh import OfferedMetadata, fingerprint
from registry.trust.roles import new_snapshot, new_targets, new_timestamp, target_path
from registry.trust.statement import Release
from registry.trust.withdrawal import Withdrawal, withdrawals_in
from registry.workflow.drafting import keep_draft, publish_draft, still_lacking, with_local_signatures
from registry.workflow.evidence import make_evidence
from registry.workflow.pin import pinned_manifest
from registry.workflow.station import OpenStation

__all__ = ["PinnedRelease", "newest_metadata", "number_releases", "prepare_targets", "sign_metadata"]

_RESIGN_TARGETS = timedelta(days=60)


@dataclass(frozen=True, slots=True)
class PinnedRelease:
    """A pin with the release it is: its number, its statement's bytes, its manifest."""

    pin: Pin
    numbered: NumberedRelease
    statement: bytes
    manifest: Manifest
    new: bool


def number_releases(station: OpenStation, pins: Iterable[Pin], now: datetime) -> list[PinnedRelease]:
    """Return each pin's release; a pin that never was one gets the next number of its repository and a statement.

    Call it inside the log's transaction, together with :func:`prepare_targets`.
    """
    return [_release(station, each, now) for each in pins]


def prepare_targets(station: OpenStation, now: datetime, others: Iterable[bytes] = ()) -> tuple[int, bytes]:
    """Return the version and bytes of the list that says what stands now, with every signature that is to be had.

    The published list stays as long as it says the same, has at least 60 days to live and satisfies the newest root.  Otherwise a draft gathers
    signatures: those of this station's keys, those it had, and those on ``others``.  Call it inside the log's transaction.
    """
    log = station.log
    statements = {each.statement: len(log.document(each.statement)) for each in log.releases()}
    withdrawals = log.withdrawals()
    published = log.metadata("targets")
    if published and _says(published[1], statements, withdrawals, now) and not still_lacking(station.log, "targets", published[1]):
        return published
    pending = log.draft("targets")
    if pending and _says(pending[1], statements, withdrawals, now):
        version, draft = pending
    else:
        version = log.next_version("targets")
        draft = new_targets(version, statements, [], now, withdrawals)
    draft = with_local_signatures(station, "targets", draft, [each for each in others if same_content(draft, each)])
    keep_draft(station, "targets", version, draft, now)
    return version, draft


def sign_metadata(station: OpenStation, version: int, targets: bytes, now: datetime) -> OfferedMetadata:
    """Publish the list, sign snapshot and timestamp, and return everything a medium carries.

    Snapshot and timestamp are always signed anew, because they open a new delivery window.  Call it inside the log's transaction.
    """
    log = station.log
    published = log.metadata("targets")
    if published is None or published[0] != version:
        publish_draft(station, "targets", version, targets, now)
    signers = station.signers_of("timestamp")
    snapshot_version, timestamp_version = log.next_version("snapshot"), log.next_version("timestamp")
    snapshot = new_snapshot(snapshot_version, targets, signers, now)
    timestamp = new_timestamp(timestamp_version, snapshot, signers, now)
    signed = [("snapshot", snapshot_version, snapshot), ("timestamp", timestamp_version, timestamp)]
    subject = {"metadata": [{"role": role, "version": version, "digest": digest_of(data)} for role, version, data in signed]}
    log.append("metadata.sign", subject, signer=station.keys["actor"], now=now, documents=[data for _, _, data in signed])
    return OfferedMetadata(log.roots(), timestamp, snapshot, targets)


def newest_metadata(station: OpenStation) -> OfferedMetadata | None:
    """Return the metadata of the newest export, or None before the first."""
    found = [station.log.metadata(role) for role in ("timestamp", "snapshot", "targets")]
    files = [each[1] for each in found if each]
    return OfferedMetadata(station.log.roots(), files[0], files[1], files[2]) if len(files) == len(found) else None


def _release(station: OpenStation, pin: Pin, now: datetime) -> PinnedRelease:
    data, manifest = pinned_manifest(station.home, pin)
    known = station.log.release_of(pin.reference, pin.manifest)
    if known is not None:
        return PinnedRelease(pin, known, station.log.document(known.statement), manifest, new=False)
    number = station.log.next_number(pin.reference.repository)
    config = parse_config(
        LocalBlobStore(station.home.blobs).read(manifest.config.digest, limit=manifest.config.size), what=f"config of {pin.reference}"
    )
    blobs = tuple(Descriptor(each.media_type, each.digest, each.size) for each in manifest.blobs)
    release = Release(
        publisher=fingerprint(station.log.roots()[0]),
        reference=pin.reference,
        number=number,
        nonce=secrets.token_hex(32),
        objects=(Descriptor(MANIFEST_TYPE, pin.manifest, len(data)), *blobs),
        source=_origin(pin.source),
        inspection=_inspection(config),
    )
    release = replace(release, evidence=make_evidence(LocalBlobStore(station.home.blobs), release.name, pin, blobs, station.keys))
    statement = release.to_bytes()
    subject: dict[str, Any] = {
        "repository": pin.reference.repository,
        "tag": pin.reference.tag,
        "number": number,
        "manifest": pin.manifest,
        "statement": digest_of(statement),
    }
    station.log.append("release.number", subject, signer=station.keys["actor"], now=now, documents=[statement])
    numbered = NumberedRelease(pin.reference, number, pin.manifest, digest_of(statement))
    return PinnedRelease(pin, numbered, statement, manifest, new=True)


def _inspection(config: ModelConfig) -> dict[str, str]:
    found = {"format": config.format, "family": config.family, "parameters": config.kind, "quantization": config.file_type}
    return {name: value for name, value in found.items() if value not in ("", "unknown")}


def _origin(source: str) -> str:
    """Return where a model came from without the station's directories: they are nobody's business inside."""
    scheme, _, rest = source.partition(":")
    return f"{scheme}:{rest.rpartition('/')[2]}" if scheme == "file" else source


def _says(targets: bytes, statements: Mapping[Digest, int], withdrawals: Mapping[Digest, Withdrawal], now: datetime) -> bool:
    """Tell whether a list says exactly this, and goes on saying it for 60 days."""
    signed = Metadata[Any].from_bytes(targets).signed
    listed = {path: target.length for path, target in signed.targets.items()}
    stated = {target_path(digest): size for digest, size in statements.items()}
    withdrawn = {target_path(digest): withdrawal for digest, withdrawal in withdrawals.items()}
    return listed == stated and withdrawals_in(signed.targets) == withdrawn and signed.expires - now >= _RESIGN_TARGETS
