"""``site.pub``: what a site tells a publisher about itself, signed by the site."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass

from securesystemslib.signer import CryptoSigner, SSlibKey

from registry.content import canonical
from registry.errors import FormatRefused
from registry.media.recipients import Recipient
from registry.media.sets import FORMAT
from registry.media.suites import SUITES
from registry.trust.envelope import SITE_TYPE, envelop, open_self_signed
from registry.trust.keys import public_from_json, public_to_json

__all__ = ["FILE_NAME", "MAX_CARD_BYTES", "SiteCard", "parse_site_card", "write_site_card"]

FILE_NAME = "site.pub"
MAX_CARD_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class SiteCard:
    """A site's public side.  ``site`` is its id: the key id of its receipt key.  ``fingerprint``: the file's SHA-256, compared by phone."""

    site: str
    recipient: Recipient
    receipt_key: SSlibKey
    fingerprint: str


def write_site_card(recipient: Recipient, receipt: CryptoSigner) -> bytes:
    """Return the bytes of ``site.pub``."""
    payload = {
        "v": 1,
        "site": receipt.public_key.keyid,
        "recipient": base64.b64encode(recipient.public).decode("ascii"),
        "receipt_key": public_to_json(receipt.public_key),
        "formats": [FORMAT],
        "suites": [recipient.suite],
    }
    return envelop(canonical.dump(payload), SITE_TYPE, [receipt])


def parse_site_card(data: bytes, *, what: str) -> SiteCard:
    """Return the site that ``data`` describes.

    Its signature shows that the file is whole, not whose it is: that is what the fingerprint is compared for.

    Raises:
        FormatRefused: not a ``site.pub``, or of a site that understands no format or suite of ours.
        SignatureRefused: changed after the site signed it.
    """
    document = canonical.load(open_self_signed(data, SITE_TYPE, what=what, limit=MAX_CARD_BYTES), what=what, limit=MAX_CARD_BYTES)
    try:
        key = public_from_json(document["receipt_key"], what=what)
        formats, suites = list(document["formats"]), list(document["suites"])
        public = base64.b64decode(document["recipient"], validate=True)
        members = set(document)
    except (KeyError, TypeError, ValueError):
        raise FormatRefused(f"{what}: not a site.pub", hint="airlock site init writes it in the site's home") from None
    if members != {"v", "site", "recipient", "receipt_key", "formats", "suites"} or document["v"] != 1 or document["site"] != key.keyid:
        raise FormatRefused(f"{what}: not a site.pub of this version")
    if FORMAT not in formats or suites not in [[name] for name in SUITES]:
        raise FormatRefused(
            f"{what}: the site reads no format that this station writes", why=f"it reads {formats} with {suites}", hint="update airlock"
        )
    return SiteCard(key.keyid, Recipient(public, suites[0]), key, hashlib.sha256(data).hexdigest())
