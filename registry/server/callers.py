"""Finds out who is asking: by the node's key, by a bearer token, by a client certificate, or by the id in something that we signed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from registry.content.callers import KnownNode, KnownToken
from registry.content.digest import digest_of
from registry.server.access import ANONYMOUS, Caller

__all__ = ["NOBODY", "Callers"]


class Callers:
    """Everybody that one published view knows."""

    def __init__(self, nodes: Iterable[KnownNode], tokens: Iterable[KnownToken]) -> None:
        """Index them."""
        self._by_id: dict[str, Caller] = {}
        self._by_key: dict[str, Caller] = {}
        self._by_certificate: dict[str, Caller] = {}
        self._by_digest: dict[str, KnownToken] = {}
        self._expires: dict[str, int] = {}
        for node in nodes:
            # The key's digest is part of the id: what was signed for a revoked key isn't good for a new one under the same name.
            mark = hashlib.sha256(f"{node.key}\n{node.certificate}".encode()).hexdigest()[:16]
            caller = Caller(f"{node.name}.{mark}", node.name, frozenset(node.groups))
            self._by_id[caller.id] = caller
            if node.key:
                self._by_key[node.key] = caller
            if node.certificate:
                self._by_certificate[node.certificate] = caller
        for token in tokens:
            caller = Caller(f"token.{token.name}.{token.digest[7:23]}", f"token {token.name}", frozenset(token.groups), token.patterns)
            self._by_id[caller.id] = caller
            self._by_digest[token.digest] = token
            self._expires[caller.id] = token.expires

    def by_id(self, identifier: str, *, now: float) -> Caller | None:
        """Return who has this id now, or None: revoked, expired, or never known."""
        if identifier == ANONYMOUS.id:
            return ANONYMOUS
        caller = self._by_id.get(identifier)
        return None if caller is None or now >= self._expires.get(identifier, now + 1) else caller

    def by_key(self, key: str) -> Caller | None:
        """Return the node with this key."""
        return self._by_key.get(key)

    def by_token(self, text: str, *, now: float) -> Caller | None:
        """Return who bears this token, unless it is unknown or has expired.  Only its digest is ever compared."""
        # Whoever sends bytes that are no text has no token, either; headers arrive with such bytes escaped.
        token = self._by_digest.get(digest_of(text.encode(errors="surrogateescape")))
        return self.by_id(f"token.{token.name}.{token.digest[7:23]}", now=now) if token else None

    def by_certificate(self, certificate: Mapping[str, Any] | None) -> Caller | None:
        """Return the node that this verified client certificate names (as ``SSLObject.getpeercert`` gives it) among its DNS names."""
        for kind, name in (certificate or {}).get("subjectAltName", ()):
            if kind == "DNS" and (caller := self._by_certificate.get(str(name).lower())):
                return caller
        return None


NOBODY = Callers((), ())
