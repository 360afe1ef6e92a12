"""Answers one request: from its path to a decision, from the decision to bytes."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import web

from registry.content.digest import Digest, parse_digest
from registry.content.manifest import MANIFEST_TYPE
from registry.content.view import ServedState
from registry.errors import FormatRefused, StoreFailed
from registry.server import ranges
from registry.server.access import ANONYMOUS, Access, Caller, Deny
from registry.server.body import FileResponse, open_checked
from registry.server.capability import LIFETIME, PREFIX, Capability, read_capability, write_capability
from registry.server.journal import Journal
from registry.server.oci import BLOB, COMMON_HEADERS, MANIFEST, answer, error
from registry.server.watch import Watch
from registry.store.blobs import blob_path

__all__ = ["App"]

_READS = ("GET", "HEAD")
_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?P<port>:[0-9]{1,5})?\Z")
_ONLY_PULL = "this registry only hands models out; models come in through airlock import"
_NO_NODES = "no node can be enrolled in this registry yet; ask its operator"
_BAD_LINK = "this link is not valid or has expired; pull again"

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class App:
    """The registry as a request handler for :class:`aiohttp.web.Server`.

    ``redirect_host`` is empty, or the other name of this server (``host`` or ``host:port``) to which blob requests are redirected; ``now``
    gives Unix seconds.  ``running`` holds the tasks of the requests being answered, bodies included.
    """

    watch: Watch
    access: Access
    secret: bytes
    journal: Journal
    now: Callable[[], float]
    redirect_host: str = ""
    capability_seconds: int = LIFETIME
    running: set[asyncio.Task[object]] = field(default_factory=set)
    _damaged: set[Digest] = field(default_factory=set)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Return the response to ``request``; its body is never read."""
        task = asyncio.current_task()
        if task is not None:
            self.running.add(task)
            task.add_done_callback(self.running.discard)
        target = request.raw_path
        if target.startswith(PREFIX):
            return self._capability(request, target)
        path = target.partition("?")[0]
        if path == "/v2" or path.startswith("/v2/"):
            return self._distribution(request, path)
        if request.method in _READS and path == "/healthz":
            return self._health()
        if request.method in _READS and path == "/token":
            self._deny(request, ANONYMOUS, "", _NO_NODES)
            return answer(_NO_NODES.encode(), content_type="text/plain; charset=utf-8", status=403)
        return error(404, "UNSUPPORTED", "there is nothing here; this registry answers below /v2/")

    def _distribution(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        if request.method not in _READS:
            self._deny(request, ANONYMOUS, "", f"{request.method[:20]} is not served")
            return error(405, "UNSUPPORTED", _ONLY_PULL, headers={"Allow": "GET, HEAD"})
        if match := MANIFEST.match(path):
            return self._manifest(request, match["repository"].lower(), match["reference"])
        if match := BLOB.match(path):
            return self._blob(request, match["repository"].lower(), match["digest"])
        if challenge := self._refused(request, ANONYMOUS, "", None):
            return challenge
        if path in ("/v2/", "/v2"):
            return answer(b"{}")
        return error(404, "NAME_INVALID", "no manifest and no blob can have this path; names look like library/gemma3")

    def _manifest(self, request: web.BaseRequest, repository: str, reference: str) -> web.StreamResponse:
        who, offer = ANONYMOUS, self.watch.offer
        release = offer.resolver.resolve(repository, reference)
        if challenge := self._refused(request, who, repository, release.state if release else None):
            return challenge
        if ":" in reference and _digest(reference) is None:
            return error(400, "DIGEST_INVALID", "a digest is sha256: and 64 lower-case hexadecimal digits")
        if release is None:
            if offer.resolver.knows(repository):
                return error(404, "MANIFEST_UNKNOWN", "this model is not served under this tag or digest")
            return error(404, "NAME_UNKNOWN", "this model is not served here")
        etag = f'"{release.manifest}"'
        headers = {"Docker-Content-Digest": release.manifest, "ETag": etag}
        if ranges.matches(request.headers.get("If-None-Match"), etag):
            return answer(content_type=MANIFEST_TYPE, status=304, headers=headers)
        if request.method == "GET" and (failure := self._record(request, "manifest", who, repository, release.manifest)):
            return failure
        return answer(offer.manifests[release.manifest].data, content_type=MANIFEST_TYPE, headers=headers)

    def _blob(self, request: web.BaseRequest, repository: str, text: str) -> web.StreamResponse:
        who, digest = ANONYMOUS, _digest(text)
        blob = self.watch.offer.blob(repository, digest) if digest else None
        if challenge := self._refused(request, who, repository, blob.state if blob else None):
            return challenge
        if digest is None:
            return error(400, "DIGEST_INVALID", "a digest is sha256: and 64 lower-case hexadecimal digits")
        if blob is None:
            return error(404, "BLOB_UNKNOWN", "this blob is not part of a model that is served here")
        if request.method == "HEAD":
            return self._send(request, digest, blob.size)
        capability = Capability(repository, digest, who.node, int(self.now()) + self.capability_seconds)
        location = write_capability(self.secret, capability)
        if failure := self._record(request, "blob", who, repository, digest):
            return failure
        if self.redirect_host and "Range" not in request.headers:
            return answer(status=307, headers={"Location": f"{request.scheme}://{self._other_host(request)}{location}"})
        return self._send(request, digest, blob.size, location=location)

    def _capability(self, request: web.BaseRequest, target: str) -> web.StreamResponse:
        if request.method not in _READS:
            return error(405, "UNSUPPORTED", _ONLY_PULL, headers={"Allow": "GET, HEAD"})
        capability = read_capability(self.secret, target, now=self.now())
        if capability is None:
            self._deny(request, ANONYMOUS, "", "capability not valid or expired")
            return error(403, "DENIED", _BAD_LINK)
        # Asked again for each part: what is no longer served, or no longer allowed, ends here within a second.
        blob = self.watch.offer.blob(capability.repository, capability.digest)
        decision = self.access.decide(Caller(capability.node), capability.repository, blob.state if blob else None)
        if isinstance(decision, Deny):
            self._deny(request, Caller(capability.node), capability.repository, decision.reason)
            return error(403, "DENIED", decision.reason)
        if blob is None:
            return error(404, "BLOB_UNKNOWN", "this blob is no longer part of a model that is served here")
        return self._send(request, capability.digest, blob.size)

    def _send(self, request: web.BaseRequest, digest: Digest, size: int, *, location: str = "") -> web.StreamResponse:
        etag = f'"{digest}"'
        headers = {
            **COMMON_HEADERS,
            "Content-Type": "application/octet-stream",
            "Docker-Content-Digest": digest,
            "ETag": etag,
            "Accept-Ranges": "bytes",
        }
        if ranges.matches(request.headers.get("If-None-Match"), etag):
            return web.Response(status=304, headers=headers)
        try:
            file = open_checked(blob_path(self.watch.blobs, digest), size)
        except (OSError, StoreFailed) as failure:
            return self._store_failed(digest, failure)
        self._damaged.discard(digest)
        if request.method == "HEAD":
            file.close()
            return web.Response(headers={**headers, "Content-Length": str(size)})
        span = ranges.select(request.headers.get("Range"), request.headers.get("If-Range"), etag=etag, total=size)
        if span is None:
            file.close()
            unsatisfiable = {"Content-Range": f"bytes */{size}"}
            return error(416, "UNSUPPORTED", "the range begins behind the end of the blob", headers=unsatisfiable)
        if span.partial:
            headers["Content-Range"] = span.content_range
        elif location:
            headers["Location"] = location
        return FileResponse(file, span, status=206 if span.partial else 200, headers=headers)

    def _refused(self, request: web.BaseRequest, who: Caller, repository: str, state: ServedState | None) -> web.Response | None:
        """Return the challenge when ``who`` may not have it; a client without a token asks for one at the realm."""
        decision = self.access.decide(who, repository, state)
        if not isinstance(decision, Deny):
            return None
        self._deny(request, who, repository, decision.reason)
        scope = f',scope="repository:{repository}:pull"' if repository else ""
        challenge = f'Bearer realm="{request.scheme}://{_host(request)}/token",service="airlock"{scope}'
        return error(401, "UNAUTHORIZED", decision.reason, headers={"WWW-Authenticate": challenge})

    def _record(self, request: web.BaseRequest, verb: str, who: Caller, repository: str, digest: Digest) -> web.Response | None:
        try:
            self.journal.handed_out(verb, node=who.node, peer=_peer(request), repository=repository, digest=digest)
        except OSError as failure:
            _log.error("nothing is handed out: the access journal can't be written: %s", failure.strerror)
            return error(503, "UNAVAILABLE", "the registry can't keep its journal; ask its operator")
        return None

    def _deny(self, request: web.BaseRequest, who: Caller, repository: str, reason: str) -> None:
        self.journal.denied(reason, node=who.node, peer=_peer(request), repository=repository)

    def _store_failed(self, digest: Digest, failure: OSError | StoreFailed) -> web.Response:
        if digest not in self._damaged:  # sixteen parts and six tries each would say the same
            self._damaged.add(digest)
            _log.warning("blob %s can't be served: %s", digest, failure.strerror if isinstance(failure, OSError) else failure)
        if isinstance(failure, StoreFailed):
            return error(500, "UNKNOWN", "this blob is damaged in the registry's store; ask its operator")
        return error(503, "UNAVAILABLE", "this blob can't be read from the registry's store just now")

    def _health(self) -> web.Response:
        watch, offer = self.watch, self.watch.offer
        document = {
            "status": "degraded" if watch.problem or offer.unreadable else "ok",
            "sequence": offer.sequence if offer.sequence >= 0 else None,
            "releases": len(offer.releases),
            "unreadable": len(offer.unreadable),
            "problem": watch.problem,
        }
        return answer(json.dumps(document, ensure_ascii=False).encode(), headers={"Cache-Control": "no-store"})

    def _other_host(self, request: web.BaseRequest) -> str:
        if ":" in self.redirect_host:
            return self.redirect_host
        match = _HOST.match(_host(request))
        return self.redirect_host + ((match["port"] or "") if match else "")


def _host(request: web.BaseRequest) -> str:
    """Return ``Host`` as sent when it is one, else the address the request came in by."""
    host = request.headers.get("Host", "")
    if _HOST.match(host):
        return host
    address = request.transport.get_extra_info("sockname") if request.transport else None
    return f"[{address[0]}]:{address[1]}" if address and ":" in address[0] else f"{address[0]}:{address[1]}" if address else "localhost"


def _peer(request: web.BaseRequest) -> str:
    return request.remote or ""


def _digest(text: str) -> Digest | None:
    try:
        return parse_digest(text)
    except FormatRefused:
        return None
