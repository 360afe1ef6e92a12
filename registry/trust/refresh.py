"""The TUF client workflow over a medium: bytes in, trusted metadata out (TUF 1.0, section 5.3 to 5.6).

The decisions are python-tuf's ``TrustedMetadataSet``; around them stands what a medium needs and a download doesn't: the clock is an argument,
every file has one spelling, every signature in it must be valid, roots already trusted must be byte-equal, older metadata are recognised instead
of refused (their content may still be good), and no statement may vanish.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import SSlibKey
from tuf.api import exceptions as tuf_errors
from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from registry.errors import FormatRefused, SignatureRefused, TrustRefused
from registry.trust.keys import public_from_json, short
from registry.trust.roles import format_time, serialise
from registry.trust.withdrawal import Severity, withdrawals_in

if TYPE_CHECKING:
    from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet

__all__ = [
    "CAPS",
    "MAX_ROOTS",
    "Age",
    "OfferedMetadata",
    "Refreshed",
    "TrustedMetadata",
    "adopt_publisher",
    "check_roots",
    "expires_at",
    "fingerprint",
    "issued_at",
    "refresh",
]

T = TypeVar("T", Root, Timestamp, Snapshot, Targets)

CAPS = {"root": 1 << 20, "timestamp": 64 << 10, "snapshot": 1 << 20, "targets": 32 << 20}
"""The greatest length of each metadata file, in bytes."""
MAX_ROOTS = 1000
_CLOCK_SKEW = timedelta(hours=24)
_ASK = "keep this medium, import nothing from it, and ask the publisher by phone"
_HEX = re.compile(r"[0-9a-f]+\Z")


class Age(Enum):
    """How offered metadata compare with the trusted ones."""

    NEWER = "newer"
    SAME = "same"
    OLDER = "older"


@dataclass(frozen=True, slots=True)
class OfferedMetadata:
    """The untrusted metadata of one set: ``roots[0]`` is version 1, complete to the newest."""

    roots: tuple[bytes, ...]
    timestamp: bytes
    snapshot: bytes
    targets: bytes

    @property
    def publisher(self) -> str:
        """The publisher id: SHA-256 of the first root, 64 hexadecimal digits."""
        return fingerprint(self.roots[0])


@dataclass(frozen=True, slots=True)
class TrustedMetadata:
    """What a site trusts of one publisher.  The last three are ``None`` until the first import."""

    roots: tuple[bytes, ...]
    timestamp: bytes | None = None
    snapshot: bytes | None = None
    targets: bytes | None = None

    @property
    def publisher(self) -> str:
        """The publisher id."""
        return fingerprint(self.roots[0])


@dataclass(frozen=True, slots=True)
class Refreshed:
    """The result of :func:`refresh`: what to trust from now on, and how the offered metadata compare with that."""

    age: Age
    trusted: TrustedMetadata
    root: Root
    targets: Targets
    issued: datetime

    def keys(self, role: str) -> tuple[tuple[SSlibKey, ...], int]:
        """Return the keys of a role of the newest trusted root, and its threshold."""
        definition = self.root.roles[role]
        return tuple(_key(self.root, keyid) for keyid in definition.keyids), definition.threshold


def fingerprint(root: bytes) -> str:
    """Return the fingerprint of a root version: the SHA-256 of its bytes, 64 hexadecimal digits."""
    return hashlib.sha256(root).hexdigest()


def issued_at(timestamp: bytes) -> datetime:
    """Return the signed time at which ``timestamp`` was issued."""
    return _issued(_load(Timestamp, timestamp, "timestamp.json"))


def adopt_publisher(offered: OfferedMetadata, expected: str) -> TrustedMetadata:
    """Return the first trust in a publisher, whose chain of roots contains one with the fingerprint ``expected``.

    The whole chain from version 1 must hold, each root signed by its predecessor and by itself.

    Raises:
        TrustRefused: no root of the chain has this fingerprint.
        SignatureRefused, FormatRefused: the chain doesn't hold.
    """
    fingerprints = [fingerprint(root) for root in offered.roots]
    if expected not in fingerprints:
        raise TrustRefused(
            "the fingerprint is not that of this publisher",
            why=f"you gave {expected}\nroot {len(fingerprints)} on the medium has {fingerprints[-1]}",
            hint="compare the fingerprint with the publisher by phone, never from the medium itself; do not import this medium until both agree",
        )
    check_roots(offered.roots)
    return TrustedMetadata(offered.roots)


def refresh(trusted: TrustedMetadata, offered: OfferedMetadata, *, now: datetime, floor: datetime | None) -> Refreshed:
    """Judge the metadata of a set against what is trusted.

    Args:
        trusted: what this site trusts of the publisher.
        offered: what lies on the medium.
        now: this site's clock, aware, UTC.
        floor: the newest ``issued`` accepted here from any publisher.

    Raises:
        TrustRefused: rolled back, mixed, forked, expired, from the future, a statement vanished, or our clock runs behind.
        SignatureRefused: too few signatures, or one that is not valid.
        FormatRefused: not canonical metadata.
    """
    _refuse_clock_behind(now, floor)
    if offered.publisher != trusted.publisher:
        raise TrustRefused("the set is by another publisher", why=f"expected {short(trusted.publisher)}, found {short(offered.publisher)}")
    for version, (ours, theirs) in enumerate(zip(trusted.roots, offered.roots, strict=False), start=1):
        if ours != theirs:
            raise TrustRefused(
                f"root {version} is not the one trusted here",
                why=f"trusted {fingerprint(ours)}\nfound   {fingerprint(theirs)}",
                hint="somebody signed a second history; ask the publisher by phone before anything else",
            )
    roots = max(trusted.roots, offered.roots, key=len)
    issued = issued_at(offered.timestamp)  # before its signature is checked: nobody gains by a refusal
    if issued > now + _CLOCK_SKEW:
        raise TrustRefused(
            "the set was issued in the future",
            why=f"issued {format_time(issued)}, this machine's clock says {format_time(now)}",
            hint="set this machine's clock right; if it is right, the publisher must set the station's clock right and export again",
        )
    _self_consistent(offered, issued)
    _refuse_expired(offered, now)
    age = _age(trusted, roots, offered, now)
    newest = trusted if age is Age.OLDER else TrustedMetadata(roots, offered.timestamp, offered.snapshot, offered.targets)
    final = _updated(trusted, newest, now)
    if age is Age.NEWER and trusted.targets is not None:
        _refuse_vanished(_load(Targets, trusted.targets, "targets.json").targets, final.targets.targets)
    withdrawals_in(final.targets.targets)  # whatever it says must be something we understand
    return Refreshed(age, newest, final.root, final.targets, issued)


def _refuse_clock_behind(now: datetime, floor: datetime | None) -> None:
    if floor is not None and now < floor:
        raise TrustRefused(
            "this machine's clock runs behind",
            why=f"a set issued {format_time(floor)} was accepted here, the clock says {format_time(now)}",
            hint="set the clock right, then run the same command again",
        )


def expires_at(offered: OfferedMetadata) -> datetime:
    """Return when the delivery window of a set with these metadata ends: from then on no site imports it."""
    files = (offered.roots[-1], offered.timestamp, offered.snapshot, offered.targets)
    return min(Metadata.from_bytes(data).signed.expires for data in files)


def _refuse_expired(offered: OfferedMetadata, now: datetime) -> None:
    expires = expires_at(offered)
    if now >= expires:
        raise TrustRefused(
            "the set is too old to be imported",
            why=f"its delivery window ended {format_time(expires)}, this machine's clock says {format_time(now)}",
            hint="ask the publisher for a fresh export: airlock export --to MEDIUM --recipient site.pub",
        )


def _self_consistent(offered: OfferedMetadata, issued: datetime) -> None:
    """Verify the offered files against the newest root among them, as of when they were issued."""
    check_roots(offered.roots)
    root = _load(Root, offered.roots[-1], "root.json")
    _load(Snapshot, offered.snapshot, "snapshot.json")
    _load(Targets, offered.targets, "targets.json")
    everything = TrustedMetadata(offered.roots, offered.timestamp, offered.snapshot, offered.targets)
    _updated(TrustedMetadata(offered.roots), everything, issued)
    for role in ("timestamp", "snapshot", "targets"):
        _refuse_stray_signatures(getattr(offered, role), [root], role, f"{role}.json")


def _age(trusted: TrustedMetadata, roots: tuple[bytes, ...], offered: OfferedMetadata, now: datetime) -> Age:
    known = _with_known_timestamp(trusted, roots, now).get(Timestamp.type)
    if known is None:
        return Age.NEWER
    theirs = _load(Timestamp, offered.timestamp, "timestamp.json")
    if theirs.version != known.version:
        return Age.NEWER if theirs.version > known.version else Age.OLDER
    if (offered.timestamp, offered.snapshot, offered.targets) != (trusted.timestamp, trusted.snapshot, trusted.targets):
        raise TrustRefused(
            f"two different lists with the version number {theirs.version}",
            why="the station signed twice with one number, or somebody else has its key",
            hint="ask the publisher by phone; they look at: airlock log",
        )
    return Age.SAME if len(roots) == len(trusted.roots) else Age.NEWER


def _updated(trusted: TrustedMetadata, newest: TrustedMetadata, now: datetime) -> TrustedMetadataSet:
    """Run the client workflow from what is trusted to ``newest``, with python-tuf's checks of every step."""
    if newest.timestamp is None or newest.snapshot is None or newest.targets is None:
        raise TrustRefused("nothing was imported from this publisher yet")
    known = _with_known_timestamp(trusted, newest.roots, now)
    with _translated("timestamp.json"), suppress(tuf_errors.EqualVersionNumberError):
        known.update_timestamp(newest.timestamp)
    if trusted.snapshot is not None and newest is not trusted:
        # Loaded only to guard against rollback; a rotated key or a newer timestamp make it unfit as the final one (5.5.3 to 5.5.6).
        with suppress(tuf_errors.RepositoryError):
            known.update_snapshot(trusted.snapshot, trusted=True)
    with _translated("snapshot.json"):
        known.update_snapshot(newest.snapshot)
    with _translated("targets.json"):
        known.update_targets(newest.targets)
    return known


