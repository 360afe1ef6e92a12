"""What a set on a medium offers, read in the order of verification: metadata, header, index."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from securesystemslib.signer import SSlibKey

from registry.content.digest import digest_of
from registry.errors import FormatRefused, MediumDamaged
from registry.media.index import MAX_INDEX_BYTES, Index, parse_index
from registry.media.recipients import Identity, identity_for, unwrap
from registry.media.seal import Seal
from registry.media.sets import MAX_HEADER_BYTES, PLAIN, Header, parse_header
from registry.store.files import storage_errors
from registry.store.medium import SetFolder
from registry.trust.envelope import INDEX_TYPE, open_envelope
from registry.trust.refresh import CAPS, OfferedMetadata

__all__ = ["read_header", "read_index", "read_metadata", "seal_of"]

_MAX_ENVELOPE_BYTES = 2 * MAX_INDEX_BYTES  # base64 and the signatures around the payload


def read_metadata(folder: SetFolder) -> OfferedMetadata:
    """Return the untrusted TUF metadata of a set: every root from version 1 on, timestamp, snapshot, targets."""
    count = folder.roots
    if count == 0:
        raise FormatRefused(f"set {folder.set_id}: metadata/1.root.json is missing", hint="copy the medium again, all of its sub-folders")
    stray = [name for name in folder.files if name.endswith(".root.json") and int(name[9:].partition(".")[0]) > count]
    if stray:
        raise FormatRefused(f"set {folder.set_id}: metadata/{count + 1}.root.json is missing", why=f"but {stray[0]} is there")
    roots = tuple(folder.read(f"metadata/{version}.root.json", CAPS["root"]) for version in range(1, count + 1))
    rest = (folder.read(f"metadata/{role}.json", CAPS[role]) for role in ("timestamp", "snapshot", "targets"))
    return OfferedMetadata(roots, *rest)


def read_header(folder: SetFolder) -> Header:
    """Return the set's header; it must name the folder it lies in."""
    header = parse_header(folder.read("set.json", MAX_HEADER_BYTES), what=f"set {folder.set_id}: set.json")
    if header.set_id != folder.set_id:
        raise FormatRefused(f"set {folder.set_id}: set.json belongs to another set", why=f"it names {header.set_id}")
    return header


def seal_of(header: Header, identities: Iterable[Identity]) -> Seal | None:
    """Return the seal of a set that one of ``identities`` opens, or that is plain; None where it is sealed to others.

    Raises:
        RecipientRefused: the wrapped key was changed on the way.
    """
    if header.suite == PLAIN:
        return Seal(header.set_id, None)
    identity = identity_for(header.keys, header.suite, identities)
    if identity is None:
        return None
    return Seal(header.set_id, unwrap(header.keys[identity.recipient.key_id], identity, set_id=header.set_id))


def read_index(folder: SetFolder, header: Header, seal: Seal, keys: Sequence[SSlibKey], threshold: int) -> Index:
    """Unseal the index, check its signatures, then parse it; it must belong to this set and this very header.

    Args:
        folder: where it lies.
        header: the set's header.
        seal: how the set is sealed.
        keys: who may sign an index: the timestamp role of the newest trusted root.
        threshold: how many of them must.

    Raises:
        FormatRefused: cut, edited, or not an index.
        SignatureRefused: not signed by the station.
    """
    what = f"set {folder.set_id}: index"
    if seal.index_name not in folder.files:
        raise FormatRefused(f"{what} is missing", hint="copy the medium again, all of its files")
    size = folder.files[seal.index_name][1]
    try:
        with storage_errors(f"the medium {folder.path}", kind=MediumDamaged), folder.open(seal.index_name) as source:
            envelope = seal.open_index(source, size, limit=_MAX_ENVELOPE_BYTES)
    except MediumDamaged as damage:
        # The index is metadata: whoever changed it meant to change what is imported.
        raise FormatRefused(damage.what, why=damage.why, hint="copy the medium again or ask for a fresh export") from damage
    index = parse_index(open_envelope(envelope, INDEX_TYPE, keys, threshold, what=what, limit=_MAX_ENVELOPE_BYTES).payload, what=what)
    if index.set_id != folder.set_id or index.header != digest_of(header.to_bytes()):
        raise FormatRefused(f"{what} belongs to another set or to another header", hint="copy the medium again or ask for a fresh export")
    return index
