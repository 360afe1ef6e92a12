"""``GET /token``: trades a node's signature, or a bearer's password, for a token that is good for minutes."""

from __future__ import annotations

import base64
import json
import logging
from dataclasses import dataclass

from aiohttp import web

from registry.content.callers import key_fingerprint
from registry.errors import SignatureRefused, StoreFailed
from registry.server import tokens
from registry.server.access import ANONYMOUS, Caller, Deny
from registry.server.gate import Gate, peer_of
from registry.server.hosts import host_of
from registry.server.node_auth import parse_scope, skew_sentence, verify_token_request
from registry.server.nonces import Nonces
from registry.server.oci import answer, error
from registry.server.reasons import Reason

__all__ = ["TokenEndpoint"]

_log = logging.getLogger(__name__)


class _NoToken(Exception):
    """Who asks, and for what, is understood; but there is no token for it."""

    def __init__(self, sentence: str, reason: Reason) -> None:
        super().__init__(sentence)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class TokenEndpoint:
    """``window`` is how many seconds a node's clock may be wrong."""

    gate: Gate
    nonces: Nonces
    window: int

    def answer(self, request: web.BaseRequest) -> web.Response:
        """Answer a node's signed request, or a bearer's with Basic credentials, with a short-lived token."""
        gate = self.gate
        if gate.anonymous_pull:
            return self._refusal(request, ANONYMOUS, "", Reason.NO_TOKEN_NEEDED, "no token is needed here")
        try:
            basic = request.headers.get("Authorization", "").startswith("Basic ")
            who, repository = self._bearer(request) if basic else self._signer(request)
        except SignatureRefused as refusal:
            return self._refusal(request, ANONYMOUS, "", Reason.BAD_SIGNATURE, str(refusal))
        except _NoToken as refusal:
            return self._refusal(request, ANONYMOUS, "", refusal.reason, str(refusal))
        except StoreFailed as failure:
            _log.error("no token is given: %s", failure)
            return error(503, "UNAVAILABLE", "the registry can't keep its journal; ask its operator")
        decision = gate.decide(who, repository, None)
        if isinstance(decision, Deny):
            return self._refusal(request, who, repository, decision.kind, decision.reason)
        token = tokens.write_token(gate.secrets, tokens.Token(who.id, repository, int(gate.now()) + tokens.LIFETIME))
        document = {"token": token, "access_token": token, "expires_in": tokens.LIFETIME}
        return answer(json.dumps(document).encode(), headers={"Cache-Control": "no-store"})

    def _signer(self, request: web.BaseRequest) -> tuple[Caller, str]:
        """Return which enrolled node signed this request, and the repository it asks for.

        Raises:
            SignatureRefused: nobody did.
            _NoToken: nobody that we know did, or not now, or not for the first time.
        """
        gate, origin = self.gate, f"{request.scheme}://{host_of(request)}"
        signed = verify_token_request(origin, request.raw_path, request.headers.get("Authorization", ""))
        who = gate.watch.offer.callers.by_key(signed.key)
        if who is None:
            gate.journal.knocked(signed.key, peer=peer_of(request), repository=signed.repository)
            raise _NoToken(
                f"this node's key {key_fingerprint(signed.key)} is not enrolled; the registry's operator can do it: "
                f"airlock node enroll NAME --pending {key_fingerprint(signed.key)}",
                Reason.UNKNOWN_KEY,
            )
        if sentence := skew_sentence(signed.timestamp, gate.now(), self.window):
            raise _NoToken(sentence, Reason.CLOCK)
        if not self.nonces.use(f"{who.id} {signed.nonce}", expires=signed.timestamp + self.window + 1, now=gate.now()):
            raise _NoToken("this signed request was used before", Reason.REPLAYED)
        return who, signed.repository

    def _bearer(self, request: web.BaseRequest) -> tuple[Caller, str]:
        """Return whose token the Basic credentials hold (any user name), and the repository asked for.

        Raises:
            SignatureRefused: it asks for more than to pull from one repository.
            _NoToken: it is nobody's.
        """
        try:
            user_and_token = base64.b64decode(request.headers["Authorization"].partition(" ")[2], validate=True).decode("ascii")
        except ValueError:  # not base64, or not ASCII
            user_and_token = ""
        who = self.gate.watch.offer.callers.by_token(user_and_token.partition(":")[2], now=self.gate.now())
        if who is None:
            raise _NoToken("this token is not valid or has expired", Reason.BAD_TOKEN)
        scopes = request.query.getall("scope", [""])
        return who, parse_scope(scopes[0] if len(scopes) == 1 else "several")

    def _refusal(self, request: web.BaseRequest, who: Caller, repository: str, reason: Reason, sentence: str) -> web.Response:
        """Refuse in one plain sentence, which Ollama shows as it stands; never with a bare 401, for which it has none."""
        self.gate.deny(request, who, repository, reason, sentence)
        return answer(sentence.encode(), content_type="text/plain; charset=utf-8", status=403, headers={"Cache-Control": "no-store"})
