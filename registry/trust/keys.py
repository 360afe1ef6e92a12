"""Signing keys as they are made, kept and shown.

A signing key is securesystemslib's ``CryptoSigner``; its public half is an ``SSlibKey``, whose key id is the SHA-256 of its canonical JSON (TUF
1.0, section 4.2).  Ed25519 is the default; ECDSA P-384 and ML-DSA are what securesystemslib makes of the same calls.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_private_key
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import CryptoSigner, SSlibKey

from registry.errors import FormatRefused

__all__ = ["ALGORITHMS", "new_signer", "private_from_json", "private_to_json", "public_from_json", "public_to_json", "short"]

ALGORITHMS: Mapping[str, Callable[[], CryptoSigner]] = {"ed25519": CryptoSigner.generate_ed25519}
"""The algorithms a new key may have, by the name the command line uses."""

_SCHEMES = frozenset({("ed25519", "ed25519")})


def new_signer(algorithm: str = "ed25519") -> CryptoSigner:
    """Return a fresh key pair."""
    return ALGORITHMS[algorithm]()


def private_to_json(signer: CryptoSigner) -> str:
    """Return the private key as base64 of PKCS #8 DER, unencrypted: the keystore seals it."""
    der = signer._private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())  # noqa: SLF001
    return base64.b64encode(der).decode("ascii")


def private_from_json(text: str, public: SSlibKey) -> CryptoSigner:
    """Return the key pair that :func:`private_to_json` wrote."""
    private = load_der_private_key(base64.b64decode(text, validate=True), password=None)
    return CryptoSigner(private, public)


def public_to_json(key: SSlibKey) -> dict[str, Any]:
    """Return ``key`` as TUF writes it: ``keytype``, ``scheme``, ``keyval``."""
    members: dict[str, Any] = key.to_dict()
    return members


def public_from_json(value: object, *, what: str) -> SSlibKey:
    """Return the public key that ``value`` describes, under its computed key id.

    Raises:
        FormatRefused: other members than TUF's three, an algorithm that airlock doesn't use, a key in another spelling.
    """
    if (
        not isinstance(value, dict)
        or set(value) != {"keytype", "scheme", "keyval"}
        or (value["keytype"], value["scheme"]) not in _SCHEMES
        or not isinstance(value["keyval"], dict)
        or set(value["keyval"]) != {"public"}
        or not isinstance(value["keyval"]["public"], str)
    ):
        raise FormatRefused(f"{what}: not a public key that airlock uses", why="expected keytype, scheme and keyval of an Ed25519 key")
    public: str = value["keyval"]["public"]
    if len(public) != 64 or public.strip("0123456789abcdef"):
        raise FormatRefused(f"{what}: not an Ed25519 public key", why="expected 64 lower-case hexadecimal digits")
    return SSlibKey(key_id(value), value["keytype"], value["scheme"], {"public": public})


def key_id(members: Mapping[str, Any]) -> str:
    """Return the key id of a key's three members: 64 hexadecimal digits (TUF 1.0, section 4.2, KEYID)."""
    canonical = encode_canonical({name: members[name] for name in ("keytype", "scheme", "keyval")})
    return hashlib.sha256(str(canonical).encode("utf-8")).hexdigest()


def short(keyid: str) -> str:
    """Return the first eight digits of a key id: enough for people, never for a decision."""
    return keyid[:8]
