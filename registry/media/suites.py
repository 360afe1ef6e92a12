"""Sealing suites: the HPKE algorithms a set key may be wrapped with (RFC 9180, base mode), and how their keys are spelled.

=================== ======================================================== ======== ======= ======= ======== ==============================
name                KEM, KDF, AEAD                                           private  public  wrapped standard keys as in
=================== ======================================================== ======== ======= ======= ======== ==============================
``xwing``           ML-KEM-768 with X25519, HKDF-SHA256, AES-256-GCM         32       1,216   1,168   draft    draft-connolly-cfrg-xwing-kem
``p384``            DHKEM(P-384, HKDF-SHA384), HKDF-SHA384, AES-256-GCM      48       97      145     RFC 9180 sections 7.1.1 and 7.1.2
``mlkem1024-p384``  ML-KEM-1024 with P-384, HKDF-SHA384, AES-256-GCM         32       1,665   1,713   draft    draft-ietf-hpke-pq
=================== ======================================================== ======== ======= ======= ======== ==============================

Lengths in bytes.  Both hybrids keep one 32-byte seed, which SHAKE256 expands to the ML-KEM seed (64 bytes) and the other scalar (32 or 48 bytes).
HKDF-SHA384 with ``mlkem1024-p384`` is what the draft's own test vector pairs with KEM 0x0051.  ``p384`` has FIPS-approved algorithms only; its
private key is made by the curve's own key generation (FIPS 186-5, A.2), not derived from a seed.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import ec, mlkem, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

__all__ = ["SET_KEY_BYTES", "SUITES", "SUITE_MLKEM1024_P384", "SUITE_P384", "SUITE_XWING", "Suite"]

SUITE_XWING = "xwing-hkdf-sha256-aes-256-gcm"
SUITE_P384 = "p384-hkdf-sha384-aes-256-gcm"
SUITE_MLKEM1024_P384 = "mlkem1024-p384-hkdf-sha384-aes-256-gcm"
SET_KEY_BYTES = 32
_TAG_BYTES = 16
_SEED_BYTES = 32
_MLKEM_SEED_BYTES = 64
_MLKEM768_PUBLIC_BYTES = 1184
_MLKEM1024_PUBLIC_BYTES = 1568
_P384_PUBLIC_BYTES = 97  # 0x04, then both coordinates
_P384_SCALAR_BYTES = 48


@dataclass(frozen=True, slots=True)
class Suite:
    """One way to wrap a set key.  ``short`` is its name on the command line; the functions raise ValueError for bytes that are no key."""

    short: str
    hpke: hpke.Suite
    private_bytes: int
    public_bytes: int
    wrapped_bytes: int
    new_private: Callable[[], bytes]
    load_private: Callable[[bytes], Any]
    load_public: Callable[[bytes], Any]
    public_of: Callable[[bytes], bytes]


def _new_seed() -> bytes:
    return secrets.token_bytes(_SEED_BYTES)


# X-Wing


def _xwing_halves(seed: bytes) -> tuple[mlkem.MLKEM768PrivateKey, x25519.X25519PrivateKey]:
    expanded = hashlib.shake_256(seed).digest(_MLKEM_SEED_BYTES + 32)
    return (
        mlkem.MLKEM768PrivateKey.from_seed_bytes(expanded[:_MLKEM_SEED_BYTES]),
        x25519.X25519PrivateKey.from_private_bytes(expanded[_MLKEM_SEED_BYTES:]),
    )


def _xwing_public_of(seed: bytes) -> bytes:
    mlkem_key, x25519_key = _xwing_halves(seed)
    return mlkem_key.public_key().public_bytes_raw() + x25519_key.public_key().public_bytes_raw()


def _xwing_public(public: bytes) -> hpke.MLKEM768X25519PublicKey:
    return hpke.MLKEM768X25519PublicKey(
        mlkem.MLKEM768PublicKey.from_public_bytes(public[:_MLKEM768_PUBLIC_BYTES]),
        x25519.X25519PublicKey.from_public_bytes(public[_MLKEM768_PUBLIC_BYTES:]),
    )


# P-384


def _new_scalar() -> bytes:
    return ec.generate_private_key(ec.SECP384R1()).private_numbers().private_value.to_bytes(_P384_SCALAR_BYTES, "big")


def _p384_private(scalar: bytes) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(scalar, "big"), ec.SECP384R1())


def _p384_public(public: bytes) -> ec.EllipticCurvePublicKey:
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), public)


def _p384_public_of(scalar: bytes) -> bytes:
    return _p384_private(scalar).public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


# ML-KEM-1024 with P-384


def _mlkem1024_p384_halves(seed: bytes) -> tuple[mlkem.MLKEM1024PrivateKey, bytes]:
    # The draft draws again while the scalar is 0 or not below the order; with probability 2**-190 once, hence here never: _p384_private refuses.
    expanded = hashlib.shake_256(seed).digest(_MLKEM_SEED_BYTES + _P384_SCALAR_BYTES)
    return mlkem.MLKEM1024PrivateKey.from_seed_bytes(expanded[:_MLKEM_SEED_BYTES]), expanded[_MLKEM_SEED_BYTES:]


def _mlkem1024_p384_private(seed: bytes) -> hpke.MLKEM1024P384PrivateKey:
    mlkem_key, scalar = _mlkem1024_p384_halves(seed)
    return hpke.MLKEM1024P384PrivateKey(mlkem_key, _p384_private(scalar))


def _mlkem1024_p384_public(public: bytes) -> hpke.MLKEM1024P384PublicKey:
    return hpke.MLKEM1024P384PublicKey(
        mlkem.MLKEM1024PublicKey.from_public_bytes(public[:_MLKEM1024_PUBLIC_BYTES]), _p384_public(public[_MLKEM1024_PUBLIC_BYTES:])
    )


def _mlkem1024_p384_public_of(seed: bytes) -> bytes:
    mlkem_key, scalar = _mlkem1024_p384_halves(seed)
    return mlkem_key.public_key().public_bytes_raw() + _p384_public_of(scalar)


SUITES: Mapping[str, Suite] = MappingProxyType(
    {
        SUITE_XWING: Suite(
            short="xwing",
            hpke=hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM),
            private_bytes=_SEED_BYTES,
            public_bytes=_MLKEM768_PUBLIC_BYTES + 32,
            wrapped_bytes=hpke.KEM.MLKEM768_X25519.enc_length() + SET_KEY_BYTES + _TAG_BYTES,
            new_private=_new_seed,
            load_private=lambda seed: hpke.MLKEM768X25519PrivateKey(*_xwing_halves(seed)),
            load_public=_xwing_public,
            public_of=_xwing_public_of,
        ),
        SUITE_P384: Suite(
            short="p384",
            hpke=hpke.Suite(hpke.KEM.P384, hpke.KDF.HKDF_SHA384, hpke.AEAD.AES_256_GCM),
            private_bytes=_P384_SCALAR_BYTES,
            public_bytes=_P384_PUBLIC_BYTES,
            wrapped_bytes=hpke.KEM.P384.enc_length() + SET_KEY_BYTES + _TAG_BYTES,
            new_private=_new_scalar,
            load_private=_p384_private,
            load_public=_p384_public,
            public_of=_p384_public_of,
        ),
        SUITE_MLKEM1024_P384: Suite(
            short="mlkem1024-p384",
            hpke=hpke.Suite(hpke.KEM.MLKEM1024_P384, hpke.KDF.HKDF_SHA384, hpke.AEAD.AES_256_GCM),
            private_bytes=_SEED_BYTES,
            public_bytes=_MLKEM1024_PUBLIC_BYTES + _P384_PUBLIC_BYTES,
            wrapped_bytes=hpke.KEM.MLKEM1024_P384.enc_length() + SET_KEY_BYTES + _TAG_BYTES,
            new_private=_new_seed,
            load_private=_mlkem1024_p384_private,
            load_public=_mlkem1024_p384_public,
            public_of=_mlkem1024_p384_public_of,
        ),
    }
)
"""Every suite that this airlock reads and writes, by the name in ``set.json`` and ``site.pub``; the default first."""
