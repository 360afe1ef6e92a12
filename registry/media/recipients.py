"""Recipients and identities: to whom a set key is sealed (HPKE, RFC 9180, base mode).

The default suite is X-Wing (ML-KEM-768 with X25519, draft-connolly-cfrg-xwing-kem), HKDF-SHA256, AES-256-GCM.  An identity is X-Wing's 32-byte
seed; SHAKE256 expands it to the ML-KEM seed (64 bytes) and the X25519 scalar (32 bytes), as the draft and Google Tink do.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import mlkem, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from registry.content import canonical
from registry.errors import FormatRefused, RecipientRefused

__all__ = ["SUITE_XWING", "Identity", "Recipient", "new_identity", "unwrap", "wrap"]

SUITE_XWING = "xwing-hkdf-sha256-aes-256-gcm"
_SEED_BYTES = 32
_MLKEM_PUBLIC_BYTES = 1184
_PUBLIC_BYTES = _MLKEM_PUBLIC_BYTES + 32
_WRAPPED_BYTES = 1088 + 32 + 32 + 16  # ML-KEM ciphertext, X25519 share, set key, tag
SET_KEY_BYTES = 32
_SUITE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


@dataclass(frozen=True, slots=True)
class Recipient:
    """The public half: 1,216 bytes, the ML-KEM-768 key and then the X25519 key."""

    public: bytes

    def __post_init__(self) -> None:
        if len(self.public) != _PUBLIC_BYTES:
            raise FormatRefused("recipient key: wrong length", why=f"expected {_PUBLIC_BYTES} bytes, found {len(self.public)}")

    @property
    def key_id(self) -> str:
        """64 hexadecimal digits: the SHA-256 of the public key."""
        return hashlib.sha256(self.public).hexdigest()


@dataclass(frozen=True, slots=True, repr=False)
class Identity:
    """The private half: a 32-byte seed."""

    seed: bytes

    @property
    def recipient(self) -> Recipient:
        """The public half."""
        mlkem_key, x25519_key = self._halves()
        raw = x25519_key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return Recipient(mlkem_key.public_key().public_bytes_raw() + raw)

    def _halves(self) -> tuple[mlkem.MLKEM768PrivateKey, x25519.X25519PrivateKey]:
        expanded = hashlib.shake_256(self.seed).digest(96)
        return mlkem.MLKEM768PrivateKey.from_seed_bytes(expanded[:64]), x25519.X25519PrivateKey.from_private_bytes(expanded[64:])


def new_identity() -> Identity:
    """Return a fresh identity."""
    return Identity(secrets.token_bytes(_SEED_BYTES))


def wrap(set_key: bytes, recipient: Recipient, *, set_id: str) -> bytes:
    """Seal ``set_key`` (32 bytes) to ``recipient``: the HPKE encapsulated key followed by the ciphertext."""
    try:
        public = hpke.MLKEM768X25519PublicKey(
            mlkem.MLKEM768PublicKey.from_public_bytes(recipient.public[:_MLKEM_PUBLIC_BYTES]),
            x25519.X25519PublicKey.from_public_bytes(recipient.public[_MLKEM_PUBLIC_BYTES:]),
        )
    except ValueError as error:
        raise FormatRefused("recipient key: not an X-Wing public key", why=str(error)) from None
    return _SUITE.encrypt(set_key, public, _info(set_id, recipient))


def unwrap(wrapped: bytes, identity: Identity, *, set_id: str) -> bytes:
    """Return the set key that :func:`wrap` sealed to ``identity``.

    Raises:
        RecipientRefused: sealed to somebody else, for another set, or changed on the way.
    """
    mlkem_key, x25519_key = identity._halves()  # noqa: SLF001
    try:
        key = _SUITE.decrypt(wrapped, hpke.MLKEM768X25519PrivateKey(mlkem_key, x25519_key), _info(set_id, identity.recipient))
    except (InvalidTag, ValueError):
        raise RecipientRefused(
            f"set {set_id}: its key can't be opened",
            why="the wrapped key was changed on the way, or was made for another set",
            hint="ask the publisher for a fresh export",
        ) from None
    if len(key) != SET_KEY_BYTES:
        raise RecipientRefused(f"set {set_id}: its key has {len(key)} bytes", why=f"expected {SET_KEY_BYTES}")
    return key


def _info(set_id: str, recipient: Recipient) -> bytes:
    return canonical.dump({"format": "airlock-set-v1", "recipient": recipient.key_id, "set": set_id})
