"""The recipient keys of one home, as its keystore holds them.

The public half lists the recipients under ``recipients``, the current one of each suite before its predecessors; the private half holds each one's
private key under ``seal:`` and its key id.  Homes made before there was more than one suite have ``seal`` and ``recipient`` instead, for X-Wing.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable

from registry.media.recipients import SUITE_XWING, Identity
from registry.store.keystore import Keystore

__all__ = ["identities_in", "with_identities"]

_FIRST = "seal"


def identities_in(keystore: Keystore) -> tuple[Identity, ...]:
    """Return the identities of an opened keystore, the current one of each suite before its predecessors; none for a home that only signs.

    Raises:
        KeyError, TypeError, ValueError, FormatRefused: the keystore lacks a private key that its public half lists.
    """
    listed = tuple(
        Identity(base64.b64decode(keystore.private[f"{_FIRST}:{each['key_id']}"]), each["suite"]) for each in keystore.public.get("recipients", [])
    )
    return (*listed, Identity(base64.b64decode(keystore.private[_FIRST]), SUITE_XWING)) if _FIRST in keystore.private else listed


def with_identities(keystore: Keystore, identities: Iterable[Identity]) -> Keystore:
    """Return the keystore with ``identities`` added before those that it has."""
    private, listed = dict(keystore.private), []
    for each in identities:
        recipient = each.recipient
        private[f"{_FIRST}:{recipient.key_id}"] = base64.b64encode(each.secret).decode("ascii")
        public = base64.b64encode(recipient.public).decode("ascii")
        listed.append({"suite": each.suite, "key_id": recipient.key_id, "public": public})
    return Keystore(private, {**keystore.public, "recipients": [*listed, *keystore.public.get("recipients", [])]})
