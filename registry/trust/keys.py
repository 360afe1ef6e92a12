"""Signing keys as they are made, kept and shown.

A signing key is a securesystemslib ``Signer``; its public half is an ``SSlibKey``, whose key id is the SHA-256 of its canonical JSON (TUF 1.0,
section 4.2).  A hybrid role needs no algorithm of its own: it has one classical and one ML-DSA key, and threshold 2.

=============== ==================================== ===========================================================================
``--algorithm`` ``keytype``, ``scheme``              source
=============== ==================================== ===========================================================================
``ed25519``     ``ed25519``, ``ed25519``             RFC 8032, FIPS 186-5 section 7; the default
``ecdsa-p384``  ``ecdsa``, ``ecdsa-sha2-nistp384``   FIPS 186-5 section 6, with SHA-384; what PKCS #11 tokens sign
``ml-dsa-65``   ``ml-dsa``, ``ml-dsa-65/1``          FIPS 204, over "tuf", 1, SHA-512 of the data (TAP 21); post-quantum, category 3
``ml-dsa-87``   ``ml-dsa``, ``ml-dsa-87/1``          the same, category 5
=============== ==================================== ===========================================================================
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_pem_public_key,
)
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import CryptoSigner, Key, SSlibKey

from registry.errors import FormatRefused, Usage
from registry.trust.spelling import P384_SCHEME, P384Signer, StrictKey

__all__ = [
    "ALGORITHMS",
    "key_id",
    "new_signer",
    "private_from_json",
    "private_to_json",
    "public_from_json",
    "public_to_json",
    "short",
    "signer_of",
]

ALGORITHMS: Mapping[str, Callable[[], PrivateKeyTypes]] = {
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "ecdsa-p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ml-dsa-65": mldsa.MLDSA65PrivateKey.generate,
    "ml-dsa-87": mldsa.MLDSA87PrivateKey.generate,
}
"""The algorithms a new key may have, by the name the command line uses."""

_PEM_KINDS: Mapping[tuple[str, str], type] = {
    ("ecdsa", P384_SCHEME): ec.EllipticCurvePublicKey,
    ("ml-dsa", "ml-dsa-65/1"): mldsa.MLDSA65PublicKey,
    ("ml-dsa", "ml-dsa-87/1"): mldsa.MLDSA87PublicKey,
}
_MAX_PEM = 4096  # the longest, ML-DSA-87, has 3,600 characters


def new_signer(algorithm: str = "ed25519") -> CryptoSigner:
    """Return a fresh key pair.

    Raises:
        Usage: the ``cryptography`` installed here was built against a library without this algorithm.
    """
    try:
        private = ALGORITHMS[algorithm]()
    except UnsupportedAlgorithm as error:
        raise Usage(f"{algorithm}: this machine's cryptography package can't make such a key", why=str(error)) from None
    return signer_of(private, what="the new key")


def signer_of(private: PrivateKeyTypes, *, what: str) -> CryptoSigner:
    """Return the key pair around a private key.

    Raises:
        FormatRefused: of an algorithm that airlock doesn't use.
    """
    try:
        plain = SSlibKey.from_crypto(private.public_key())
    except (ValueError, AttributeError) as error:
        raise FormatRefused(f"{what}: not a signing key", why=str(error)) from None
    return _pair(private, public_from_json(plain.to_dict(), what=what))


def private_to_json(signer: CryptoSigner) -> str:
    """Return the private key as base64 of PKCS #8 DER, unencrypted: the keystore seals it.  Of an ML-DSA key it holds the seed (RFC 9881)."""
    der = signer._private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())  # noqa: SLF001
    return base64.b64encode(der).decode("ascii")


def private_from_json(text: str, public: SSlibKey) -> CryptoSigner:
    """Return the key pair that :func:`private_to_json` wrote."""
    return _pair(load_der_private_key(base64.b64decode(text, validate=True), password=None), public)


def public_to_json(key: Key) -> dict[str, Any]:
    """Return ``key`` as TUF writes it: ``keytype``, ``scheme``, ``keyval``."""
    members: dict[str, Any] = key.to_dict()
    return members


def public_from_json(value: object, *, what: str) -> SSlibKey:
    """Return the public key that ``value`` describes, under its computed key id; it verifies one spelling of each signature.

    A key has one spelling, too, or one key under two ids could fill a threshold of two: 64 lower-case hexadecimal digits (Ed25519), or the PEM of
    SubjectPublicKeyInfo exactly as ``cryptography`` writes it (ECDSA with the uncompressed point, ML-DSA).

    Raises:
        FormatRefused: other members than TUF's three, an algorithm that airlock doesn't use, a key in another spelling.
    """
    if (
        not isinstance(value, dict)
        or set(value) != {"keytype", "scheme", "keyval"}
        or not isinstance(value["keytype"], str)
        or not isinstance(value["scheme"], str)
        or not isinstance(value["keyval"], dict)
        or set(value["keyval"]) != {"public"}
        or not isinstance(value["keyval"]["public"], str)
    ):
        raise FormatRefused(f"{what}: not a public key that airlock uses", why="expected keytype, scheme and keyval")
    kind, public = (value["keytype"], value["scheme"]), value["keyval"]["public"]
    if kind == ("ed25519", "ed25519"):
        if len(public) != 64 or public.strip("0123456789abcdef"):
            raise FormatRefused(f"{what}: not an Ed25519 public key", why="expected 64 lower-case hexadecimal digits")
    elif kind in _PEM_KINDS:
        _refuse_odd_pem(public, kind, what)
    else:
        known = ", ".join(["ed25519", *(scheme for _, scheme in _PEM_KINDS)])
        raise FormatRefused(f"{what}: not a public key that airlock uses", why=f"expected one of {known}; found {' '.join(kind)[:80]!r}")
    return StrictKey(key_id(value), *kind, {"public": public})


def key_id(members: Mapping[str, Any]) -> str:
    """Return the key id of a key's three members: 64 hexadecimal digits (TUF 1.0, section 4.2, KEYID)."""
    canonical = encode_canonical({name: members[name] for name in ("keytype", "scheme", "keyval")})
    return hashlib.sha256(str(canonical).encode("utf-8")).hexdigest()


def short(keyid: str) -> str:
    """Return the first eight digits of a key id: enough for people, never for a decision."""
    return keyid[:8]


def _pair(private: PrivateKeyTypes, public: SSlibKey) -> CryptoSigner:
    return P384Signer(private, public) if public.scheme == P384_SCHEME else CryptoSigner(private, public)


def _refuse_odd_pem(text: str, kind: tuple[str, str], what: str) -> None:
    scheme = kind[1]
    try:
        key = load_pem_public_key(text[:_MAX_PEM].encode("ascii"))
        again = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")
    except (ValueError, UnsupportedAlgorithm) as error:
        raise FormatRefused(f"{what}: not a public key for {scheme}", why=str(error)) from None
    if not isinstance(key, _PEM_KINDS[kind]) or (isinstance(key, ec.EllipticCurvePublicKey) and not isinstance(key.curve, ec.SECP384R1)):
        raise FormatRefused(f"{what}: not a public key for {scheme}", why="it is of another algorithm")
    if again != text:
        raise FormatRefused(f"{what}: a public key in another spelling", why="the same key written canonically gives other bytes")