def _with_known_timestamp(trusted: TrustedMetadata, roots: tuple[bytes, ...], now: datetime) -> TrustedMetadataSet:
    fresh = _trusting(roots[-1])
    fresh.reference_time = now
    if trusted.timestamp is not None:
        # Expired: still guards against rollback.  Unsigned: the newest root rotated its key, which ends its reign (5.3.11, fast-forward recovery).
        with suppress(tuf_errors.ExpiredMetadataError, tuf_errors.UnsignedMetadataError):
            fresh.update_timestamp(trusted.timestamp)
    return fresh


def _trusting(root: bytes) -> TrustedMetadataSet:
    # Imported here: tuf.ngclient brings urllib3, and a station that only writes metadata shouldn't wait for it.
    from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet  # noqa: PLC0415 - docs/adr/0002: the clock is its public field
    from tuf.ngclient.config import EnvelopeType  # noqa: PLC0415

    return TrustedMetadataSet(root, EnvelopeType.METADATA)


def _refuse_vanished(before: Mapping[str, TargetFile], after: Mapping[str, TargetFile]) -> None:
    said_before, said_after = withdrawals_in(before), withdrawals_in(after)
    # It may become more urgent, never less, and never be taken back.
    unsaid = {path for path, each in said_before.items() if path not in said_after or said_after[path].severity not in (each.severity, Severity.STOP)}
    if unsaid & set(after):
        raise TrustRefused(
            f"{len(unsaid)} withdrawal(s) vanished from the publisher's list",
            why=f"withdrawn for this site, standing again in the new list: {', '.join(path[:12] + '…' for path in sorted(unsaid)[:5])}",
            hint="a withdrawal is for ever; the publisher exports the model as a new release instead",
        )
    vanished = sorted(set(before) - set(after))
    if vanished:
        raise TrustRefused(
            f"{len(vanished)} statement(s) vanished from the publisher's list",
            why=f"trusted here, but no longer listed and not withdrawn: {', '.join(path[:12] + '…' for path in vanished[:5])}",
            hint="a publisher withdraws by saying so; ask them by phone why the list is shorter",
        )


