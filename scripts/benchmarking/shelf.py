"""Lay one model out where each server looks for it: the same bytes for all."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarking.certificate import issue

from registry.content.callers import KnownToken
from registry.content.digest import Digest, digest_of, hex_of
from registry.content.manifest import CONFIG_TYPE, Descriptor, Manifest
from registry.content.view import PublishedRelease, ServedState, View
from registry.store.blobs import LocalBlobStore
from registry.store.files import replace_file

REPOSITORY, TAG = "library/bench", "1"
CONFIG = b'{"model_format":"gguf"}'
DAY = 86_400


@dataclass(frozen=True, slots=True)
class Shelf:
    """One model in ``directory``: its weights of ``size`` bytes, its manifest and its config.

    ``tokens`` are the bearer tokens that airlock knows, one for each node that downloads; ``probe_token`` is that of whoever asks for the manifest.
    """

    directory: Path
    size: int
    weights: Digest
    manifest: Digest
    config: Digest
    tokens: tuple[str, ...]
    probe_token: str

    @property
    def blobs(self) -> LocalBlobStore:
        """The blob store in which airlock and nginx find it."""
        return LocalBlobStore(self.directory / "blobs")

    @property
    def view(self) -> Path:
        """The published view, by which airlock finds it."""
        return self.directory / "view.json"

    @property
    def certificate(self) -> Path:
        """The certificate of every server, and the one that every client trusts."""
        return self.directory / "tls.pem"

    @property
    def key(self) -> Path:
        """The key of the certificate."""
        return self.directory / "tls.key"


def fill(directory: Path, size: int, nodes: int) -> Shelf:
    """Write a model of ``size`` random bytes, the view that promotes it, tokens for ``nodes`` nodes, and the certificate."""
    blobs = LocalBlobStore(directory / "blobs")
    weights, config = _weights(directory, blobs, size), blobs.add(CONFIG)
    layers = (Descriptor("application/vnd.ollama.image.model", weights, size),)
    manifest = blobs.add(Manifest(Descriptor(CONFIG_TYPE, config, len(CONFIG)), layers).to_bytes())
    names = [f"node-{number:03}" for number in range(nodes)]
    texts = {name: f"airlock_{name}-{os.urandom(16).hex()}" for name in (*names, "probe")}
    known = tuple(KnownToken(name, digest_of(text.encode()), ("library/*",), int(time.time()) + DAY, ()) for name, text in texts.items())
    release = PublishedRelease("ab" * 32, REPOSITORY, TAG, 1, ServedState.PROMOTED, manifest, digest_of(b""))
    shelf = Shelf(directory, size, weights, manifest, config, tuple(texts[name] for name in names), texts["probe"])
    replace_file(shelf.view, View("bench", 1, (release,), tokens=known).to_bytes())
    issue(shelf.certificate, shelf.key)
    return shelf


def _weights(directory: Path, blobs: LocalBlobStore, size: int) -> Digest:
    incoming, hashed = directory / "incoming", hashlib.sha256()
    block = os.urandom(1 << 20)
    with incoming.open("wb") as file:
        for _ in range(size >> 20):
            file.write(block)
            hashed.update(block)
    digest = Digest(f"sha256:{hashed.hexdigest()}")
    blobs.path(digest).parent.mkdir(parents=True, exist_ok=True)
    incoming.rename(blobs.path(digest))
    return digest


def docker_store(shelf: Shelf, store: Path) -> None:
    """Lay the model out as docker-registry stores it, by hard links."""
    root = store / "docker/registry/v2"
    repository = root / "repositories" / REPOSITORY
    tag = repository / "_manifests/tags" / TAG
    links = [repository / "_layers/sha256" / hex_of(each) / "link" for each in (shelf.weights, shelf.config)]
    named = [
        repository / "_manifests/revisions/sha256" / hex_of(shelf.manifest) / "link",
        tag / "current/link",
        tag / "index/sha256" / hex_of(shelf.manifest) / "link",
    ]
    for digest in (shelf.weights, shelf.config, shelf.manifest):
        data = root / "blobs/sha256" / hex_of(digest)[:2] / hex_of(digest) / "data"
        data.parent.mkdir(parents=True)
        data.hardlink_to(shelf.blobs.path(digest))
    for link, digest in [*zip(links, (shelf.weights, shelf.config), strict=True), *((each, shelf.manifest) for each in named)]:
        link.parent.mkdir(parents=True)
        link.write_text(digest)
