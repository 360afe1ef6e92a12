"""Short-lived tokens: who proved to be whom a moment ago, for one repository; opaque to clients, who get another when one has expired.

::

    <base64url of "caller repository expiry">.<64 hex of HMAC-SHA256>
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from registry.server.secret import Secrets

__all__ = ["LIFETIME", "Token", "read_token", "write_token"]

LIFETIME = 300
"""Seconds; Ollama asks for a new one as soon as it is refused."""

_CONTEXT = b"airlock token v1\n"
_FORM = re.compile(r"(?P<payload>[A-Za-z0-9_-]{1,400})\.(?P<mac>[0-9a-f]{64})\Z")


@dataclass(frozen=True, slots=True)
class Token:
    """``caller`` may ask for what is in ``repository`` (lower case; empty: for no repository) until ``expires`` (Unix seconds)."""

    caller: str
    repository: str
    expires: int


def write_token(secrets: Secrets, token: Token) -> str:
    """Return the text that stands for ``token``."""
    payload = base64.urlsafe_b64encode(f"{token.caller} {token.repository} {token.expires}".encode("ascii")).decode("ascii").rstrip("=")
    return f"{payload}.{secrets.mac(_CONTEXT, payload)}"


def read_token(secrets: Secrets, text: str, *, now: float) -> Token | None:
    """Return the token that ``text`` is, or None when it isn't one of ours or has expired."""
    match = _FORM.match(text)
    if match is None or not secrets.made(_CONTEXT, match["payload"], match["mac"]):
        return None
    try:
        caller, repository, expires = base64.urlsafe_b64decode(match["payload"] + "=" * (-len(match["payload"]) % 4)).decode("ascii").split(" ")
    except (binascii.Error, ValueError):  # pragma: no cover - our own MAC is on it
        return None
    return Token(caller, repository, int(expires)) if now < int(expires) else None
