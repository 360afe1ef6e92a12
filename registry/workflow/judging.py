"""Judging: the steps of the order of verification that only look, from the publisher to the object map; nothing here changes the site.

Import takes these steps and commits what they allow; a plan takes them and commits nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from registry.content.digest import Digest
from registry.errors import AirlockError, FormatRefused, MediumDamaged, RecipientRefused, TrustRefused
from registry.media.index import Index
from registry.media.seal import Seal
from registry.media.sets import Header
from registry.store.medium import SetFolder
from registry.store.site import PublisherRecord
from registry.trust.keys import short
from registry.trust.refresh import CAPS, OfferedMetadata, Refreshed, issued_at
from registry.trust.statement import parse_statement
from registry.trust.verifier import VerifiedRelease, verify_release
from registry.workflow.offered import read_header, read_index, seal_of
from registry.workflow.site import OpenSite

__all__ = ["ArrivingSet", "compare_object_map", "first_readable", "is_here", "newest_first", "trusted_publisher", "unseal", "verify_statements"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ArrivingSet:
    """A set whose index was unsealed and verified."""

    folders: list[SetFolder]
    header: Header
    seal: Seal
    index: Index


def newest_first(folders: list[SetFolder]) -> list[SetFolder]:
    """Return media of one set, those that claim the newest metadata first: a repair has newer ones than the media before it."""

    def issued(folder: SetFolder) -> datetime:
        try:
            return issued_at(folder.read("metadata/timestamp.json", CAPS["timestamp"]))
        except AirlockError:
            return datetime.min.replace(tzinfo=UTC)

    return sorted(folders, key=issued, reverse=True)


def trusted_publisher(site: OpenSite, folders: list[SetFolder], offered: OfferedMetadata) -> PublisherRecord:
    """Return the publisher that a set claims to be by, if it is trusted here.

    Raises:
        TrustRefused: it isn't, or isn't any more.
    """
    set_id, record = folders[0].set_id, site.log.publisher(offered.publisher)
    if record is None:
        raise TrustRefused(
            f"set {set_id}: by a publisher that is not trusted here",
            why=f"publisher {offered.publisher}",
            hint=f"ask the publisher for the root's fingerprint by phone, then: airlock trust add {folders[0].path.parent.parent} --fingerprint …",
        )
    if not record.trusted:
        raise _no_longer_trusted(set_id, record)
    return record


def _no_longer_trusted(set_id: str, record: PublisherRecord) -> TrustRefused:
    if record.replaced_by is not None:
        why = f"publisher {short(record.publisher)} was replaced by {short(record.replaced_by)} on {record.removed}"
        return TrustRefused(f"set {set_id}: by a publisher that was replaced", why=why, hint="ask the publisher for a set by the new station")
    return TrustRefused(
        f"set {set_id}: by a publisher that is no longer trusted here",
        why=f"trust in publisher {short(record.publisher)} was removed on {record.removed}",
        hint="if that was a mistake: airlock trust add MEDIUM --fingerprint …, after comparing by phone",
    )


def unseal(site: OpenSite, folders: list[SetFolder], refreshed: Refreshed) -> ArrivingSet:
    """Step 4: header, set key, index; the set must be meant for this site.

    Raises:
        RecipientRefused: sealed to others, or meant for others.
        FormatRefused, SignatureRefused, TrustRefused: not what the station wrote.
    """
    keys, threshold = refreshed.keys("timestamp")

    def read(folder: SetFolder) -> tuple[Header, Seal, Index]:
        header = read_header(folder)
        seal = _seal(site, header)
        return header, seal, read_index(folder, header, seal, keys, threshold)

    header, seal, index = first_readable(folders, read)
    if index.publisher != refreshed.trusted.publisher:
        raise TrustRefused(f"set {index.set_id}: its index names another publisher", why=f"found {short(index.publisher)}")
    if site.site not in index.sites:
        raise RecipientRefused(
            f"set {index.set_id}: not meant for this site",
            why=f"this site is {short(site.site)}, the set is for {', '.join(map(short, index.sites))}",
            hint="ask the publisher for a set for this site; give them this site's site.pub",
        )
    return ArrivingSet(folders, header, seal, index)


def first_readable(folders: list[SetFolder], read: Callable[[SetFolder], T]) -> T:
    """Return what the first medium gives that can be read; the media of a set, and their copies, say the same, but for metadata."""
    for folder in folders[:-1]:
        try:
            return read(folder)
        except (MediumDamaged, FormatRefused):
            continue
    return read(folders[-1])


def _seal(site: OpenSite, header: Header) -> Seal:
    seal = seal_of(header, site.identities)
    if seal is None:
        raise RecipientRefused(
            f"set {header.set_id}: sealed to others, not to this site",
            why=f"this site's recipient key is {short(site.identity.recipient.key_id)}, the set is sealed to {', '.join(map(short, header.keys))}",
            hint=f"give the publisher this site's site.pub ({site.home.root / 'site.pub'}) and ask for a fresh export",
        )
    return seal


def verify_statements(
    site: OpenSite, index: Index, refreshed: Refreshed, namespaces: Iterable[str]
) -> tuple[list[VerifiedRelease], list[AirlockError]]:
    """Step 5: return the releases that stand, and why others don't."""
    releases: list[VerifiedRelease] = []
    refused: list[AirlockError] = []
    seen: dict[tuple[str, int], Digest] = {}
    for statement in index.statements:
        try:
            verified = verify_release(
                statement,
                publisher=index.publisher,
                targets=refreshed.targets.targets,
                namespaces=namespaces,
                site=site.site,
                known=lambda reference, number: known.manifest if (known := site.log.release_of(reference, number)) else None,
            )
        except AirlockError as refusal:
            refused.append(refusal)
            continue
        release = verified.release
        if seen.setdefault((str(release.reference), release.number), release.manifest.digest) != release.manifest.digest:
            refused.append(TrustRefused(f"{release.name}: stated twice in one set, with two contents"))
            continue
        releases.append(verified)
    return releases, refused


def compare_object_map(index: Index) -> None:
    """Refuse a set whose objects are not exactly those that its statements name, before any part is opened."""
    stated: dict[Digest, int] = {}
    for statement in index.statements:
        stated |= {each.digest: each.size for each in parse_statement(statement, what="statement").carried}
    mapped = {each.digest: each.size for each in index.objects} | {each.digest: each.size for each in index.have}
    if stated != mapped:
        odd = len(set(stated.items()) ^ set(mapped.items()))
        raise TrustRefused(
            f"set {index.set_id}: its object map is not what its statements name", why=f"{odd} object(s) differ", hint="ask the publisher by phone"
        )


def is_here(site: OpenSite, verified: VerifiedRelease) -> bool:
    """Tell whether a release is in the catalog, by this very publisher, and nothing of it is missing: else its set brings back what was lost."""
    release = verified.release
    known = site.log.release_of(release.reference, release.number)
    if known is None or known.publisher != release.publisher:
        return False
    return all(site.blobs.holds(blob.digest, blob.size) for blob in release.carried)
