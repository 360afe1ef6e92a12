"""What a caller may see beside the models: tags, the catalog, and what refers to a release."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from registry.content.digest import Digest
from registry.content.view import PublishedRelease, ServedState
from registry.server.access import Allow, Caller
from registry.server.gate import Gate
from registry.server.oci import answer, error, page
from registry.server.referrers import INDEX_TYPE, Artifact, Referrers
from registry.store.blobs import LocalBlobStore
from registry.trust.statement import MAX_STATEMENT_BYTES

__all__ = ["Listings"]


@dataclass(slots=True)
class Listings:
    """Each answer shows what the rules let its caller pull, and nothing else; statements are read from the store at ``blobs``."""

    gate: Gate
    blobs: Path
    _evidence: Referrers = field(init=False)

    def __post_init__(self) -> None:
        """Read statements from the same store as everything else."""
        store = LocalBlobStore(self.blobs)
        self._evidence = Referrers(lambda digest: store.read(digest, limit=MAX_STATEMENT_BYTES))

    def catalog(self, request: web.BaseRequest, who: Caller, path: str) -> web.Response:
        """Answer ``/v2/_catalog``."""
        return page(request, path, "repositories", {each.repository for each in self._visible(who)}, {})

    def tags(self, request: web.BaseRequest, who: Caller, path: str, repository: str) -> web.Response:
        """Answer ``/v2/<name>/tags/list``: plain tags of what is promoted, release tags of all that the caller may have."""
        releases = self._visible(who, repository)
        if not releases:
            return error(404, "NAME_UNKNOWN", "this model is not served here")
        plain = {each.tag for each in releases if each.state is ServedState.PROMOTED}
        return page(request, path, "tags", plain | {f"{each.tag}-r{each.number}" for each in releases}, {"name": repository})

    def referrers(self, request: web.BaseRequest, who: Caller, repository: str, digest: Digest) -> web.Response:
        """Answer ``/v2/<name>/referrers/<digest>`` ("Listing Referrers"); nothing that refers to it is an empty list."""
        kind = request.query.get("artifactType")
        found = [each for release in self._visible(who, repository) if release.manifest == digest for each in self._artifacts(release)]
        shown = {each.digest: each.descriptor() for each in found if kind in (None, each.kind)}
        document = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [shown[digest] for digest in sorted(shown)]}
        headers = {"OCI-Filters-Applied": "artifactType"} if kind is not None else {}
        return answer(json.dumps(document, separators=(",", ":")).encode(), content_type=INDEX_TYPE, headers=headers)

    def artifact(self, who: Caller, repository: str, wanted: Callable[[Artifact], bool]) -> Artifact | None:
        """Return the first artifact that is ``wanted`` and belongs to a release which the caller may have."""
        return next((each for release in self._visible(who, repository) for each in self._artifacts(release) if wanted(each)), None)

    def _artifacts(self, release: PublishedRelease) -> tuple[Artifact, ...]:
        served = self.gate.watch.offer.manifests.get(release.manifest)  # which another view may have replaced a moment ago
        return self._evidence.of(release, len(served.data)) if served else ()

    def _visible(self, who: Caller, repository: str = "") -> list[PublishedRelease]:
        """Return the releases, of one repository or of all, that ``who`` may pull."""
        return [
            each
            for each in self.gate.watch.offer.releases
            if repository in ("", each.repository) and isinstance(self.gate.decide(who, each.repository, each.state), Allow)
        ]
