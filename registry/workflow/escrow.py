"""Escrow: a recipient of sets that is no site, so that what was sealed can still be shown when a site's keys are gone.

``escrow.pub`` is canonical JSON: a public key for each sealing suite, since a set is sealed in one suite for all who may open it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from registry.content import canonical
from registry.errors import FormatRefused, Usage
from registry.media.recipients import Recipient
from registry.media.suites import SUITES
from registry.store.files import replace_file
from registry.store.home import ESCROW, Home
from registry.workflow.station import create_keys

__all__ = ["FILE_NAME", "EscrowCard", "new_escrow", "parse_escrow_card"]

FILE_NAME = "escrow.pub"
_LIMIT = 64 << 10


@dataclass(frozen=True, slots=True)
class EscrowCard:
    """The public side of an escrow: a recipient by suite; ``fingerprint`` is the file's SHA-256, compared by phone."""

    recipients: Mapping[str, Recipient]
    fingerprint: str


def new_escrow(home: Home, passphrase: str) -> EscrowCard:
    """Create an escrow: a home with one identity for each suite, and ``escrow.pub``.

    Raises:
        Usage: there is a home already.
    """
    home.create()
    with home.locked("escrow new"):
        if home.kind() is not None:
            raise Usage(
                f"{home.root}: there is an airlock home already",
                why="an escrow has a home of its own, best on a machine of its own",
                hint="choose another directory with --home DIR or AIRLOCK_HOME",
            )
        _, identities = create_keys(home, passphrase, (), SUITES)
        recipients = {each.suite: base64.b64encode(each.recipient.public).decode("ascii") for each in identities}
        data = canonical.dump({"v": 1, "escrow": recipients})
        replace_file(home.root / FILE_NAME, data)
        home.mark(ESCROW)
    return parse_escrow_card(data, what=FILE_NAME)


def parse_escrow_card(data: bytes, *, what: str) -> EscrowCard:
    """Return the escrow that ``data`` describes.

    Raises:
        FormatRefused: not an ``escrow.pub``.
    """
    document = canonical.load(data, what=what, limit=_LIMIT)
    try:
        recipients = {suite: Recipient(base64.b64decode(public, validate=True), suite) for suite, public in document["escrow"].items()}
        known = document.keys() == {"v", "escrow"} and document["v"] == 1 and bool(recipients)
    except (KeyError, TypeError, AttributeError, ValueError):
        known = False
    if not known or canonical.dump(document) != data:
        raise FormatRefused(f"{what}: not an escrow.pub", hint="airlock escrow new writes it in the escrow's home")
    return EscrowCard(recipients, hashlib.sha256(data).hexdigest())
