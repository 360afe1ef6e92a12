"""A site registry at work: its home, its log, its keys, its blobs, what it publishes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from securesystemslib.signer import CryptoSigner

from registry.content.view import PublishedRelease, ServedState, View
from registry.errors import Usage
from registry.media.recipients import Identity
from registry.store.blobs import LocalBlobStore
from registry.store.files import replace_file, storage_errors
from registry.store.home import SITE, Home
from registry.store.keystore import read_public
from registry.store.site import APPROVED, PROMOTED, Site
from registry.trust.keys import public_from_json, public_to_json
from registry.workflow.site_card import FILE_NAME, SiteCard, parse_site_card, write_site_card
from registry.workflow.station import Passphrase, create_keys, open_keys

__all__ = ["OpenSite", "init_site", "open_site", "publish", "published_view", "read_site", "site_id"]

_KEYS = ("receipt", "actor")


@dataclass(frozen=True, slots=True)
class OpenSite:
    """A site whose writer's lock is held and whose keystore is open.  ``keys`` holds ``receipt`` and ``actor``."""

    home: Home
    log: Site
    blobs: LocalBlobStore
    keys: Mapping[str, CryptoSigner]
    identity: Identity

    @property
    def site(self) -> str:
        """The site's id."""
        return str(self.keys["receipt"].public_key.keyid)

    @property
    def actor(self) -> CryptoSigner:
        """The key of the person at the keyboard."""
        return self.keys["actor"]


def init_site(home: Home, passphrase: str, now: datetime) -> SiteCard:
    """Create a site: keys, log, ``site.pub`` and an empty published view.

    Raises:
        Usage: there is a home already.
    """
    home.create()
    with home.locked("site init"):
        if home.kind() is not None:
            raise Usage(
                f"{home.root}: there is an airlock home already",
                why="a second init would throw its keys away",
                hint="use it as it is, or choose another directory with --home DIR or AIRLOCK_HOME",
            )
        keys, identity = create_keys(home, passphrase, _KEYS)
        card = write_site_card(identity.recipient, keys["receipt"])
        replace_file(home.root / FILE_NAME, card)
        log = Site(home.database, create=True)
        with log.transaction():
            subject = {"actor": public_to_json(keys["actor"].public_key), "site": keys["receipt"].public_key.keyid}
            log.append("site.init", subject, signer=keys["actor"], now=now)
        publish(home, log)
        log.close()
        home.mark(SITE)
    return parse_site_card(card, what=FILE_NAME)


@contextmanager
def open_site(home: Home, passphrase: Passphrase, command: str) -> Iterator[OpenSite]:
    """Hold the site for writing; what an interrupted command left is swept, what it committed is published."""
    home.require(SITE)
    read_public(home.root)
    with home.locked(command):
        keys, identity = open_keys(home, passphrase())
        log = Site(home.database)
        try:
            home.sweep()
            publish(home, log)
            yield OpenSite(home, log, LocalBlobStore(home.blobs), keys, identity)
        finally:
            log.close()


@contextmanager
def read_site(home: Home) -> Iterator[Site]:
    """Open the site's log for reading."""
    home.require(SITE)
    log = Site(home.database)
    try:
        yield log
    finally:
        log.close()


def site_id(home: Home) -> str:
    """Return the site's id without a passphrase."""
    return str(public_from_json(read_public(home.root)["keys"]["receipt"], what="receipt key").keyid)


def published_view(log: Site, site: str) -> View:
    """Return what the log says is to be served."""
    head = log.head()
    served = {APPROVED: ServedState.APPROVED, PROMOTED: ServedState.PROMOTED}
    releases = tuple(
        PublishedRelease(each.publisher, each.reference.repository, each.reference.tag, each.number, served[each.state], each.manifest)
        for each in log.releases()
        if each.state in served
    )
    return View(site, head.seq if head else 0, releases)


def publish(home: Home, log: Site) -> None:
    """Replace the published view where it no longer says what the log says; the server takes it up within a second."""
    data = published_view(log, site_id(home)).to_bytes()
    with storage_errors(f"the published view {home.view}"):
        home.view.parent.mkdir(mode=0o755, exist_ok=True)
        home.view.parent.chmod(0o755)
        if not home.view.exists() or home.view.read_bytes() != data:
            replace_file(home.view, data)
