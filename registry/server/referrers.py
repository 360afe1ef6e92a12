"""What refers to a release: its signed statement and its evidence, as OCI artifacts that any registry client can fetch.

Each is an OCI image manifest (image-spec, "Guidelines for Artifact Usage") made here from the statement, with the statement or the bundle as its one
layer.  They stand beside the model, never in its manifest: Ollama downloads every layer.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from registry.content.digest import Digest, digest_of
from registry.content.manifest import MANIFEST_TYPE
from registry.content.view import PublishedRelease
from registry.errors import AirlockError
from registry.trust.statement import parse_statement

__all__ = ["ARTIFACT_TYPE", "EMPTY", "EMPTY_DIGEST", "INDEX_TYPE", "STATEMENT_TYPE", "Artifact", "Referrers"]

ARTIFACT_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
STATEMENT_TYPE = "application/vnd.in-toto+json"
EMPTY = b"{}"
"""The empty descriptor's content (image-spec, "Guidance for an Empty Descriptor")."""
EMPTY_DIGEST = digest_of(EMPTY)
_EMPTY_TYPE = "application/vnd.oci.empty.v1+json"


@dataclass(frozen=True, slots=True)
class Artifact:
    """One artifact: its ``kind`` (media type of what it carries), its manifest's bytes, and the blob that it carries."""

    kind: str
    data: bytes
    digest: Digest
    blob: Digest
    size: int

    def descriptor(self) -> dict[str, Any]:
        """Return its entry in the list of referrers."""
        return {"mediaType": ARTIFACT_TYPE, "digest": self.digest, "size": len(self.data), "artifactType": self.kind}


@dataclass(slots=True)
class Referrers:
    """Makes the artifacts of a release when they are first asked for; ``read`` returns a statement's bytes from the blob store."""

    read: Callable[[Digest], bytes]
    _known: dict[Digest, tuple[Artifact, ...]] = field(default_factory=dict)

    def of(self, release: PublishedRelease, manifest_size: int) -> tuple[Artifact, ...]:
        """Return the artifacts of ``release``, whose manifest has ``manifest_size`` bytes; none when its statement can't be read just now."""
        found = self._known.get(release.statement)
        if found is None:
            try:
                found = self._made(release, manifest_size)
            except (OSError, AirlockError):
                return ()
            self._known[release.statement] = found
        return found

    def _made(self, release: PublishedRelease, manifest_size: int) -> tuple[Artifact, ...]:
        data = self.read(release.statement)
        stated = parse_statement(data, what="statement")
        subject = {"mediaType": MANIFEST_TYPE, "digest": release.manifest, "size": manifest_size}
        carried = [(STATEMENT_TYPE, release.statement, len(data))]
        carried += [(each.bundle.media_type, each.bundle.digest, each.bundle.size) for each in stated.evidence]
        return tuple(_artifact(subject, *each) for each in carried)


def _artifact(subject: dict[str, Any], kind: str, blob: Digest, size: int) -> Artifact:
    members = {
        "schemaVersion": 2,
        "mediaType": ARTIFACT_TYPE,
        "artifactType": kind,
        "config": {"mediaType": _EMPTY_TYPE, "digest": EMPTY_DIGEST, "size": len(EMPTY)},
        "layers": [{"mediaType": kind, "digest": blob, "size": size}],
        "subject": subject,
    }
    data = json.dumps(members, separators=(",", ":")).encode()
    return Artifact(kind, data, digest_of(data), blob, size)
