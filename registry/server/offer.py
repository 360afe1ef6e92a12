"""What one published view lets the server hand out: manifests read and checked, blobs with their sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from registry.content.digest import Digest, digest_of
from registry.content.manifest import Manifest, parse_manifest
from registry.content.view import PublishedRelease, Resolver, ServedState, View
from registry.errors import AirlockError, FormatRefused

__all__ = ["NOTHING", "Offer", "ServedBlob", "ServedManifest", "make_offer"]


@dataclass(frozen=True, slots=True)
class ServedManifest:
    """A manifest's exact bytes, kept in memory, and what they say."""

    data: bytes
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class ServedBlob:
    """A blob that some served release of a repository is made of; ``state`` is the most open state of those releases, ``size`` in bytes."""

    size: int
    state: ServedState


@dataclass(frozen=True, slots=True)
class Offer:
    """Everything that can be pulled at one moment.

    ``manifests`` holds what was read; ``unreadable`` says for each other manifest of the view why its releases are not served.
    """

    sequence: int
    releases: tuple[PublishedRelease, ...]
    resolver: Resolver
    manifests: Mapping[Digest, ServedManifest]
    blobs: Mapping[tuple[str, Digest], ServedBlob]
    unreadable: Mapping[Digest, str] = field(default_factory=dict)

    def blob(self, repository: str, digest: Digest) -> ServedBlob | None:
        """Return the blob if a served release of ``repository``, in any letter case, is made of it."""
        return self.blobs.get((repository.lower(), digest))


NOTHING = Offer(-1, (), Resolver(()), {}, {})
"""The offer before there is a view."""


def make_offer(view: View, read: Callable[[Digest], bytes], known: Mapping[Digest, ServedManifest]) -> Offer:
    """Return what ``view`` offers.

    Args:
        view: the published view.
        read: returns a manifest's bytes from the blob store, or raises OSError or an AirlockError.
        known: manifests read before; their bytes can't have changed, since they are named by their digest.
    """
    manifests: dict[Digest, ServedManifest] = {}
    unreadable: dict[Digest, str] = {}
    for digest in dict.fromkeys(release.manifest for release in view.releases):
        try:
            manifests[digest] = known.get(digest) or _checked(digest, read(digest))
        except (OSError, AirlockError) as error:
            unreadable[digest] = str(error)
    releases = tuple(release for release in view.releases if release.manifest in manifests)
    blobs: dict[tuple[str, Digest], ServedBlob] = {}
    for release in sorted(releases, key=lambda release: release.state is ServedState.PROMOTED):  # promoted ones last: they win
        for blob in manifests[release.manifest].manifest.blobs:
            blobs[release.repository, blob.digest] = ServedBlob(blob.size, release.state)
    return Offer(view.sequence, releases, Resolver(releases), manifests, blobs, unreadable)


def _checked(digest: Digest, data: bytes) -> ServedManifest:
    if digest_of(data) != digest:
        raise FormatRefused(f"manifest {digest}: damaged in the store", why=f"its content now has the digest {digest_of(data)}")
    return ServedManifest(data, parse_manifest(data, what=f"manifest {digest}"))
