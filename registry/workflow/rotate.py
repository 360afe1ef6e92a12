"""A site's recipient key is exchanged; earlier ones stay in the keystore, for the sets that were sealed to them."""

from __future__ import annotations

from datetime import datetime

from registry.media.recipients import new_identity
from registry.store.files import replace_file
from registry.store.home import Home
from registry.store.keystore import create_keystore, open_keystore
from registry.workflow.actor import Credentials
from registry.workflow.identities import with_identities
from registry.workflow.site import open_site
from registry.workflow.site_card import FILE_NAME, SiteCard, parse_site_card, write_site_card

__all__ = ["rotate_key"]


def rotate_key(home: Home, credentials: Credentials, *, suite: str | None, now: datetime) -> SiteCard:
    """Make a new recipient key, in the suite of the present one unless another is named, and write ``site.pub`` anew.

    Publishers must be told: they seal to the old key, which still works, until they accept the new ``site.pub``.
    """
    passphrase = credentials.passphrase()
    with open_site(home, Credentials(lambda: passphrase, credentials.own), "site rotate-key", unlock=True) as site:
        fresh = new_identity(suite or site.identity.suite)
        # The keystore first: a key that others seal to must never be lost, and one too many harms nobody.
        create_keystore(home.root, passphrase, with_identities(open_keystore(home.root, passphrase), [fresh]))
        card = write_site_card(fresh.recipient, site.keys["receipt"])
        with site.log.transaction():
            site.log.append("site.rotate", {"recipient": fresh.recipient.key_id}, signer=site.actor, now=now)
        replace_file(home.root / FILE_NAME, card)
    return parse_site_card(card, what=FILE_NAME)
