"""Ollama's own way to say who it is: a request for a token, signed with the node's Ed25519 key.

A node that was answered 401 sends ``GET /token?nonce=…&scope=…&service=…&ts=…`` with ``Authorization: <base64 SSH wire key>:<base64 signature>``
over ``GET,<the full URL>,<a constant>`` (ollama, ``server/auth.go`` and ``auth/auth.go``).
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from urllib.parse import parse_qsl

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from registry.content.callers import key_bytes, parse_node_key
from registry.errors import FormatRefused, SignatureRefused

__all__ = ["SERVICE", "WINDOW", "SignedRequest", "parse_scope", "verify_token_request"]

SERVICE = "airlock"
WINDOW = 300
"""Seconds by which a node's clock may differ from ours: nodes behind the gap have no time server."""

_NOTHING = base64.b64encode(b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855").decode("ascii")  # hex SHA-256 of an empty body
_AUTHORIZATION = re.compile(r"(?P<wire>[A-Za-z0-9+/]{68}):(?P<signature>[A-Za-z0-9+/]{86}==)\Z")
_SCOPE = re.compile(r"repository:(?P<repository>[A-Za-z0-9_][A-Za-z0-9_-]{0,79}/[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}):pull\Z")
_NONCE = re.compile(r"[A-Za-z0-9_=+/-]{8,128}\Z")
_SECONDS = re.compile(r"[1-9][0-9]{0,11}\Z")


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request whose signature is good: by which ``key``, for which ``repository`` (lower case; empty: none), when, and its nonce.

    ``key`` is as :func:`registry.content.callers.parse_node_key` returns it; whether anybody knows it is for others to say.
    """

    key: str
    repository: str
    timestamp: int
    nonce: str


def verify_token_request(origin: str, target: str, authorization: str) -> SignedRequest:
    """Return what a node signed.

    Args:
        origin: ``http://HOST:PORT`` as the node spells it; the caller has made sure that the host is one of ours, so that a rogue host
            can't relay a node's signature.
        target: the request's path and query exactly as sent.
        authorization: the ``Authorization`` header.

    Raises:
        SignatureRefused: not such a request, or not signed by the key that it names.
    """
    match = _AUTHORIZATION.match(authorization)
    if match is None:
        raise SignatureRefused("this is not a request signed by an Ollama node")
    try:
        key = parse_node_key(f"ssh-ed25519 {match['wire']}", what="key")
        signature = base64.b64decode(match["signature"], validate=True)
        Ed25519PublicKey.from_public_bytes(key_bytes(key)).verify(signature, f"GET,{origin}{target},{_NOTHING}".encode())
    except (FormatRefused, InvalidSignature, ValueError, binascii.Error):
        raise SignatureRefused("the signature does not belong to this key and this address") from None
    fields: dict[str, str] = {}
    try:
        pairs = parse_qsl(target.partition("?")[2], keep_blank_values=True, max_num_fields=8)
    except ValueError:  # more fields than anybody asks with
        raise SignatureRefused("the request has too many fields") from None
    for name, value in pairs:
        if name in fields:
            raise SignatureRefused(f"{name[:20]} stands twice in the request")
        fields[name] = value
    if fields.keys() - {"scope"} != {"nonce", "service", "ts"} or fields["service"] != SERVICE:
        raise SignatureRefused("the request names no nonce, no time, or another service")
    if not _NONCE.match(fields["nonce"]) or not _SECONDS.match(fields["ts"]):
        raise SignatureRefused("the request's nonce or time is not well-formed")
    return SignedRequest(key, parse_scope(fields.get("scope", "")), int(fields["ts"]), fields["nonce"])


def parse_scope(text: str) -> str:
    """Return the repository, in lower case, that a scope asks to pull from; empty for no scope.

    Raises:
        SignatureRefused: it asks for anything else.
    """
    if not text:
        return ""
    match = _SCOPE.match(text)
    if match is None:
        raise SignatureRefused("tokens are given for pulling from one repository, and for nothing else")
    return match["repository"].lower()


def skew_sentence(timestamp: int, now: float, window: int) -> str:
    """Return the sentence for a node whose clock is wrong by more than ``window`` seconds, or nothing."""
    skew = round(timestamp - now)
    if abs(skew) <= window:
        return ""
    direction = "ahead of" if skew > 0 else "behind"
    return f"this node's clock is {abs(skew)} seconds {direction} the registry's; at most {window} are allowed: set its clock"
