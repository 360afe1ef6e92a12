"""Answers one request: from its path to a decision, from the decision to bytes."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field

from aiohttp import web

from registry.content.digest import Digest, parse_digest
from registry.content.manifest import MANIFEST_TYPE
from registry.errors import FormatRefused
from registry.server import ranges
from registry.server.access import ANONYMOUS, Caller, Deny
from registry.server.capability import LIFETIME, PREFIX, Capability, read_capability, write_capability
from registry.server.gate import Gate
from registry.server.hosts import Hosts, name_of, port_of
from registry.server.listings import Listings
from registry.server.metrics import Tally
from registry.server.oci import answer, error
from registry.server.reasons import Reason
from registry.server.referrers import ARTIFACT_TYPE, EMPTY, EMPTY_DIGEST
from registry.server.routes import Route, parse_target
from registry.server.token_endpoint import TokenEndpoint
from registry.server.transfers import Transfers

__all__ = ["App"]

_READS = ("GET", "HEAD")
_ONLY_PULL = "this registry only hands models out; models come in through airlock import"
_BAD_DIGEST = "a digest is sha256: and 64 lower-case hexadecimal digits"
_BAD_LINK = "this link is not valid or has expired; pull again"
_OTHER_NAME = "this registry has another name; ask its operator which one, or for serve --name"


@dataclass(slots=True)
class App:
    """The registry as a request handler for :class:`aiohttp.web.Server`.

    ``redirect_host`` is empty, or the other name of this server (``host`` or ``host:port``) to which blob requests are redirected;
    ``capability_seconds`` is how long a link to a blob is good.  ``blob_port`` is the port of the second listener from which blobs are fetched over
    plain HTTP, if there is one.  ``running`` holds the tasks of the requests being answered, bodies included.
    """

    gate: Gate
    token_endpoint: TokenEndpoint
    transfers: Transfers
    hosts: Hosts
    tally: Tally
    redirect_host: str = ""
    capability_seconds: int = LIFETIME
    blob_port: int | None = None
    running: set[asyncio.Task[object]] = field(default_factory=set)
    _listings: Listings = field(init=False)

    def __post_init__(self) -> None:
        """List what the gate lets see."""
        self._listings = Listings(self.gate, self.transfers.blobs)

    async def handle_blobs(self, request: web.BaseRequest) -> web.StreamResponse:
        """Return the response to a request at the second listener, which knows nothing but links to blobs."""
        if not request.raw_path.startswith(PREFIX):
            return error(404, "UNSUPPORTED", "only links to blobs are answered here")
        return await self.handle(request)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Return the response to ``request``; its body is never read."""
        task = asyncio.current_task()
        if task is not None:
            self.running.add(task)
            task.add_done_callback(self.running.discard)
        loop = asyncio.get_running_loop()
        began = loop.time()
        route, names = parse_target(request.raw_path)
        response = self._answer(request, route, names)
        self.tally.answered(route, response.status, loop.time() - began)
        return response

    def _answer(self, request: web.BaseRequest, route: Route, names: dict[str, str]) -> web.StreamResponse:
        if route is Route.LINK:
            return self._link(request)
        reads = request.method in _READS
        if reads and route is Route.HEALTH:
            return self._health()
        if not self.gate.anonymous_pull and not self.hosts.accept(request):
            self.gate.deny(request, ANONYMOUS, "", Reason.OTHER_HOST, "asked for by another host name")
            return error(421, "DENIED", _OTHER_NAME)
        if route is Route.TOKEN and request.method == "GET":
            return self.token_endpoint.answer(request)
        path = request.raw_path.partition("?")[0]
        if path != "/v2" and not path.startswith("/v2/"):
            return error(404, "UNSUPPORTED", "there is nothing here; this registry answers below /v2/")
        if not reads:
            self.gate.deny(request, ANONYMOUS, "", Reason.NOT_A_READ, f"{request.method[:20]} is not served")
            return error(405, "UNSUPPORTED", _ONLY_PULL, headers={"Allow": "GET, HEAD"})
        if route is Route.MANIFEST:
            return self._manifest(request, names["repository"], names["reference"])
        if route is Route.BLOB:
            return self._blob(request, names["repository"], names["digest"])
        return self._listed(request, route, path, names)

    def _listed(self, request: web.BaseRequest, route: Route, path: str, names: dict[str, str]) -> web.StreamResponse:
        repository = names.get("repository", "")
        who = self.gate.who(request, repository)
        if refusal := self.gate.refusal(request, who, repository, None):
            return refusal
        if route is Route.TAGS:
            return self._listings.tags(request, who, path, repository)
        if route is Route.REFERRERS:
            digest = _digest(names["digest"])
            return self._listings.referrers(request, who, repository, digest) if digest else error(400, "DIGEST_INVALID", _BAD_DIGEST)
        if route is Route.CATALOG:
            return self._listings.catalog(request, who, path)
        if route is Route.BASE:
            return answer(b"{}")
        return error(404, "NAME_INVALID", "no manifest and no blob can have this path; names look like library/gemma3")

    def _manifest(self, request: web.BaseRequest, repository: str, reference: str) -> web.StreamResponse:
        who, offer = self.gate.who(request, repository), self.gate.watch.offer
        release = offer.resolver.resolve(repository, reference)
        if refusal := self.gate.refusal(request, who, repository, release.state if release else None):
            return refusal
        if ":" in reference and _digest(reference) is None:
            return error(400, "DIGEST_INVALID", _BAD_DIGEST)
        if release is None and ":" in reference and (artifact := self._listings.artifact(who, repository, lambda each: each.digest == reference)):
            return _small(request, artifact.data, ARTIFACT_TYPE, artifact.digest)
        if release is None:
            name = reference if ":" in reference else reference.lower()
            if gone := offer.withdrawn.get((repository, name)):
                sentence = f"{gone.repository}:{gone.tag}-r{gone.number} was withdrawn: {gone.why}"
                self.gate.deny(request, who, repository, Reason.WITHDRAWN, sentence)
                return error(403, "DENIED", sentence)
            if offer.resolver.knows(repository):
                return error(404, "MANIFEST_UNKNOWN", "this model is not served under this tag or digest")
            return error(404, "NAME_UNKNOWN", "this model is not served here")
        answered = _small(request, offer.manifests[release.manifest].data, MANIFEST_TYPE, release.manifest)
        if request.method == "GET" and answered.status == 200:
            return self.gate.record(request, "manifest", who, repository, release.manifest) or answered
        return answered

    def _blob(self, request: web.BaseRequest, repository: str, text: str) -> web.StreamResponse:
        gate, digest = self.gate, _digest(text)
        who = gate.who(request, repository)
        blob = gate.watch.offer.blob(repository, digest) if digest else None
        if refusal := gate.refusal(request, who, repository, blob.state if blob else None):
            return refusal
        if digest is None:
            return error(400, "DIGEST_INVALID", _BAD_DIGEST)
        if blob is None and digest == EMPTY_DIGEST:
            return _small(request, EMPTY, "application/octet-stream", EMPTY_DIGEST)
        if blob is None and (artifact := self._listings.artifact(who, repository, lambda each: each.blob == digest)):
            return self.transfers.send(request, who, digest, artifact.size)
        if blob is None:
            return error(404, "BLOB_UNKNOWN", "this blob is not part of a model that is served here")
        if request.method == "HEAD":
            return self.transfers.send(request, who, digest, blob.size)
        release, expires = f"{blob.release.tag}-r{blob.release.number}", int(gate.now()) + self.capability_seconds
        capability = Capability(repository, release, blob.state, digest, who.id, expires)
        location = write_capability(gate.secrets, capability)
        if failure := gate.record(request, "blob", who, repository, digest):
            return failure
        if self.blob_port is not None:
            location = f"http://{self.redirect_host or name_of(request)}:{self.blob_port}{location}"
        elif self.redirect_host:
            location = f"{request.scheme}://{self._other_host(request)}{location}"
        if self.redirect_host and "Range" not in request.headers:
            return answer(status=307, headers={"Location": location})
        return self.transfers.send(request, who, digest, blob.size, allowed=lambda: self._still(capability), location=location)

    def _link(self, request: web.BaseRequest) -> web.StreamResponse:
        gate = self.gate
        if request.method not in _READS:
            return error(405, "UNSUPPORTED", _ONLY_PULL, headers={"Allow": "GET, HEAD"})
        capability = read_capability(gate.secrets, request.raw_path, now=gate.now())
        if capability is None:
            gate.deny(request, ANONYMOUS, "", Reason.BAD_LINK, "capability not valid or expired")
            return error(403, "DENIED", _BAD_LINK)
        # Asked again for each part, and while it is sent: what is no longer served, or no longer allowed, ends here within seconds.
        found = self._decide_again(capability)
        if isinstance(found, web.Response):
            reason = "a link that is no longer good" if found.status == 404 else "a link whose caller may no longer"
            who = Caller(capability.caller, capability.caller.rpartition(".")[0] or "-")
            gate.deny(request, who, capability.repository, Reason.ENDED_LINK, reason)
            return found
        who, size = found
        return self.transfers.send(request, who, capability.digest, size, allowed=lambda: self._still(capability))

    def _decide_again(self, capability: Capability) -> tuple[Caller, int] | web.Response:
        """Return who has the link and the blob's size, or the refusal.

        The state is the one in which the blob was handed out, so that a promotion in the middle of a pull doesn't cut off whoever fetches what
        it replaced.
        """
        offer = self.gate.watch.offer
        who = offer.callers.by_id(capability.caller, now=self.gate.now()) or ANONYMOUS
        decision = self.gate.decide(who, capability.repository, capability.state)
        if isinstance(decision, Deny):
            return error(403, "DENIED", decision.reason)
        blob = offer.blob_of(capability.repository, capability.release, capability.digest)
        if blob is None:
            return error(404, "BLOB_UNKNOWN", "this blob is no longer part of a model that is served here")
        return who, blob.size

    def _still(self, capability: Capability) -> bool:
        return not isinstance(self._decide_again(capability), web.Response)

    def _health(self) -> web.Response:
        watch, offer = self.gate.watch, self.gate.watch.offer
        problem = watch.problem or (f"the access journal can't be made durable: {self.gate.journal.problem}" if self.gate.journal.problem else "")
        document = {
            "status": "degraded" if problem or offer.unreadable else "ok",
            "sequence": offer.sequence if offer.sequence >= 0 else None,
            "releases": len(offer.releases),
            "unreadable": len(offer.unreadable),
            "problem": problem,
        }
        return answer(json.dumps(document, ensure_ascii=False).encode(), headers={"Cache-Control": "no-store"})

    def _other_host(self, request: web.BaseRequest) -> str:
        return self.redirect_host if ":" in self.redirect_host else self.redirect_host + port_of(request)


def _small(request: web.BaseRequest, data: bytes, content_type: str, digest: Digest) -> web.Response:
    """Return the answer with ``data``, whose ETag is its digest, or 304."""
    etag = f'"{digest}"'
    headers = {"Docker-Content-Digest": digest, "ETag": etag}
    status = 304 if ranges.matches(request.headers.get("If-None-Match"), etag) else 200
    return answer(data if status == 200 else b"", content_type=content_type, status=status, headers=headers)


def _digest(text: str) -> Digest | None:
    try:
        return parse_digest(text)
    except FormatRefused:
        return None
