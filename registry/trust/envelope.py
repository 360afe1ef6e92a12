"""DSSE envelopes: who says these bytes (Dead Simple Signing Envelope 1.0), in exactly one spelling."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import FormatError, UnverifiedSignatureError
from securesystemslib.signer import Signature, Signer, SSlibKey

from registry.content import canonical
from registry.errors import FormatRefused, SignatureRefused
from registry.trust.keys import public_from_json, short

__all__ = [
    "EVENT_TYPE",
    "INDEX_TYPE",
    "RECEIPT_TYPE",
    "REPAIR_TYPE",
    "SITE_TYPE",
    "Opened",
    "envelop",
    "open_envelope",
    "open_self_signed",
    "sign_detached",
    "verify_detached",
]

INDEX_TYPE = "application/vnd.airlock.index.v1+json"
EVENT_TYPE = "application/vnd.airlock.event.v1+json"
SITE_TYPE = "application/vnd.airlock.site.v1+json"
RECEIPT_TYPE = "application/vnd.airlock.receipt.v1+json"
REPAIR_TYPE = "application/vnd.airlock.repair.v1+json"


@dataclass(frozen=True, slots=True)
class Opened:
    """The payload of a verified envelope, and the key ids that signed it."""

    payload: bytes
    signers: tuple[str, ...]


def envelop(payload: bytes, payload_type: str, signers: Iterable[Signer]) -> bytes:
    """Return the canonical bytes of an envelope around ``payload``."""
    envelope = Envelope(payload, payload_type, {})
    for signer in sorted(signers, key=lambda each: each.public_key.keyid):
        envelope.sign(signer)
    return canonical.dump(envelope.to_dict())


def open_envelope(data: bytes, payload_type: str, keys: Iterable[SSlibKey], threshold: int, *, what: str, limit: int) -> Opened:
    """Return what the envelope ``data`` carries, once ``threshold`` of ``keys`` have signed it.

    Raises:
        FormatRefused: not an envelope in the spelling that :func:`envelop` writes, or of another payload type.
        SignatureRefused: too few of the keys signed, or any signature in it is not valid.
    """
    members = canonical.load(data, what=what, limit=limit)
    try:
        envelope = Envelope.from_dict(members)
        again = canonical.dump(envelope.to_dict())
    except (KeyError, TypeError, ValueError, AttributeError, FormatError):
        raise FormatRefused(f"{what}: not a DSSE envelope") from None
    # Members of a signature are covered by no signature, so there may be none that the library doesn't know.
    if again != data or any(each.unrecognized_fields for each in envelope.signatures.values()):
        raise FormatRefused(f"{what}: not a DSSE envelope in canonical form")
    if envelope.payload_type != payload_type:
        raise FormatRefused(f"{what}: carries something else", why=f"expected {payload_type}, found {envelope.payload_type[:80]!r}")
    known = {key.keyid: key for key in keys}
    for keyid, signature in envelope.signatures.items():
        if keyid not in known:
            raise SignatureRefused(f"{what}: signed by an unknown key", why=f"key {short(keyid)} may not sign this")
        _verify(known[keyid], signature, envelope.pae(), what)
    if len(envelope.signatures) < threshold:
        raise SignatureRefused(f"{what}: not signed by enough keys", why=f"expected {threshold}, found {len(envelope.signatures)}")
    return Opened(envelope.payload, tuple(sorted(envelope.signatures)))


def open_self_signed(data: bytes, payload_type: str, *, what: str, limit: int) -> bytes:
    """Return the payload of an envelope that is signed by the very key which the payload names as ``receipt_key``: a site that speaks for itself.

    Whether that site is known is the caller's matter.

    Raises:
        FormatRefused: it names no key, or is not an envelope in canonical form.
        SignatureRefused: not signed by the key that it names.
    """
    document = canonical.load(data, what=what, limit=limit)
    try:
        payload = base64.b64decode(document["payload"], validate=True)
        key = public_from_json(canonical.load(payload, what=what, limit=limit)["receipt_key"], what=what)
    except (KeyError, TypeError, ValueError):
        raise FormatRefused(f"{what}: not what a site signs", why="it has no receipt key") from None
    return open_envelope(data, payload_type, [key], 1, what=what, limit=limit).payload


def sign_detached(payload: bytes, payload_type: str, signer: Signer) -> str:
    """Return a signature over ``payload`` in DSSE's pre-authentication encoding, as hexadecimal digits."""
    return str(signer.sign(Envelope(payload, payload_type, {}).pae()).signature)


def verify_detached(payload: bytes, payload_type: str, key: SSlibKey, signature: str, *, what: str) -> None:
    """Return if ``signature`` is the one :func:`sign_detached` makes with this key, or refuse it."""
    _verify(key, Signature(key.keyid, signature), Envelope(payload, payload_type, {}).pae(), what)


def _verify(key: SSlibKey, signature: Signature, data: bytes, what: str) -> None:
    if signature.signature.strip("0123456789abcdef"):
        raise SignatureRefused(f"{what}: its signature is not in canonical form")
    try:
        key.verify_signature(signature, data)
    except UnverifiedSignatureError:
        raise SignatureRefused(f"{what}: its signature is not valid", why=f"key {short(key.keyid)} did not sign these bytes") from None
