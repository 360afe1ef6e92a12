"""Drafts: metadata that are still gathering signatures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Signer, SSlibKey
from tuf.api.metadata import Metadata
from tuf.api.serialization import DeserializationError

from registry.errors import FormatRefused, SignatureRefused
from registry.trust.keys import short
from registry.trust.roles import RoleKeys, serialise

__all__ = ["Lacking", "lacking", "merge", "same_content", "sign_draft"]


@dataclass(frozen=True, slots=True)
class Lacking:
    """What a draft lacks for one role: ``needed`` signatures in all, ``have`` key ids that signed, ``could`` key ids that may still sign."""

    role: str
    needed: int
    have: tuple[str, ...]
    could: tuple[str, ...]

    @property
    def missing(self) -> int:
        """How many signatures are missing; 0 when the role is satisfied."""
        return max(0, self.needed - len(self.have))


def sign_draft(draft: bytes, signer: Signer) -> bytes:
    """Return the draft with one more signature; a key that signed already changes nothing."""
    metadata = _load(draft)
    if signer.public_key.keyid not in metadata.signatures:
        metadata.sign(signer, append=True)
    return serialise(metadata)


def same_content(one: bytes, other: bytes) -> bool:
    """Tell whether two drafts say the same, whoever signed them."""
    return bool(_load(one).signed == _load(other).signed)


def merge(draft: bytes, other: bytes, keys: Sequence[SSlibKey]) -> bytes:
    """Return the draft with the signatures of both; each one taken over must be a valid one by one of ``keys``.

    Raises:
        SignatureRefused: the other draft says something else, or carries a signature that is not valid.
    """
    ours, theirs = _load(draft), _load(other)
    if ours.signed != theirs.signed:
        raise SignatureRefused("the signatures are for another draft", why="what they sign is not what this station wrote last", hint="prepare again")
    known = {key.keyid: key for key in keys}
    for keyid, signature in theirs.signatures.items():
        if keyid in ours.signatures:
            continue
        if keyid not in known:
            raise SignatureRefused("the draft was signed by an unknown key", why=f"key {short(keyid)} does not speak for this role")
        try:
            known[keyid].verify_signature(signature, ours.signed_bytes)
        except UnverifiedSignatureError:
            raise SignatureRefused("a signature on the draft is not valid", why=f"key {short(keyid)} did not sign these bytes") from None
        ours.signatures[keyid] = signature
    return serialise(ours)


def lacking(draft: bytes, role: str, role_keys: RoleKeys) -> Lacking:
    """Return what the draft lacks so that ``role_keys`` accept it."""
    signed = _load(draft).signatures
    have = tuple(key.keyid for key in role_keys.keys if key.keyid in signed)
    could = tuple(key.keyid for key in role_keys.keys if key.keyid not in signed)
    return Lacking(role, role_keys.threshold, have, could)


def _load(data: bytes) -> Metadata[Any]:
    try:
        metadata: Metadata[Any] = Metadata.from_bytes(data)
    except DeserializationError:  # python-tuf wraps whatever its parser can raise
        raise FormatRefused("the draft is not TUF metadata") from None
    if serialise(metadata) != data:
        raise FormatRefused("the draft is not in canonical form")
    return metadata
