"""The access journal as people use it: who knocked, whether its chain is whole, and its newest line on record in the site's log."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from registry.content.callers import key_fingerprint, parse_node_key
from registry.content.digest import Digest
from registry.errors import AirlockError, FormatRefused, NotFound, StoreFailed
from registry.store.access_journal import FIRST, JOURNAL_NAME, Entry, read_journal
from registry.store.callers import checkpoints_in
from registry.store.home import Home
from registry.store.site import Site
from registry.workflow.actor import Credentials
from registry.workflow.site import OpenSite, open_site, publish, read_site

__all__ = ["Checkpoint", "Knock", "check_journal", "checkpoint", "journal_path", "knocks", "note_journal"]


@dataclass(frozen=True, slots=True)
class Knock:
    """A key that asked to be let in: from where last, first and last when, how many times it was written down."""

    key: str
    peer: str
    first: str
    last: str
    times: int

    @property
    def fingerprint(self) -> str:
        """The key's fingerprint as ``ssh-keygen -l`` prints it on the node."""
        return key_fingerprint(self.key)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An access journal's length and newest line; ``journal`` is the digest of its first one, ``noted`` says whether the log knows it."""

    journal: Digest
    entries: int
    digest: Digest
    noted: bool


def journal_path(home: Home, state: Path | None) -> Path:
    """Return where the journal lies: in the server's directory, which is the home's own unless it was given another."""
    return (state or home.root / "server") / JOURNAL_NAME


def knocks(entries: Iterable[Entry], enrolled: Iterable[str]) -> list[Knock]:
    """Return the keys that knocked and aren't enrolled, the newest knock last."""
    known, found = set(enrolled), dict[str, Knock]()
    for entry in entries:
        if entry.members.get("verb") != "knock":
            continue
        with suppress(FormatRefused):
            key = parse_node_key(entry.members.get("key"), what="knock")
            time, before = str(entry.members.get("time")), found.pop(key, None)
            found[key] = Knock(key, str(entry.members.get("peer")), before.first if before else time, time, before.times + 1 if before else 1)
    return [knock for knock in found.values() if knock.key not in known]


def check_journal(home: Home, state: Path | None) -> Checkpoint:
    """Check the journal's chain, and that it still says what the log noted of it.

    Raises:
        NotFound: there is no journal.
        StoreFailed: it was cut or rewritten.
    """
    with read_site(home) as log:
        return _newest(log, journal_path(home, state))


def checkpoint(home: Home, state: Path | None, credentials: Credentials, *, now: datetime) -> Checkpoint:
    """Note the journal's newest line in the site's log: from then on nothing up to it can be changed without showing.

    Raises:
        NotFound: there is no journal, or it is empty.
        StoreFailed: it was cut or rewritten.
    """
    path = journal_path(home, state)
    with open_site(home, credentials, "journal checkpoint") as site:
        newest = _newest(site.log, path)
        if not newest.entries:
            raise NotFound(f"{path}: the access journal is empty", hint="it fills as nodes pull")
        _note(site, newest, now)
        publish(home, site.log)
        return newest


def note_journal(site: OpenSite, now: datetime) -> str:
    """Note the newest line of the journal in the home, if there is one; return why that can't be done, or nothing."""
    try:
        with suppress(NotFound):
            newest = _newest(site.log, journal_path(site.home, None))
            if newest.entries:
                _note(site, newest, now)
    except AirlockError as error:
        return str(error)
    return ""


def _note(site: OpenSite, newest: Checkpoint, now: datetime) -> None:
    if not newest.noted:
        subject = {"journal": newest.journal, "entries": newest.entries, "digest": newest.digest}
        with site.log.transaction():
            site.log.append("journal.checkpoint", subject, signer=site.actor, now=now)


def _newest(log: Site, path: Path) -> Checkpoint:
    first, digest, count, noted = FIRST, FIRST, 0, dict[int, Digest]()
    for entry in read_journal(path):
        if not count:
            first, noted = entry.digest, checkpoints_in(log.db, entry.digest)
        count, digest = entry.seq, entry.digest
        if noted.get(count, digest) != digest:
            why = f"line {count} is not what the log noted of it"
            raise StoreFailed(f"the access journal {path} is damaged", why=why, hint="airlock log shows when it was noted")
    if max(noted, default=0) > count:
        why = f"the log noted {max(noted)} lines, found {count}"
        raise StoreFailed(f"the access journal {path} is damaged", why=why, hint="airlock log shows when it was noted")
    return Checkpoint(first, count, digest, count in noted)
