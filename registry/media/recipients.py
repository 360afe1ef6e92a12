"""Recipients and identities: to whom a set key is sealed (HPKE, RFC 9180, base mode), in one of the suites of :mod:`registry.media.suites`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag

from registry.content import canonical
from registry.errors import FormatRefused, RecipientRefused
from registry.media.suites import SET_KEY_BYTES, SUITE_XWING, SUITES

__all__ = ["SET_KEY_BYTES", "SUITE_XWING", "Identity", "Recipient", "identity_for", "new_identity", "unwrap", "wrap"]


@dataclass(frozen=True, slots=True)
class Recipient:
    """The public half: a public key as its suite spells it (X-Wing: 1,216 bytes, the ML-KEM-768 key and then the X25519 key)."""

    public: bytes
    suite: str = SUITE_XWING

    def __post_init__(self) -> None:
        suite = SUITES.get(self.suite)
        if suite is None:
            raise FormatRefused(
                "recipient key: of a suite that this airlock doesn't know", why=f"found {self.suite[:80]!r}", hint="update airlock first"
            )
        if len(self.public) != suite.public_bytes:
            raise FormatRefused("recipient key: wrong length", why=f"expected {suite.public_bytes} bytes, found {len(self.public)}")
        try:
            suite.load_public(self.public)
        except ValueError as error:
            raise FormatRefused(f"recipient key: not a public key of suite {suite.short}", why=str(error)) from None

    @property
    def key_id(self) -> str:
        """64 hexadecimal digits: the SHA-256 of the public key."""
        return hashlib.sha256(self.public).hexdigest()


@dataclass(frozen=True, slots=True, repr=False)
class Identity:
    """The private half: a private key as its suite spells it (X-Wing: a 32-byte seed)."""

    secret: bytes
    suite: str = SUITE_XWING

    def __post_init__(self) -> None:
        if self.suite not in SUITES or len(self.secret) != SUITES[self.suite].private_bytes:
            raise FormatRefused("recipient key: not a private key of a suite that this airlock knows", hint="restore keystore.json from its backup")

    @property
    def recipient(self) -> Recipient:
        """The public half."""
        return Recipient(SUITES[self.suite].public_of(self.secret), self.suite)


def new_identity(suite: str = SUITE_XWING) -> Identity:
    """Return a fresh identity."""
    return Identity(SUITES[suite].new_private(), suite)


def identity_for(keys: Mapping[str, bytes], suite: str, identities: Iterable[Identity]) -> Identity | None:
    """Return the identity to which a set in ``suite`` is sealed that wraps its key for the key ids in ``keys``, or None."""
    return next((each for each in identities if each.suite == suite and each.recipient.key_id in keys), None)


def wrap(set_key: bytes, recipient: Recipient, *, set_id: str) -> bytes:
    """Seal ``set_key`` (32 bytes) to ``recipient``: the HPKE encapsulated key followed by the ciphertext."""
    suite = SUITES[recipient.suite]
    return suite.hpke.encrypt(set_key, suite.load_public(recipient.public), _info(set_id, recipient))


def unwrap(wrapped: bytes, identity: Identity, *, set_id: str) -> bytes:
    """Return the set key that :func:`wrap` sealed to ``identity``.

    Raises:
        RecipientRefused: sealed to somebody else, for another set, or changed on the way.
    """
    suite = SUITES[identity.suite]
    try:
        key = suite.hpke.decrypt(wrapped, suite.load_private(identity.secret), _info(set_id, identity.recipient))
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
