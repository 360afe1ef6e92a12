"""A receipt as a file: a line in clear that says to whom it is sealed, then the sealed stream.

The line is canonical JSON and ends with one line feed; it wraps a fresh 32-byte key for each recipient, each in the suite of its own key (HPKE as in
:mod:`registry.media.recipients`, with an ``info`` of its own).  The rest of the file is one stream of :mod:`registry.media.stream` under that key;
its associated data name the digest of the line, so that neither can be exchanged.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
import secrets
from collections.abc import Iterable, Sequence

from cryptography.exceptions import InvalidTag

from registry.content import canonical
from registry.content.digest import digest_of
from registry.errors import FormatRefused, MediumDamaged, RecipientRefused
from registry.media.recipients import Identity, Recipient
from registry.media.stream import open_bytes, seal_bytes, sealed_size
from registry.media.suites import SET_KEY_BYTES, SUITES

__all__ = ["MAX_FILE_BYTES", "RECEIPT_FORMAT", "open_receipt_file", "seal_receipt"]

RECEIPT_FORMAT = "airlock-receipt-v1"
MAX_RECIPIENTS = 64
MAX_LINE_BYTES = 256 << 10
MAX_SEALED_BYTES = 128 << 20
"""Plaintext bytes of the stream: the envelope around a payload of at most 64 MiB."""
MAX_FILE_BYTES = MAX_LINE_BYTES + sealed_size(MAX_SEALED_BYTES)
_HEX64 = re.compile(r"[0-9a-f]{64}\Z")
_HINT = "copy the medium again, or ask the site for a fresh one: airlock receipt --to MEDIUM"


def seal_receipt(envelope: bytes, recipients: Iterable[Recipient]) -> bytes:
    """Return the bytes of a receipt file: ``envelope``, sealed to ``recipients``."""
    key = secrets.token_bytes(SET_KEY_BYTES)
    keys = [
        {"key": each.key_id, "suite": each.suite, "wrapped": base64.b64encode(_wrap(key, each)).decode("ascii")}
        for each in sorted({each.key_id: each for each in recipients}.values(), key=lambda each: each.key_id)
    ]
    line = canonical.dump({"format": RECEIPT_FORMAT, "keys": keys})
    sealed = io.BytesIO()
    seal_bytes(sealed, envelope, key, _associated(line))
    return line + b"\n" + sealed.getvalue()


def open_receipt_file(data: bytes, identities: Sequence[Identity], *, what: str) -> bytes:
    """Return the envelope in a receipt file that is sealed to one of ``identities``; it is not verified yet.

    Raises:
        FormatRefused: not a receipt file.
        RecipientRefused: sealed to others.
        MediumDamaged: cut, or changed in any bit behind its first line.
    """
    end = data.find(b"\n", 0, MAX_LINE_BYTES + 1)
    if end < 0 or not data.startswith(b'{"format":"airlock-receipt-v1"'):
        raise FormatRefused(f"{what}: not a receipt", why="its first line is not that of one", hint=_HINT)
    line = data[:end]
    keys = _keys(line, what)
    identity = next((each for each in identities if (each.suite, each.recipient.key_id) in keys), None)
    if identity is None:
        raise RecipientRefused(
            f"{what}: sealed to other stations",
            why=f"it is for {', '.join(key[:8] for _, key in keys)}",
            hint="a site seals to the stations whose sets it has imported: it imports a set of this station, then: airlock receipt --to MEDIUM",
        )
    key = _unwrap(keys[identity.suite, identity.recipient.key_id], identity, what)
    body = memoryview(data)[end + 1 :]
    try:
        return open_bytes(io.BytesIO(body), len(body), key, _associated(line), what=what, limit=MAX_SEALED_BYTES)
    except MediumDamaged as damage:
        raise MediumDamaged(damage.what, why=damage.why, hint=_HINT) from damage


def _keys(line: bytes, what: str) -> dict[tuple[str, str], bytes]:
    """Return the wrapped keys by suite and key id; a suite that is not known here is somebody else's."""
    document = canonical.load(line, what=what, limit=MAX_LINE_BYTES)
    try:
        listed = [(each["suite"], each["key"], base64.b64decode(each["wrapped"], validate=True)) for each in document["keys"]]
        exact = set(document) == {"format", "keys"} and all(set(each) == {"key", "suite", "wrapped"} for each in document["keys"])
        formed = all(isinstance(suite, str) and _HEX64.match(key) for suite, key, _ in listed)
    except (KeyError, TypeError, binascii.Error, ValueError):
        exact = formed = False
        listed = []
    ids = [key for _, key, _ in listed]
    if not exact or not formed or document["format"] != RECEIPT_FORMAT or ids != sorted(set(ids)) or not 1 <= len(ids) <= MAX_RECIPIENTS:
        raise FormatRefused(f"{what}: not a receipt", why="its first line is not that of one", hint=_HINT)
    return {(suite, key): wrapped for suite, key, wrapped in listed}


def _wrap(key: bytes, recipient: Recipient) -> bytes:
    suite = SUITES[recipient.suite]
    return suite.hpke.encrypt(key, suite.load_public(recipient.public), _info(recipient))


def _unwrap(wrapped: bytes, identity: Identity, what: str) -> bytes:
    suite = SUITES[identity.suite]
    try:
        if len(wrapped) != suite.wrapped_bytes:
            raise ValueError("another length")  # noqa: TRY301 - one refusal for both
        return suite.hpke.decrypt(wrapped, suite.load_private(identity.secret), _info(identity.recipient))
    except (InvalidTag, ValueError):
        raise RecipientRefused(f"{what}: its key can't be opened", why="the wrapped key was changed on the way", hint=_HINT) from None


def _info(recipient: Recipient) -> bytes:
    return canonical.dump({"format": RECEIPT_FORMAT, "recipient": recipient.key_id})


def _associated(line: bytes) -> bytes:
    return canonical.dump({"format": RECEIPT_FORMAT, "line": digest_of(line)})
