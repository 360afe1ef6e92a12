"""Structure: what arrived must be a model that Ollama may run (step 7 of the order of verification)."""

from __future__ import annotations

from registry.content.config import parse_config
from registry.content.gguf import parse_gguf
from registry.content.manifest import MAX_MANIFEST_BYTES, Descriptor, Manifest, parse_manifest
from registry.content.modelfile import MODEL_TYPE
from registry.errors import FormatRefused
from registry.store.blobs import LocalBlobStore
from registry.trust.statement import Release

__all__ = ["check_structure"]

_GGUF_TYPES = frozenset({MODEL_TYPE, *(f"application/vnd.ollama.image.{kind}" for kind in ("draft", "adapter", "projector"))})


def check_structure(blobs: LocalBlobStore, release: Release) -> Manifest:
    """Return the model, read from blobs whose digests were checked.

    Raises:
        FormatRefused: the manifest is not canonical or names other blobs than the statement, or a model layer is no GGUF file: formats that
            can run code on load never pass.
        PolicyRefused: the model would send its users' prompts to another machine.
    """
    manifest = parse_manifest(blobs.read(release.manifest.digest, limit=MAX_MANIFEST_BYTES), what=f"manifest of {release.name}")
    stated = {(each.media_type, each.digest, each.size) for each in release.objects[1:]}
    if {(each.media_type, each.digest, each.size) for each in manifest.blobs} != stated:
        raise FormatRefused(f"{release.name}: its manifest names other blobs than its statement")
    parse_config(blobs.read(manifest.config.digest, limit=manifest.config.size), what=f"config of {release.name}")
    for layer in manifest.layers:
        if layer.media_type in _GGUF_TYPES:
            _check_gguf(blobs, release, layer)
    return manifest


def _check_gguf(blobs: LocalBlobStore, release: Release, layer: Descriptor) -> None:
    with blobs.path(layer.digest).open("rb") as stream:
        parse_gguf(stream, layer.size, what=f"{release.name}: {layer.media_type.rpartition('.')[2]} {layer.digest[:19]}…")
