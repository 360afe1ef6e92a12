"""The recipients a station knows: a ``site.pub`` or ``escrow.pub`` is compared by phone once, and never exchanged silently."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from registry.errors import AirlockError, NotFound, TrustRefused
from registry.store.files import read_limited
from registry.store.home import Home
from registry.workflow.escrow import EscrowCard, parse_escrow_card
from registry.workflow.site_card import MAX_CARD_BYTES, SiteCard, parse_site_card
from registry.workflow.station import OpenStation, Passphrase, open_station, read_station

__all__ = ["ESCROW", "accept_recipient", "list_recipients", "read_escrow_card", "read_site_card", "remember"]

ESCROW = "escrow"
"""The name under which the escrow is known; a site is known by its id."""


def read_site_card(path: Path) -> SiteCard:
    """Return the site whose ``site.pub`` this is."""
    return parse_site_card(_read(path, "the site's admin makes it: airlock site init"), what=str(path))


def read_escrow_card(path: Path) -> EscrowCard:
    """Return the escrow whose ``escrow.pub`` this is."""
    return parse_escrow_card(_read(path, "whoever keeps the escrow makes it: airlock escrow new"), what=str(path))


def remember(station: OpenStation, cards: Mapping[str, SiteCard | EscrowCard], now: datetime) -> list[str]:
    """Note recipients that are new, and return their names; ``cards`` are by name.

    Raises:
        TrustRefused: a recipient that is known comes with another key.
    """
    new = []
    for name, card in cards.items():
        known = station.log.recipient(name)
        if known is not None and known != card.fingerprint:
            what = "the escrow.pub" if name == ESCROW else f"the site.pub of site {name[:8]}"
            raise TrustRefused(
                f"{what} is not the one known here",
                why=f"known {known}\nfound {card.fingerprint}",
                hint="somebody may have swapped it: compare the fingerprint with the site by phone\n"
                "if it is theirs: airlock recipient accept FILE --fingerprint DIGITS",
            )
        if known is None:
            new.append(name)
    if new:
        with station.log.transaction():
            for name in new:
                _record(station, "recipient.remember", name, cards[name].fingerprint, now)
    return new


def accept_recipient(home: Home, path: Path, expected: str, passphrase: Passphrase, *, now: datetime) -> tuple[str, bool]:
    """Take a changed ``site.pub`` or ``escrow.pub`` for the one of its site, after its fingerprint was compared by phone.

    A site is the key it signs receipts with, so that the file must be signed by the same one.

    Returns:
        The recipient's name, and whether anything changed.

    Raises:
        TrustRefused: the file has another fingerprint.
        SignatureRefused, FormatRefused: not a whole ``site.pub`` or ``escrow.pub``.
    """
    card = _either(path)
    if card.fingerprint != expected:
        raise TrustRefused(
            f"{path}: has another fingerprint",
            why=f"you gave {expected}\nfound    {card.fingerprint}",
            hint="compare it with the site by phone, never from the file itself",
        )
    name = card.site if isinstance(card, SiteCard) else ESCROW
    with open_station(home, passphrase, "recipient accept") as station:
        if station.log.recipient(name) == expected:
            return name, False
        with station.log.transaction():
            _record(station, "recipient.accept", name, expected, now)
    return name, True


def list_recipients(home: Home) -> Sequence[tuple[str, str]]:
    """Return name and fingerprint of every recipient this station knows."""
    with read_station(home) as log:
        return log.recipients()


def _either(path: Path) -> SiteCard | EscrowCard:
    try:
        return read_escrow_card(path)
    except NotFound:
        raise
    except AirlockError:
        return read_site_card(path)


def _record(station: OpenStation, verb: str, name: str, fingerprint: str, now: datetime) -> None:
    station.log.append(verb, {"site": name, "fingerprint": fingerprint}, signer=station.keys["actor"], now=now)


def _read(path: Path, hint: str) -> bytes:
    try:
        return read_limited(path, MAX_CARD_BYTES, what=str(path))
    except OSError as error:
        raise NotFound(f"{path}: can't be read", why=str(error.strerror), hint=hint) from error
