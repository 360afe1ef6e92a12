"""What a station signs before it exports: release numbers, statements, TUF metadata."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tuf.api.metadata import Metadata

from registry.content.config import ModelConfig, parse_config
from registry.content.digest import digest_of
from registry.content.manifest import MANIFEST_TYPE, Descriptor, Manifest
from registry.content.pins import Pin
from registry.store.blobs import LocalBlobStore
from registry.store.station import NumberedRelease
from registry.trust.refresh import OfferedMetadata, fingerprint
from registry.trust.roles import new_snapshot, new_targets, new_timestamp
from registry.trust.statement import Release
from registry.workflow.pin import pinned_manifest
from registry.workflow.station import OpenStation

__all__ = ["PinnedRelease", "newest_metadata", "number_releases", "sign_metadata"]

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

    Call it inside the log's transaction, together with :func:`sign_metadata`.
    """
    return [_release(station, each, now) for each in pins]


def sign_metadata(station: OpenStation, now: datetime) -> OfferedMetadata:
    """Sign what the station may sign, and return everything a medium carries.

    The list of statements (targets) is signed again when it grew or has less than 60 days to live; snapshot and timestamp always are, because
    they open a new delivery window.
    """
    log = station.log
    statements = {each.statement: len(log.document(each.statement)) for each in log.releases()}
    signed: list[tuple[str, int, bytes]] = []
    version, targets = log.metadata("targets") or (0, b"")
    if not targets or _listed(targets) != len(statements) or _expires(targets) - now < _RESIGN_TARGETS:
        targets = new_targets(version + 1, statements, [station.keys["release"]], now)
        signed.append(("targets", version + 1, targets))
    snapshot_version = (log.metadata("snapshot") or (0, b""))[0] + 1
    snapshot = new_snapshot(snapshot_version, targets, [station.keys["station"]], now)
    timestamp_version = (log.metadata("timestamp") or (0, b""))[0] + 1
    timestamp = new_timestamp(timestamp_version, snapshot, [station.keys["station"]], now)
    signed += [("snapshot", snapshot_version, snapshot), ("timestamp", timestamp_version, timestamp)]
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
    release = Release(
        publisher=fingerprint(station.log.roots()[0]),
        reference=pin.reference,
        number=number,
        nonce=secrets.token_hex(32),
        objects=(
            Descriptor(MANIFEST_TYPE, pin.manifest, len(data)),
            *(Descriptor(each.media_type, each.digest, each.size) for each in manifest.blobs),
        ),
        source=_origin(pin.source),
        inspection=_inspection(config),
    )
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


def _listed(targets: bytes) -> int:
    return len(Metadata[Any].from_bytes(targets).signed.targets)


def _expires(targets: bytes) -> datetime:
    expires: datetime = Metadata[Any].from_bytes(targets).signed.expires
    return expires
