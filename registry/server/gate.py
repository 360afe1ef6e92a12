"""The gate before everything that is handed out: who asks, whether they may, and that it is on record before it happens."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from registry.content.digest import Digest
from registry.content.view import ServedState
from registry.server import tokens
from registry.server.access import ANONYMOUS, Access, Allow, Caller, Deny
from registry.server.hosts import host_of
from registry.server.journal import Journal
from registry.server.metrics import REFUSALS, Tally
from registry.server.node_auth import SERVICE
from registry.server.oci import error
from registry.server.reasons import Reason
from registry.server.secret import Secrets
from registry.server.watch import Watch

__all__ = ["Gate", "peer_of"]

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Gate:
    """Asks the rules of the published view in force; ``now`` gives Unix seconds."""

    watch: Watch
    anonymous_pull: bool
    secrets: Secrets
    journal: Journal
    tally: Tally
    now: Callable[[], float]

    def who(self, request: web.BaseRequest, repository: str) -> Caller:
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

    def decide(self, who: Caller, repository: str, state: ServedState | None) -> Allow | Deny:
        """Return the decision of :meth:`registry.server.access.Access.decide` under the rules in force."""
        return Access(self.anonymous_pull, self.watch.offer.rules).decide(who, repository, state)

    def refusal(self, request: web.BaseRequest, who: Caller, repository: str, state: ServedState | None) -> web.Response | None:
        """Return the refusal when ``who`` may not have it; somebody unknown is told at which realm a token is to be had."""
        decision = self.decide(who, repository, state)
        if not isinstance(decision, Deny):
            return None
        self.deny(request, who, repository, decision.kind, decision.reason)
        if who.known:
            return error(403, "DENIED", decision.reason)
        scope = f',scope="repository:{repository}:pull"' if repository else ""
        challenge = f'Bearer realm="{request.scheme}://{host_of(request)}/token",service="{SERVICE}"{scope}'
        return error(401, "UNAUTHORIZED", decision.reason, headers={"WWW-Authenticate": challenge})

    def record(self, request: web.BaseRequest, verb: str, who: Caller, repository: str, digest: Digest) -> web.Response | None:
        """Write down what is about to be handed out; return the refusal when that can't be done."""
        try:
            self.journal.handed_out(verb, node=who.name, peer=peer_of(request), repository=repository, digest=digest)
        except OSError as failure:
            _log.error("nothing is handed out: the access journal can't be written: %s", failure.strerror)
            return error(503, "UNAVAILABLE", "the registry can't keep its journal; ask its operator")
        return None

    def deny(self, request: web.BaseRequest, who: Caller, repository: str, reason: Reason, sentence: str) -> None:
        """Count a refusal and write it down."""
        self.tally.count(REFUSALS, reason)
        self.journal.denied(sentence, node=who.name, peer=peer_of(request), repository=repository)


def peer_of(request: web.BaseRequest) -> str:
    """Return the address that a request came from."""
    return request.remote or ""
