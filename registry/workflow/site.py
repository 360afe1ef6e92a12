"""A site registry at work: its home, its log, its keys, its blobs, what it publishes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from securesystemslib.signer import CryptoSigner, Signer

from registry.content.view import PublishedRelease, ServedState, View, WithdrawnRelease
from registry.errors import PolicyRefused, StoreFailed, Usage
from registry.media.recipients import SUITE_XWING, Identity
from registry.store.blobs import LocalBlobStore
from registry.store.callers import nodes_in, noted_journals, rules_in, tokens_in
from registry.store.files import replace_file, storage_errors
from registry.store.home import SITE, Home
from registry.store.keystore import read_public
from registry.store.releases import APPROVED, PROMOTED, WITHDRAWN
from registry.store.site import Site
from registry.trust.keys import public_to_json, short
from registry.workflow.actor import Credentials
from registry.workflow.site_card import FILE_NAME, SiteCard, parse_site_card, write_site_card
from registry.workflow.station import create_keys, open_keys
from registry.workflow.witness import check_witness, site_id

__all__ = ["OpenSite", "init_site", "open_site", "publish", "published_view", "read_site", "refuse_stranger", "site_id"]

_KEYS = ("receipt", "actor")
_DURING_RESTORE = ("restore", "confirm", "reject", "people add", "people add-key", "people leave")
_BEING_RESTORED = "this site is being restored; it serves again once the newest set has been imported"


@dataclass(frozen=True, slots=True)
class OpenSite:
    """A site whose writer's lock is held; ``actor`` is the key of the person at the keyboard.

    ``keys`` (``receipt`` and ``actor``) and ``identities`` are there if its keystore was opened.
    """

    home: Home
    log: Site
    blobs: LocalBlobStore
    actor: Signer
    keys: Mapping[str, CryptoSigner] = field(default_factory=dict)
    identities: tuple[Identity, ...] = ()

    @property
    def identity(self) -> Identity:
        """The identity whose public half is in ``site.pub``; sets may still arrive for an earlier one."""
        return self.identities[0]

    @property
    def site(self) -> str:
        """The site's id."""
        return site_id(self.home)


def init_site(home: Home, passphrase: str, now: datetime, *, suite: str = SUITE_XWING) -> SiteCard:
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
        keys, (identity,) = create_keys(home, passphrase, _KEYS, [suite])
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
def open_site(home: Home, credentials: Credentials, command: str, *, unlock: bool = False) -> Iterator[OpenSite]:
    """Hold the site for writing; what an interrupted command left is swept, what it committed is published, before and after.

    The site's keystore is opened with ``unlock``, and where the person has no key of their own.

    Raises:
        PolicyRefused: the key belongs to nobody who may act here.
        StoreFailed: the log is behind what was published, or waits for the second person after such a loss.
    """
    home.require(SITE)
    read_public(home.root)
    with home.locked(command):
        check_witness(home)
        log = Site(home.database)
        try:
            _refuse_unconfirmed(log, command)
            own = credentials.own() if credentials.own else None
            if own is not None:
                refuse_stranger(log, own)
            keys, identities = open_keys(home, credentials.passphrase()) if unlock or own is None else ({}, ())
            actor = own or keys["actor"]
            refuse_stranger(log, actor)
            home.sweep()
            publish(home, log)
            yield OpenSite(home, log, LocalBlobStore(home.blobs), actor, keys, identities)
            publish(home, log)
        finally:
            log.close()


@contextmanager
def read_site(home: Home) -> Iterator[Site]:
    """Open the site's log for reading.

    Raises:
        StoreFailed: the log is behind what was published, so that whatever it said would mislead.
    """
    home.require(SITE)
    check_witness(home)
    log = Site(home.database)
    try:
        yield log
    finally:
        log.close()


def refuse_stranger(log: Site, actor: Signer) -> None:
    """Return if the key belongs to somebody who may act here."""
    keyid = actor.public_key.keyid
    if log.person_of(keyid) is None:
        raise PolicyRefused(
            f"key {short(keyid)} may not act at this site",
            why="it was never enrolled here, or its person has left",
            hint="somebody who is enrolled runs: airlock people add LABEL --key FILE.pub",
        )


def _refuse_unconfirmed(log: Site, command: str) -> None:
    epoch = log.epoch()
    if epoch is not None and epoch.confirmed is None and command not in _DURING_RESTORE:
        raise StoreFailed(
            "this site waits to be restored",
            why="its log lost what was published, and two people must agree that it goes on",
            hint="airlock restore says what comes next",
        )


def published_view(log: Site, site: str) -> View:
    """Return what the log says is to be served."""
    head, epoch = log.head(), log.epoch()
    served = {APPROVED: ServedState.APPROVED, PROMOTED: ServedState.PROMOTED}
    releases = tuple(
        PublishedRelease(
            each.publisher, each.reference.repository, each.reference.tag, each.number, served[each.state], each.manifest, each.statement
        )
        for each in log.releases()
        if each.state in served
    )
    withdrawn = tuple(
        WithdrawnRelease(each.reference.repository, each.reference.tag, each.number, each.manifest, each.withdrawal.why)
        for each in log.releases()
        if each.state == WITHDRAWN and each.withdrawal is not None
    )
    if epoch is not None:
        withdrawn += tuple(WithdrawnRelease(each.repository, each.tag, each.number, each.manifest, _BEING_RESTORED) for each in releases)
        releases = ()
    return View(
        site,
        head.seq if head else 0,
        releases,
        withdrawn,
        nodes_in(log.db),
        rules_in(log.db),
        tokens_in(log.db),
        log.newest_set(),
        noted_journals(log.db),
    )


def publish(home: Home, log: Site) -> None:
    """Replace the published view where it no longer says what the log says; the server takes it up within a second."""
    view = published_view(log, site_id(home))
    data, blobs = view.to_bytes(), LocalBlobStore(home.blobs)
    with storage_errors(f"the blobs of {home.root}"):
        for release in view.releases:  # the server hands statements out as evidence, and can't open the log
            if not blobs.path(release.statement).exists():
                blobs.add(log.document(release.statement))
    with storage_errors(f"the published view {home.view}"):
        home.view.parent.mkdir(mode=0o755, exist_ok=True)
        home.view.parent.chmod(0o755)
        if not home.view.exists() or home.view.read_bytes() != data:
            replace_file(home.view, data)