def check_roots(roots: tuple[bytes, ...]) -> None:
    """Verify each root against its predecessor and itself (5.3.3 to 5.3.7)."""
    previous: Root | None = None
    with _translated("root.json"):
        chain = _trusting(roots[0])
        for version, data in enumerate(roots, start=1):
            name = f"{version}.root.json"
            root = _load(Root, data, name)
            if root.version != version:
                raise TrustRefused(f"{name}: has another version", why=f"expected {version}, found {root.version}")
            if previous is not None:
                chain.update_root(data)
            _refuse_stray_signatures(data, [root] if previous is None else [previous, root], "root", name)
            previous = root


def _refuse_stray_signatures(data: bytes, delegators: list[Root], role: str, what: str) -> None:
    """Refuse a signature that no key of the role made: every byte of a file must be accounted for, beyond the threshold too."""
    metadata: Metadata[Any] = Metadata.from_bytes(data)
    keys = {keyid: _key(root, keyid) for root in delegators for keyid in root.roles[role].keyids}
    for keyid, signature in metadata.signatures.items():
        if keyid not in keys:
            raise SignatureRefused(f"{what}: signed by an unknown key", why=f"key {short(keyid)} does not speak for the role {role}")
        try:
            keys[keyid].verify_signature(signature, metadata.signed_bytes)
        except UnverifiedSignatureError:
            raise SignatureRefused(f"{what}: its signature is not valid", why=f"key {short(keyid)} did not sign these bytes") from None


