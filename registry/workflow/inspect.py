"""Inspect: what a medium says in clear, and everything it says once a keystore is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from securesystemslib.signer import SSlibKey
from tuf.api.metadata import Metadata
from tuf.api.serialization import DeserializationError

from registry.errors import AirlockError, FormatRefused, RecipientRefused, Usage
from registry.media.index import Index
from registry.media.recipients import Identity
from registry.media.sets import Header
from registry.store.home import Home
from registry.store.medium import SetFolder, find_sets
from registry.trust.keys import public_from_json
from registry.trust.refresh import OfferedMetadata, adopt_publisher, fingerprint, issued_at
from registry.trust.roles import format_time
from registry.trust.statement import Release, parse_statement
from registry.workflow.offered import read_header, read_index, read_metadata, seal_of
from registry.workflow.station import Passphrase, open_keys

__all__ = ["Inspected", "inspect", "set_key_of"]


@dataclass(frozen=True, slots=True)
class Inspected:
    """One set as it lies on a medium.

    ``fingerprints`` are those of every root version, oldest first; ``parts`` how many lie here and ``size`` their bytes.  ``index`` is None and
    ``releases`` empty unless an identity opened the set.
    """

    set_id: str
    path: Path
    publisher: str
    fingerprints: tuple[str, ...]
    issued: datetime
    expires: datetime
    versions: Mapping[str, int]
    suite: str
    recipients: tuple[str, ...]
    parts: int
    size: int
    litter: tuple[str, ...]
    index: Index | None = None
    releases: tuple[Release, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return what ``inspect --json`` prints."""
        document: dict[str, Any] = {
            "set": self.set_id,
            "publisher": self.publisher,
            "fingerprint": self.fingerprints[-1],
            "fingerprints": list(self.fingerprints),
            "issued": format_time(self.issued),
            "expires": format_time(self.expires),
            "versions": dict(self.versions),
            "suite": self.suite,
            "recipients": list(self.recipients),
            "parts": self.parts,
            "size": self.size,
            "litter": list(self.litter),
            "opened": self.index is not None,
        }
        if self.index is not None:
            document |= {
                "created": self.index.created,
                "sites": list(self.index.sites),
                "parts_of_set": self.index.parts,
                "releases": [
                    {"name": str(each.reference), "release": each.number, "manifest": each.manifest.digest, "source": each.source}
                    for each in self.releases
                ],
            }
        return document


def inspect(medium: Path, home: Home | None, passphrase: Passphrase | None) -> list[Inspected]:
    """Return every set on a medium, newest first.  No private key is needed; with a keystore, sealed contents are shown too.

    Raises:
        NotFound: no set here.
        Refused: the metadata are not canonical, or their chain of roots doesn't hold.
    """
    identities = open_keys(home, passphrase())[1] if home is not None and passphrase is not None else ()
    return [_inspect(folder, identities) for folder in find_sets(medium)]


def set_key_of(medium: Path, home: Home, passphrase: Passphrase) -> tuple[str, bytes]:
    """Return the id and the key (32 bytes) of the newest set on a medium, so that other tools can open it (``docs/how-to/verify-by-hand.md``).

    Raises:
        RecipientRefused: the set is sealed to others.
    """
    folder = find_sets(medium)[0]
    header = read_header(folder)
    seal = seal_of(header, open_keys(home, passphrase())[1])
    if seal is None:
        raise RecipientRefused(f"set {folder.set_id}: sealed to others, not to this home", hint="airlock inspect DIR shows to whom")
    if seal.key is None:
        raise Usage(f"set {folder.set_id}: is not sealed", why="its files are plain; there is no key to write")
    return folder.set_id, seal.key


def _inspect(folder: SetFolder, identities: Sequence[Identity]) -> Inspected:
    offered = read_metadata(folder)
    fingerprints = tuple(map(fingerprint, offered.roots))
    adopt_publisher(offered, fingerprints[-1])  # the chain must hold, or its fingerprints mean nothing
    header = read_header(folder)
    parts = [size for name, (_, size) in folder.files.items() if name.startswith("parts/")]
    timestamp, snapshot, targets = (_signed(data, what) for data, what in _files(offered))
    opened = _open(folder, offered, header, identities)
    return Inspected(
        set_id=folder.set_id,
        path=folder.path,
        publisher=offered.publisher,
        fingerprints=fingerprints,
        issued=issued_at(offered.timestamp),
        expires=min(timestamp.expires, snapshot.expires, targets.expires),
        versions={"root": len(offered.roots), "timestamp": timestamp.version, "snapshot": snapshot.version, "targets": targets.version},
        suite=header.suite,
        recipients=tuple(sorted(header.keys)),
        parts=len(parts),
        size=sum(parts),
        litter=folder.litter,
        index=opened,
        releases=tuple(parse_statement(each, what="statement") for each in opened.statements) if opened else (),
    )


def _files(offered: OfferedMetadata) -> Sequence[tuple[bytes, str]]:
    return ((offered.timestamp, "timestamp.json"), (offered.snapshot, "snapshot.json"), (offered.targets, "targets.json"))


def _signed(data: bytes, what: str) -> Any:
    try:
        return Metadata[Any].from_bytes(data).signed
    except DeserializationError:  # python-tuf wraps whatever its parser can raise
        raise FormatRefused(f"{what}: not TUF metadata") from None


def _open(folder: SetFolder, offered: OfferedMetadata, header: Header, identities: Sequence[Identity]) -> Index | None:
    seal = seal_of(header, identities)
    if seal is None:
        return None
    root = Metadata[Any].from_bytes(offered.roots[-1]).signed
    role = root.roles["timestamp"]
    keys: list[SSlibKey] = [public_from_json(root.keys[keyid].to_dict(), what="root.json") for keyid in role.keyids]
    try:
        return read_index(folder, header, seal, keys, role.threshold)
    except AirlockError as refusal:
        refusal.unchanged = "inspect changes nothing"
        raise
