"""Answers one request: from its path to a decision, from the decision to bytes."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import web

from registry.content.callers import key_fingerprint
from registry.content.digest import Digest, parse_digest
from registry.content.manifest import MANIFEST_TYPE
from registry.content.view import PublishedRelease, ServedState
from registry.errors import FormatRefused, SignatureRefused, StoreFailed
from registry.server import ranges, tokens
from registry.server.access import ANONYMOUS, Access, Allow, Caller, Deny
from registry.server.body import FileResponse, open_checked
from registry.server.capability import LIFETIME, PREFIX, Capability, read_capability, write_capability
from registry.server.hosts import Hosts, host_of, name_of, port_of
from registry.server.journal import Journal
from registry.server.node_auth import SERVICE, WINDOW, parse_scope, skew_sentence, verify_token_request
from registry.server.nonces import Nonces
from registry.server.oci import BLOB, COMMON_HEADERS, MANIFEST, REFERRERS, TAGS, answer, error, page
from registry.server.pace import Pace, TooMany
from registry.server.referrers import ARTIFACT_TYPE, EMPTY, EMPTY_DIGEST, INDEX_TYPE, Artifact, Referrers
from registry.server.secret import Secrets
from registry.server.watch import Watch
from registry.store.blobs import LocalBlobStore, blob_path
from registry.trust.statement import MAX_STATEMENT_BYTES

__all__ = ["App"]

_READS = ("GET", "HEAD")
_ONLY_PULL = "this registry only hands models out; models come in through airlock import"
_STALLED = 300.0  # seconds without a slice getting through; Ollama itself gives a part up after 30 s
_BAD_LINK = "this link is not valid or has expired; pull again"
_OTHER_NAME = "this registry has another name; ask its operator which one, or for serve --name"

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Body:
    """One body under way: to whom, whether it may go on, how far it was and when it last moved."""

    name: str
    allowed: Callable[[], bool]
    moved: float
    sent: int = 0


@dataclass(slots=True)
class App:
    """The registry as a request handler for :class:`aiohttp.web.Server`.

    ``redirect_host`` is empty, or the other name of this server (``host`` or ``host:port``) to which blob requests are redirected; ``now``
    gives Unix seconds; ``window`` is how many seconds a node's clock may be wrong.  ``running`` holds the tasks of the requests being answered,
    bodies included.  ``blob_port`` is the port of the second listener from which blobs are fetched over plain HTTP, if there is one.
    """

    watch: Watch
    anonymous_pull: bool
    secrets: Secrets
    journal: Journal
    nonces: Nonces
    hosts: Hosts
    now: Callable[[], float]
    pace: Pace
    redirect_host: str = ""
    capability_seconds: int = LIFETIME
    window: int = WINDOW
    blob_port: int | None = None
    running: set[asyncio.Task[object]] = field(default_factory=set)
    _damaged: set[Digest] = field(default_factory=set)
    _evidence: Referrers = field(init=False)
    _bodies: dict[FileResponse, _Body] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Read statements from the same store as everything else."""
        store = LocalBlobStore(self.watch.blobs)
        self._evidence = Referrers(lambda digest: store.read(digest, limit=MAX_STATEMENT_BYTES))

    async def handle_blobs(self, request: web.BaseRequest) -> web.StreamResponse:
        """Return the response to a request at the second listener, which knows nothing but links to blobs."""
        if not request.raw_path.startswith(PREFIX):
            return error(404, "UNSUPPORTED", "only links to blobs are answered here")
        return await self.handle(request)

    def end_bodies(self) -> None:
        """End what may no longer be sent, and what has not moved for minutes.

        Called every second, so that revocation bites in the middle of a part.
        """
        now = self.now()
        for response, body in list(self._bodies.items()):
            if response.sent != body.sent:
                body.sent, body.moved = response.sent, now
            if not body.allowed():
                _log.info("a transfer to %s was ended: it is no longer allowed", body.name)
                response.abort()
            elif now - body.moved > _STALLED:
                response.abort()

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
        if request.method in _READS and path == "/healthz":
            return self._health()
        if not self.anonymous_pull and not self.hosts.accept(request):
            self._deny(request, ANONYMOUS, "", "asked for by another host name")
            return error(421, "DENIED", _OTHER_NAME)
        if path == "/v2" or path.startswith("/v2/"):
            return self._distribution(request, path)
        if request.method == "GET" and path == "/token":
            return self._token(request, target)
        return error(404, "UNSUPPORTED", "there is nothing here; this registry answers below /v2/")

    def _distribution(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        if request.method not in _READS:
            self._deny(request, ANONYMOUS, "", f"{request.method[:20]} is not served")
            return error(405, "UNSUPPORTED", _ONLY_PULL, headers={"Allow": "GET, HEAD"})
        if match := MANIFEST.match(path):
            return self._manifest(request, match["repository"].lower(), match["reference"])
        if match := BLOB.match(path):
            return self._blob(request, match["repository"].lower(), match["digest"])
        if match := TAGS.match(path):
            return self._tags(request, path, match["repository"].lower())
        if match := REFERRERS.match(path):
            return self._referrers(request, match["repository"].lower(), match["digest"])
        who = self._who(request, "")
        if refusal := self._refused(request, who, "", None):
            return refusal
        if path == "/v2/_catalog":
            return page(request, path, "repositories", {each.repository for each in self._visible(who)}, {})
        if path in ("/v2/", "/v2"):
            return answer(b"{}")
        return error(404, "NAME_INVALID", "no manifest and no blob can have this path; names look like library/gemma3")

    def _manifest(self, request: web.BaseRequest, repository: str, reference: str) -> web.StreamResponse:
        who, offer = self._who(request, repository), self.watch.offer
        release = offer.resolver.resolve(repository, reference)
        if refusal := self._refused(request, who, repository, release.state if release else None):
            return refusal
        if ":" in reference and _digest(reference) is None:
            return error(400, "DIGEST_INVALID", "a digest is sha256: and 64 lower-case hexadecimal digits")
        if release is None and ":" in reference and (artifact := self._artifact(who, repository, lambda each: each.digest == reference)):
            return self._small(request, artifact.data, ARTIFACT_TYPE, artifact.digest)
        if release is None:
            name = reference if ":" in reference else reference.lower()
            if gone := offer.withdrawn.get((repository, name)):
                return error(403, "DENIED", f"{gone.repository}:{gone.tag}-r{gone.number} was withdrawn: {gone.why}")
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
        who, digest = self._who(request, repository), _digest(text)
        blob = self.watch.offer.blob(repository, digest) if digest else None
        if refusal := self._refused(request, who, repository, blob.state if blob else None):
            return refusal
        if digest is None:
            return error(400, "DIGEST_INVALID", "a digest is sha256: and 64 lower-case hexadecimal digits")
        if blob is None and digest == EMPTY_DIGEST:
            return self._small(request, EMPTY, "application/octet-stream", EMPTY_DIGEST)
        if blob is None and (artifact := self._artifact(who, repository, lambda each: each.blob == digest)):
            return self._send(request, who, digest, artifact.size, lambda: True)
        if blob is None:
            return error(404, "BLOB_UNKNOWN", "this blob is not part of a model that is served here")
        if request.method == "HEAD":
            return self._send(request, who, digest, blob.size, lambda: True)
        release, expires = f"{blob.release.tag}-r{blob.release.number}", int(self.now()) + self.capability_seconds
        capability = Capability(repository, release, blob.state, digest, who.id, expires)
        location = write_capability(self.secrets, capability)
        if failure := self._record(request, "blob", who, repository, digest):
            return failure
        if self.blob_port is not None:
            location = f"http://{self.redirect_host or name_of(request)}:{self.blob_port}{location}"
        elif self.redirect_host:
            location = f"{request.scheme}://{self._other_host(request)}{location}"
        if self.redirect_host and "Range" not in request.headers:
            return answer(status=307, headers={"Location": location})
        return self._send(request, who, digest, blob.size, lambda: self._still(capability), location=location)

    def _visible(self, who: Caller, repository: str = "") -> list[PublishedRelease]:
        """Return the releases, of one repository or of all, that ``who`` may pull."""
        access = self._access()
        return [
            each
            for each in self.watch.offer.releases
            if repository in ("", each.repository) and isinstance(access.decide(who, each.repository, each.state), Allow)
        ]

    def _tags(self, request: web.BaseRequest, path: str, repository: str) -> web.Response:
        who = self._who(request, repository)
        if refusal := self._refused(request, who, repository, None):
            return refusal
        releases = self._visible(who, repository)
        if not releases:
            return error(404, "NAME_UNKNOWN", "this model is not served here")
        plain = {each.tag for each in releases if each.state is ServedState.PROMOTED}
        return page(request, path, "tags", plain | {f"{each.tag}-r{each.number}" for each in releases}, {"name": repository})

    def _referrers(self, request: web.BaseRequest, repository: str, text: str) -> web.Response:
        who, digest = self._who(request, repository), _digest(text)
        if refusal := self._refused(request, who, repository, None):
            return refusal
        if digest is None:
            return error(400, "DIGEST_INVALID", "a digest is sha256: and 64 lower-case hexadecimal digits")
        kind = request.query.get("artifactType")
        found = [each for release in self._visible(who, repository) if release.manifest == digest for each in self._artifacts(release)]
        shown = {each.digest: each.descriptor() for each in found if kind in (None, each.kind)}
        document = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [shown[digest] for digest in sorted(shown)]}
        headers = {"OCI-Filters-Applied": "artifactType"} if kind is not None else {}
        return answer(json.dumps(document, separators=(",", ":")).encode(), content_type=INDEX_TYPE, headers=headers)

    def _artifacts(self, release: PublishedRelease) -> tuple[Artifact, ...]:
        return self._evidence.of(release, len(self.watch.offer.manifests[release.manifest].data))

    def _artifact(self, who: Caller, repository: str, wanted: Callable[[Artifact], bool]) -> Artifact | None:
        return next((each for release in self._visible(who, repository) for each in self._artifacts(release) if wanted(each)), None)

    def _small(self, request: web.BaseRequest, data: bytes, content_type: str, digest: Digest) -> web.Response:
        etag = f'"{digest}"'
        headers = {"Docker-Content-Digest": digest, "ETag": etag}
        status = 304 if ranges.matches(request.headers.get("If-None-Match"), etag) else 200
        return answer(data if status == 200 else b"", content_type=content_type, status=status, headers=headers)

    def _capability(self, request: web.BaseRequest, target: str) -> web.StreamResponse:
        if request.method not in _READS:
            return error(405, "UNSUPPORTED", _ONLY_PULL, headers={"Allow": "GET, HEAD"})
        capability = read_capability(self.secrets, target, now=self.now())
        if capability is None:
            self._deny(request, ANONYMOUS, "", "capability not valid or expired")
            return error(403, "DENIED", _BAD_LINK)
        # Asked again for each part, and while it is sent: what is no longer served, or no longer allowed, ends here within seconds.
        found = self._decide_again(capability)
        if isinstance(found, web.Response):
            reason = "a link that is no longer good" if found.status == 404 else "a link whose caller may no longer"
            self._deny(request, Caller(capability.caller, capability.caller.rpartition(".")[0] or "-"), capability.repository, reason)
            return found
        who, size = found
        return self._send(request, who, capability.digest, size, lambda: self._still(capability))

    def _decide_again(self, capability: Capability) -> tuple[Caller, int] | web.Response:
        """Return who has the link and the blob's size, or the refusal.

        The state is the one in which the blob was handed out, so that a promotion in the middle of a pull doesn't cut off whoever fetches what
        it replaced.
        """
        offer = self.watch.offer
        who = offer.callers.by_id(capability.caller, now=self.now()) or ANONYMOUS
        decision = self._access().decide(who, capability.repository, capability.state)
        if isinstance(decision, Deny):
            return error(403, "DENIED", decision.reason)
        blob = offer.blob_of(capability.repository, capability.release, capability.digest)
        if blob is None:
            return error(404, "BLOB_UNKNOWN", "this blob is no longer part of a model that is served here")
        return who, blob.size

    def _still(self, capability: Capability) -> bool:
        return not isinstance(self._decide_again(capability), web.Response)

    def _token(self, request: web.BaseRequest, target: str) -> web.Response:
        """Answer a node's signed request, or a bearer's with Basic credentials, with a short-lived token."""
        if self.anonymous_pull:
            return self._no_token(request, ANONYMOUS, "", "no token is needed here")
        try:
            who, repository = (
                self._bearer(request) if request.headers.get("Authorization", "").startswith("Basic ") else self._signer(request, target)
            )
        except SignatureRefused as refusal:
            return self._no_token(request, ANONYMOUS, "", str(refusal))
        except StoreFailed as failure:
            _log.error("no token is given: %s", failure)
            return error(503, "UNAVAILABLE", "the registry can't keep its journal; ask its operator")
        decision = self._access().decide(who, repository, None)
        if isinstance(decision, Deny):
            return self._no_token(request, who, repository, decision.reason)
        token = tokens.write_token(self.secrets, tokens.Token(who.id, repository, int(self.now()) + tokens.LIFETIME))
        document = {"token": token, "access_token": token, "expires_in": tokens.LIFETIME}
        return answer(json.dumps(document).encode(), headers={"Cache-Control": "no-store"})

    def _signer(self, request: web.BaseRequest, target: str) -> tuple[Caller, str]:
        """Return which enrolled node signed this request, and the repository it asks for.

        Raises:
            SignatureRefused: nobody that we know did, or not now, or not for the first time.
        """
        signed = verify_token_request(f"{request.scheme}://{host_of(request)}", target, request.headers.get("Authorization", ""))
        who = self.watch.offer.callers.by_key(signed.key)
        if who is None:
            self.journal.knocked(signed.key, peer=_peer(request), repository=signed.repository)
            raise SignatureRefused(
                f"this node's key {key_fingerprint(signed.key)} is not enrolled; the registry's operator can do it: "
                f"airlock node enroll NAME --pending {key_fingerprint(signed.key)}"
            )
        if sentence := skew_sentence(signed.timestamp, self.now(), self.window):
            raise SignatureRefused(sentence)
        if not self.nonces.use(f"{who.id} {signed.nonce}", expires=signed.timestamp + self.window + 1, now=self.now()):
            raise SignatureRefused("this signed request was used before")
        return who, signed.repository

    def _bearer(self, request: web.BaseRequest) -> tuple[Caller, str]:
        """Return whose token the Basic credentials hold (any user name), and the repository asked for.

        Raises:
            SignatureRefused: nobody's, or it asks for more than to pull from one repository.
        """
        try:
            user_and_token = base64.b64decode(request.headers["Authorization"].partition(" ")[2], validate=True).decode("ascii")
        except ValueError:  # not base64, or not ASCII
            user_and_token = ""
        who = self.watch.offer.callers.by_token(user_and_token.partition(":")[2], now=self.now())
        if who is None:
            raise SignatureRefused("this token is not valid or has expired")
        scopes = request.query.getall("scope", [""])
        return who, parse_scope(scopes[0] if len(scopes) == 1 else "several")

    def _no_token(self, request: web.BaseRequest, who: Caller, repository: str, reason: str) -> web.Response:
        """Refuse in one plain sentence, which Ollama shows as it stands; never with a bare 401, for which it has none."""
        self._deny(request, who, repository, reason)
        return answer(reason.encode(), content_type="text/plain; charset=utf-8", status=403, headers={"Cache-Control": "no-store"})

    def _who(self, request: web.BaseRequest, repository: str) -> Caller:
        """Return who is asking for something in ``repository``: the bearer of a token that is good for it, or the owner of a client certificate."""
        kind, _, text = request.headers.get("Authorization", "").partition(" ")
        callers, found = self.watch.offer.callers, None
        if kind.lower() == "bearer":
            found = callers.by_token(text, now=self.now())
            token = None if found else tokens.read_token(self.secrets, text, now=self.now())
            if token is not None and (token.repository == repository or not repository):
                found = callers.by_id(token.caller, now=self.now())
        certificate = request.transport.get_extra_info("peercert") if request.transport and not kind else None
        return found or callers.by_certificate(certificate) or ANONYMOUS

    def _access(self) -> Access:
        return Access(self.anonymous_pull, self.watch.offer.rules)

    def _send(
        self, request: web.BaseRequest, who: Caller, digest: Digest, size: int, allowed: Callable[[], bool], *, location: str = ""
    ) -> web.StreamResponse:
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
        caller = who.id if who.known else _peer(request)
        try:
            self.pace.refuse_too_many(caller)
        except TooMany:
            file.close()
            return error(503, "TOOMANYREQUESTS", "this node has too many downloads under way", headers={"Retry-After": "1"})
        response = FileResponse(file, span, status=206 if span.partial else 200, headers=headers, pace=self.pace, caller=caller)
        self._bodies[response] = _Body(who.name if who.known else caller, allowed, self.now())
        task = asyncio.current_task()
        if task is not None:
            task.add_done_callback(lambda _: self._bodies.pop(response, None))
        return response

    def _refused(self, request: web.BaseRequest, who: Caller, repository: str, state: ServedState | None) -> web.Response | None:
        """Return the refusal when ``who`` may not have it; somebody unknown is told at which realm a token is to be had."""
        decision = self._access().decide(who, repository, state)
        if not isinstance(decision, Deny):
            return None
        self._deny(request, who, repository, decision.reason)
        if who.known:
            return error(403, "DENIED", decision.reason)
        scope = f',scope="repository:{repository}:pull"' if repository else ""
        challenge = f'Bearer realm="{request.scheme}://{host_of(request)}/token",service="{SERVICE}"{scope}'
        return error(401, "UNAUTHORIZED", decision.reason, headers={"WWW-Authenticate": challenge})

    def _record(self, request: web.BaseRequest, verb: str, who: Caller, repository: str, digest: Digest) -> web.Response | None:
        try:
            self.journal.handed_out(verb, node=who.name, peer=_peer(request), repository=repository, digest=digest)
        except OSError as failure:
            _log.error("nothing is handed out: the access journal can't be written: %s", failure.strerror)
            return error(503, "UNAVAILABLE", "the registry can't keep its journal; ask its operator")
        return None

    def _deny(self, request: web.BaseRequest, who: Caller, repository: str, reason: str) -> None:
        self.journal.denied(reason, node=who.name, peer=_peer(request), repository=repository)

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
        return self.redirect_host if ":" in self.redirect_host else self.redirect_host + port_of(request)


def _peer(request: web.BaseRequest) -> str:
    return request.remote or ""


def _digest(text: str) -> Digest | None:
    try:
        return parse_digest(text)
    except FormatRefused:
        return None
