"""TUF metadata as a publisher writes it (TUF 1.0, section 4): one compact, canonical spelling, every expiry set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from securesystemslib.signer import Signer, SSlibKey
from tuf.api.metadata import Key, Metadata, MetaFile, Role, Root, Signed, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

from registry.content.digest import Digest, hex_of
from registry.trust.keys import public_from_json
from registry.trust.withdrawal import Withdrawal

__all__ = [
    "ROLES",
    "RoleKeys",
    "delivery_window",
    "format_time",
    "new_root",
    "new_snapshot",
    "new_targets",
    "new_timestamp",
    "roles_of",
    "serialise",
    "target_path",
]

ROLES = ("root", "targets", "snapshot", "timestamp")
_YEAR = timedelta(days=365)
_ROOT_LIFE = 10 * _YEAR
_TARGETS_LIFE = 2 * _YEAR
delivery_window = timedelta(days=92)
"""How long after its export a set may be imported: the life of snapshot and timestamp."""


@dataclass(frozen=True, slots=True)
class RoleKeys:
    """Who speaks for a role: public keys, and how many of them must sign."""

    keys: Sequence[SSlibKey]
    threshold: int = 1


def format_time(moment: datetime) -> str:
    """Return ``moment`` (aware, UTC) as TUF writes times: ``2026-11-21T18:09:00Z``."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def target_path(statement: Digest) -> str:
    """Return the opaque TUF target path of a statement: ``<sha256>.json``."""
    return f"{hex_of(statement)}.json"


def roles_of(root: bytes) -> dict[str, RoleKeys]:
    """Return who speaks for each role according to ``root``."""
    signed = Metadata[Any].from_bytes(root).signed
    return {
        name: RoleKeys([public_from_json(signed.keys[keyid].to_dict(), what="root.json") for keyid in role.keyids], role.threshold)
        for name, role in signed.roles.items()
    }


def new_root(version: int, roles: Mapping[str, RoleKeys], signers: Iterable[Signer], now: datetime) -> bytes:
    """Return root metadata that gives each of the four roles its keys, valid for ten years."""
    keys: dict[str, Key] = {key.keyid: key for role in roles.values() for key in role.keys}
    members = {name: Role([key.keyid for key in role.keys], role.threshold) for name, role in roles.items()}
    root = Root(version=version, expires=_whole(now) + _ROOT_LIFE, keys=keys, roles=members, consistent_snapshot=False)
    return _signed(root, signers)


def new_targets(
    version: int,
    statements: Mapping[Digest, int],
    signers: Iterable[Signer],
    now: datetime,
    withdrawals: Mapping[Digest, Withdrawal] | None = None,
) -> bytes:
    """Return targets metadata naming every statement by digest and size in bytes, and which are withdrawn; valid for two years."""
    withdrawn = withdrawals or {}
    targets = {
        target_path(digest): TargetFile(
            length=size,
            hashes={"sha256": hex_of(digest)},
            path=target_path(digest),
            unrecognized_fields={"custom": withdrawn[digest].as_custom()} if digest in withdrawn else None,
        )
        for digest, size in sorted(statements.items())
    }
    return _signed(Targets(version=version, expires=_whole(now) + _TARGETS_LIFE, targets=targets), signers)


def new_snapshot(version: int, targets: bytes, signers: Iterable[Signer], now: datetime) -> bytes:
    """Return snapshot metadata binding exactly these targets bytes, valid for the delivery window."""
    meta = {"targets.json": MetaFile.from_data(_version_of(targets), targets, ["sha256"])}
    return _signed(Snapshot(version=version, expires=_whole(now) + delivery_window, meta=meta), signers)


def new_timestamp(version: int, snapshot: bytes, signers: Iterable[Signer], now: datetime) -> bytes:
    """Return timestamp metadata binding exactly these snapshot bytes; its signed member ``issued`` says when it was made."""
    meta = MetaFile.from_data(_version_of(snapshot), snapshot, ["sha256"])
    extra = {"issued": format_time(now)}
    return _signed(Timestamp(version=version, expires=_whole(now) + delivery_window, snapshot_meta=meta, unrecognized_fields=extra), signers)


def serialise(metadata: Metadata[Any]) -> bytes:
    """Return the one spelling of ``metadata`` that airlock writes and accepts: keys sorted, no white space, signatures by key id."""
    metadata.signatures = dict(sorted(metadata.signatures.items()))
    return metadata.to_bytes(JSONSerializer(compact=True))


def _signed(signed: Signed, signers: Iterable[Signer]) -> bytes:
    metadata: Metadata[Any] = Metadata(signed)
    for signer in signers:
        metadata.sign(signer, append=True)
    return serialise(metadata)


def _whole(now: datetime) -> datetime:
    return now.replace(microsecond=0)  # TUF times have whole seconds


def _version_of(data: bytes) -> int:
    version: int = Metadata.from_bytes(data).signed.version
    return version
