"""What one published view lets the server hand out: manifests read and checked, blobs with their sizes, and to whom."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from registry.content.callers import AccessRule
from registry.content.digest import Digest, digest_of
from registry.content.manifest import Manifest, parse_manifest
from registry.content.view import PublishedRelease, Resolver, ServedState, View, WithdrawnRelease, withdrawn_by_name
from registry.errors import AirlockError, FormatRefused
from registry.server.callers import NOBODY, Callers

__all__ = ["NOTHING", "Offer", "ServedBlob", "ServedManifest", "make_offer"]


@dataclass(frozen=True, slots=True)
class ServedManifest:
    """A manifest's exact bytes, kept in memory, and what they say."""

    data: bytes
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class ServedBlob:
    """A blob that some served release of a repository is made of; ``size`` in bytes, ``release`` the most open one, served as if in ``state``."""

    size: int
    release: PublishedRelease
    state: ServedState


@dataclass(frozen=True, slots=True)
class Offer:
    """Everything that can be pulled at one moment.

    ``manifests`` holds what was read; ``unreadable`` says for each other manifest of the view why its releases are not served;
    ``withdrawn`` what is no longer served, by (repository, tag or digest).  ``nodes`` is how many are enrolled, ``accepted`` and ``noted`` are the
    view's (:class:`registry.content.view.View`).
    """

    sequence: int
    releases: tuple[PublishedRelease, ...]
    resolver: Resolver
    manifests: Mapping[Digest, ServedManifest]
    blobs: Mapping[tuple[str, Digest], ServedBlob]
    unreadable: Mapping[Digest, str] = field(default_factory=dict)
    withdrawn: Mapping[tuple[str, str], WithdrawnRelease] = field(default_factory=dict)
    callers: Callers = NOBODY
    rules: tuple[AccessRule, ...] = ()
    nodes: int = 0
    accepted: int | None = None
    noted: Mapping[Digest, int] = field(default_factory=dict)

    def blob(self, repository: str, digest: Digest) -> ServedBlob | None:
        """Return the blob if a served release of ``repository``, in any letter case, is made of it."""
        return self.blobs.get((repository.lower(), digest))

    def blob_of(self, repository: str, release: str, digest: Digest) -> ServedBlob | None:
        """Return the blob if the release ``TAG-rN`` of ``repository`` is served and made of it."""
        found = self.resolver.resolve(repository, release)
        if found is None:
            return None
        size = next((blob.size for blob in self.manifests[found.manifest].manifest.blobs if blob.digest == digest), None)
        return None if size is None else ServedBlob(size, found, found.state)


NOTHING = Offer(-1, (), Resolver(()), {}, {})
"""The offer before there is a view."""


def make_offer(
    view: View, read: Callable[[Digest], bytes], known: Mapping[Digest, ServedManifest], replaced: Collection[PublishedRelease] = ()
) -> Offer:
    """Return what ``view`` offers.

    Args:
        view: the published view.
        read: returns a manifest's bytes from the blob store, or raises OSError or an AirlockError.
        known: manifests read before; their bytes can't have changed, since they are named by their digest.
        replaced: approved releases that were promoted a short time ago.  Whoever got such a manifest then may still fetch its blobs as promoted
            ones: Ollama fetches one blob after the other, for hours, and a promotion in between must not end its pull.
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
    states = {release: ServedState.PROMOTED if release in replaced else release.state for release in releases}
    # What is promoted comes last and wins, before what was.
    for release in sorted(releases, key=lambda release: (states[release] is ServedState.PROMOTED, release.state is ServedState.PROMOTED)):
        for blob in manifests[release.manifest].manifest.blobs:
            blobs[release.repository, blob.digest] = ServedBlob(blob.size, release, states[release])
    callers = Callers(view.nodes, view.tokens)
    return Offer(
        view.sequence,
        releases,
        Resolver(releases),
        manifests,
        blobs,
        unreadable,
        withdrawn_by_name(view.withdrawn),
        callers,
        view.rules,
        len(view.nodes),
        view.accepted,
        view.journals,
    )


def _checked(digest: Digest, data: bytes) -> ServedManifest:
    if digest_of(data) != digest:
        raise FormatRefused(f"manifest {digest}: damaged in the store", why=f"its content now has the digest {digest_of(data)}")
    return ServedManifest(data, parse_manifest(data, what=f"manifest {digest}"))
