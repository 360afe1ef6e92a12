"""Adopting: a site that had models before learns their digests, so that its receipts name them and nobody carries them again."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from registry.content.digest import Digest, from_hex
from registry.errors import AirlockError, MediumDamaged, NotFound
from registry.sources.old_shares import FoundFile, find_model_files, open_unlinked
from registry.store.files import storage_errors
from registry.store.home import SITE, Home
from registry.trust.statement import parse_statement
from registry.workflow.actor import Credentials
from registry.workflow.adopted import AdoptedFile, list_digest, read_adopted, write_adopted
from registry.workflow.progress import Advance, Progress
from registry.workflow.site import open_site, read_site

__all__ = ["Adopted", "AdoptedState", "adopt", "adopted_states"]

_CHUNK = 4 << 20


@dataclass(frozen=True, slots=True)
class Adopted:
    """What adopting found: every file whose digest is known now, whether that changed the list, and what can't be used, a refusal each."""

    files: dict[Digest, AdoptedFile]
    fresh: tuple[Digest, ...]
    changed: bool
    refused: tuple[AirlockError, ...]


@dataclass(frozen=True, slots=True)
class AdoptedState:
    """One adopted blob: the releases that are made of it, none as long as no publisher has vouched for it; and whether its file is as it was.

    One that is under control lies in the store: its file is no longer needed.
    """

    digest: Digest
    file: AdoptedFile
    releases: tuple[str, ...]
    unchanged: bool


def adopt(home: Home, places: Sequence[Path], credentials: Credentials, *, now: datetime, progress: Progress) -> Adopted:
    """Hash every model file at ``places`` once and remember where it lies; what was known below these places before is forgotten.

    Raises:
        NotFound: a place is not there, or no model file at any of them.
        MediumDamaged: a directory can't be read.
    """
    home.require(SITE)
    absolute = [Path(os.path.abspath(each.expanduser())) for each in places]  # noqa: PTH100 - resolve() would follow links, absolute() keep ".."
    found = [each for place in absolute for each in _find(place)]
    if not found:
        raise NotFound(
            "there is no model file",
            why=f"looked below {', '.join(map(str, absolute))} for *.gguf, *.safetensors, *.bin and Ollama's blobs/sha256-…",
            hint="name an Ollama models directory (the one with blobs and manifests in it), or a file",
        )
    phrase = credentials.passphrase() if credentials.own is None else ""
    known = credentials if credentials.own else Credentials(lambda: phrase)
    with open_site(home, known, "adopt"):
        pass  # who may not act here learns it before an hour of hashing, and not after; others may write meanwhile
    fresh, refused = _hash_all(found, progress)
    with open_site(home, known, "adopt") as site:
        before = read_adopted(home)
        kept = {digest: file for digest, file in before.items() if not any(file.path.is_relative_to(place) for place in absolute)}
        files = {**kept, **fresh}
        write_adopted(home, files)
        if changed := files.keys() != before.keys():
            with site.log.transaction():
                subject = {"objects": len(files), "digest": list_digest(files)}
                site.log.append("adopt.list", subject, signer=site.actor, now=now)
    return Adopted(files, tuple(sorted(fresh)), changed, tuple(refused))


def adopted_states(home: Home) -> list[AdoptedState]:
    """Return every adopted blob, by path."""
    with read_site(home) as log:
        made: dict[Digest, list[str]] = {}
        for release in log.releases():
            for blob in parse_statement(log.document(release.statement), what=f"statement of {release.name}").objects:
                made.setdefault(blob.digest, []).append(release.name)
    states = [AdoptedState(digest, file, tuple(made.get(digest, ())), file.is_unchanged()) for digest, file in read_adopted(home).items()]
    return sorted(states, key=lambda each: each.file.path)


def _find(place: Path) -> list[FoundFile]:
    if not place.exists():
        raise NotFound(f"{place}: there is no such file or directory", hint="name an Ollama models directory, an old share, or a file")
    with storage_errors(str(place), kind=MediumDamaged, hint="let this user read it, then run the same command again"):
        return list(find_model_files(place))


def _hash_all(found: Iterable[FoundFile], progress: Progress) -> tuple[dict[Digest, AdoptedFile], list[AirlockError]]:
    files = {each.path: each for each in found}
    fresh: dict[Digest, AdoptedFile] = {}
    refused: list[AirlockError] = []
    with progress.task(f"hashing {len(files)} file(s)", sum(each.size for each in files.values())) as advance:
        for each in files.values():
            try:
                digest, file = _hash(each, advance)
                fresh.setdefault(digest, file)
            except AirlockError as refusal:
                refused.append(refusal)
    return fresh, refused


def _hash(found: FoundFile, advance: Advance) -> tuple[Digest, AdoptedFile]:
    sha256, size, buffer = hashlib.sha256(), 0, memoryview(bytearray(_CHUNK))
    with storage_errors(str(found.path), kind=MediumDamaged), open_unlinked(found.path) as stream:
        while count := stream.readinto(buffer):
            sha256.update(buffer[:count])
            size += count
            advance(count)
        status = os.fstat(stream.fileno())
    digest = from_hex(sha256.hexdigest())
    if size != status.st_size:
        raise MediumDamaged(f"{found.path}: changed while it was read", hint="adopt it when nobody writes to it")
    if found.claimed is not None and digest != found.claimed:
        raise MediumDamaged(
            f"{found.path}: corrupt",
            why=f"Ollama calls it {found.claimed}, its content has the digest {digest}",
            hint="Ollama does not notice; nobody should use it: ask the publisher for this model whole",
        )
    return digest, AdoptedFile(found.path, size, status.st_mtime_ns)