def _load(role: type[T], data: bytes, what: str) -> T:
    """Parse one metadata file that must stand in the one spelling :func:`registry.trust.roles.serialise` writes."""
    if len(data) > CAPS[role.type]:
        raise FormatRefused(f"{what}: too large", why=f"at most {CAPS[role.type]} bytes are allowed, found {len(data)}")
    try:
        metadata: Metadata[Any] = Metadata.from_bytes(data)
        again = serialise(metadata)
    except (DeserializationError, RecursionError, ValueError):
        raise FormatRefused(f"{what}: not TUF metadata", why="it can't be read as the JSON of a TUF role", hint=_ASK) from None
    if metadata.signed.type != role.type:
        raise FormatRefused(f"{what}: has another type", why=f"expected {role.type}, found {metadata.signed.type}")
    # Members beside "signed" and in signatures are covered by no signature, so there may be none that python-tuf doesn't know.
    unsigned = [metadata.unrecognized_fields, *(each.unrecognized_fields for each in metadata.signatures.values())]
    if again != data or any(unsigned) or any(not _HEX.match(signature.signature) for signature in metadata.signatures.values()):
        raise FormatRefused(f"{what}: not in canonical form", why="the same metadata written canonically give other bytes", hint=_ASK)
    signed = metadata.signed
    assert isinstance(signed, role)
    return signed


def _issued(timestamp: Timestamp) -> datetime:
    text = timestamp.unrecognized_fields.get("issued")
    try:
        return datetime.strptime(str(text), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise FormatRefused(
            "timestamp.json: says no time of issue", why=f"expected issued as 2026-11-21T18:09:00Z, found {str(text)[:40]!r}"
        ) from None


def _key(root: Root, keyid: str) -> SSlibKey:
    key = root.keys[keyid]
    # Through our own parser: one algorithm list, one spelling, and the key id is what the key's bytes say.
    parsed = public_from_json(key.to_dict(), what="root.json")
    if parsed.keyid != keyid:
        raise FormatRefused("root.json: a key id is not that of its key", why=f"expected {short(parsed.keyid)}, found {short(keyid)}")
    return parsed


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Turn python-tuf's errors into ours."""
    try:
        yield
    except tuf_errors.UnsignedMetadataError as error:
        raise SignatureRefused(f"{what}: not signed by whom the root says", why=str(error), hint=_ASK) from None
    except tuf_errors.ExpiredMetadataError as error:
        raise TrustRefused(f"{what}: expired", why=str(error), hint="ask the publisher for a fresh export") from None
    except tuf_errors.LengthOrHashMismatchError as error:
        raise TrustRefused(f"{what}: does not belong to the other metadata", why=str(error), hint=_ASK) from None
    except tuf_errors.BadVersionNumberError as error:
        raise TrustRefused(f"{what}: rolled back or mixed", why=str(error), hint=_ASK) from None
    except (tuf_errors.RepositoryError, DeserializationError, ValueError) as error:
        raise TrustRefused(f"{what}: can't be trusted", why=str(error), hint=_ASK) from None
