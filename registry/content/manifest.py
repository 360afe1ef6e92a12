"""Manifests: what a model is made of, as Ollama writes it.

The bytes are canonical: compact JSON, members in Ollama's order, no newline at the end (``docs/reference/pull-contract.md``).  Go reads keys
case-insensitively and lets the last one win; a manifest is therefore accepted only if writing its known members again gives the same bytes.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from registry.content.digest import Digest, parse_digest
from registry.errors import FormatRefused

__all__ = ["CONFIG_TYPE", "LAYER_TYPES", "MANIFEST_TYPE", "MAX_MANIFEST_BYTES", "Descriptor", "Manifest", "parse_manifest"]

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
MAX_MANIFEST_BYTES = 4 * 1024 * 1024  # the OCI distribution specification's own limit for manifests
_MAX_BLOB_BYTES = 2**53 - 1
LAYER_TYPES = frozenset(
    "application/vnd.ollama.image." + kind
    for kind in ["model", "draft", "adapter", "projector", "template", "prompt", "system", "params", "messages", "license", "embed", "tensor", "json"]
)
# Go escapes <, > and & in JSON, Python doesn't; no media type, digest, path or name that Ollama writes needs any of them.
_PLAIN = re.compile(r"""[ !#-%'-;=?-\[\]-~]*\Z""")


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One blob as a manifest names it (OCI image-spec, "descriptor"); ``size`` in bytes, 1 to 2^53 − 1.

    ``origin`` is Ollama's member ``from`` and ``name`` its member of the same name; both are empty when absent.
    """

    media_type: str
    digest: Digest
    size: int
    origin: str = ""
    name: str = ""

    def as_json(self) -> dict[str, object]:
        """Return the members in the order in which Ollama writes them."""
        members: dict[str, object] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.origin:
            members["from"] = self.origin
        if self.name:
            members["name"] = self.name
        return members


@dataclass(frozen=True, slots=True)
class Manifest:
    """A model: one config and at least one layer, in the order Ollama pulls them."""

    config: Descriptor
    layers: tuple[Descriptor, ...]

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Every blob once, layers first as they stand, then the config; two layers with one digest count once."""
        return tuple({blob.digest: blob for blob in (*self.layers, self.config)}.values())

    @property
    def size(self) -> int:
        """Bytes of all blobs together."""
        return sum(blob.size for blob in self.blobs)

    def to_bytes(self) -> bytes:
        """Return the canonical bytes; their SHA-256 is the manifest's digest on every client."""
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": self.config.as_json(),
            "layers": [layer.as_json() for layer in self.layers],
        }
        return json.dumps(document, separators=(",", ":")).encode("ascii")


def parse_manifest(data: bytes, *, what: str = "manifest") -> Manifest:
    """Return the model that ``data`` describes.

    Raises:
        FormatRefused: not the canonical bytes of an Ollama model: other members, order or white space, an OCI index, no config, no
            layers, an empty blob, a digest or a layer type that Ollama doesn't know, one digest with two sizes.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise FormatRefused(f"{what}: too large", why=f"at most {MAX_MANIFEST_BYTES} bytes are allowed, found {len(data)}")
    try:
        document = json.loads(data.decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise FormatRefused(f"{what}: not readable as JSON", why=str(error)) from None
    if not isinstance(document, dict):
        raise FormatRefused(f"{what}: not a manifest", why="expected a JSON object")
    if document.get("mediaType") != MANIFEST_TYPE:
        raise FormatRefused(
            f"{what}: not an Ollama manifest", why=f"expected mediaType {MANIFEST_TYPE}, found {str(document.get('mediaType'))[:80]!r}"
        )
    layers = document.get("layers")
    if not isinstance(layers, list) or not layers:
        raise FormatRefused(f"{what}: has no layers", why="a model without layers would be pulled as an empty one")
    manifest = Manifest(_descriptor(document.get("config"), f"{what}: config"), tuple(_descriptor(layer, f"{what}: layer") for layer in layers))
    _refuse_unknown_types(manifest, what)
    if manifest.to_bytes() != data:
        raise FormatRefused(
            f"{what}: not in canonical form", why="the same manifest written canonically gives other bytes (order, spaces or other members)"
        )
    return manifest


def _descriptor(value: object, what: str) -> Descriptor:
    if not isinstance(value, dict):
        raise FormatRefused(f"{what}: missing or not an object")
    texts = [value.get("mediaType"), value.get("from", ""), value.get("name", "")]
    size = value.get("size")
    if not all(isinstance(text, str) and _PLAIN.match(text) for text in texts):
        raise FormatRefused(f"{what}: mediaType, from and name are plain ASCII text")
    if type(size) is not int or not 1 <= size <= _MAX_BLOB_BYTES:
        raise FormatRefused(f"{what}: size is not a number from 1 to 2^53 − 1", why=f"found {str(size)[:40]}")
    return Descriptor(str(texts[0]), parse_digest(value.get("digest"), what=what), size, str(texts[1]), str(texts[2]))


def _refuse_unknown_types(manifest: Manifest, what: str) -> None:
    if manifest.config.media_type != CONFIG_TYPE:
        raise FormatRefused(f"{what}: config has an unknown type", why=f"expected {CONFIG_TYPE}, found {manifest.config.media_type!r}")
    sizes: dict[Digest, int] = {manifest.config.digest: manifest.config.size}
    for layer in manifest.layers:
        if layer.media_type not in LAYER_TYPES:
            raise FormatRefused(
                f"{what}: a layer has an unknown type", why=f"found {layer.media_type!r}; Ollama would fetch it without knowing what it is"
            )
        if sizes.setdefault(layer.digest, layer.size) != layer.size:
            raise FormatRefused(f"{what}: one digest with two sizes", why=f"{layer.digest} has {sizes[layer.digest]} and {layer.size} bytes")
