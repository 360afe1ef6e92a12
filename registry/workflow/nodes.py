"""Whom a site's server knows: nodes enrolled and revoked, what groups may pull, bearer tokens; each a person's act, in force within a second."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from registry.content.callers import AccessRule, KnownNode, KnownToken, parse_label, parse_pattern
from registry.content.digest import digest_of
from registry.errors import NotFound, PolicyRefused, Usage
from registry.store.access_journal import read_journal
from registry.store.callers import nodes_in, rules_in, tokens_in
from registry.store.home import Home
from registry.workflow.actor import Credentials
from registry.workflow.journal import Knock, journal_path, knocks, note_journal
from registry.workflow.site import OpenSite, open_site, publish, read_site

__all__ = [
    "MAX_TOKEN_DAYS",
    "TOKEN_PREFIX",
    "Acted",
    "allow",
    "enroll",
    "issue_token",
    "list_nodes",
    "list_rules",
    "list_tokens",
    "pending",
    "pending_key",
    "remove_rule",
    "revoke",
    "revoke_token",
]

TOKEN_PREFIX = "airlock_"  # noqa: S105 - what a token begins with, so that people and scanners recognise one
MAX_TOKEN_DAYS = 366


@dataclass(slots=True)
class Acted:
    """What an act did: ``changed`` is False where nothing was left to do; ``warning`` says why the access journal could not be noted."""

    changed: bool = True
    warning: str = ""


def list_nodes(home: Home) -> tuple[KnownNode, ...]:
    """Return every enrolled node."""
    with read_site(home) as log:
        return nodes_in(log.db)


def list_rules(home: Home) -> tuple[AccessRule, ...]:
    """Return which groups may pull from which repositories."""
    with read_site(home) as log:
        return rules_in(log.db)


def list_tokens(home: Home) -> tuple[KnownToken, ...]:
    """Return every bearer token that was not revoked."""
    with read_site(home) as log:
        return tokens_in(log.db)


def pending(home: Home, state: Path | None) -> list[Knock]:
    """Return the keys that knocked and aren't enrolled, the newest knock last."""
    enrolled = [node.key for node in list_nodes(home)]
    try:
        return knocks(read_journal(journal_path(home, state)), enrolled)
    except NotFound:
        return []


def pending_key(home: Home, state: Path | None, fingerprint: str) -> str:
    """Return the key that knocked and has exactly this fingerprint.

    Raises:
        NotFound: none has.
    """
    for knock in pending(home, state):
        if knock.fingerprint == fingerprint:
            return knock.key
    raise NotFound(
        f"{fingerprint}: no such key has knocked", why="or it is enrolled by now", hint="airlock node pending; a pull from the node is a knock"
    )


def enroll(home: Home, node: KnownNode, credentials: Credentials, *, now: datetime) -> Acted:
    """Let a node pull, or give an enrolled one other groups.

    Raises:
        PolicyRefused: its name is enrolled with another key, or its key under another name.
    """
    with _acting(home, credentials, "node enroll", now) as (site, acted):
        if node in nodes_in(site.log.db):
            acted.changed = False
            return acted
        subject = {"node": node.name, "key": node.key, "certificate": node.certificate, "groups": list(node.groups)}
        _append(site, "node.enroll", subject, now)
    return acted


def revoke(home: Home, name: str, credentials: Credentials, *, now: datetime) -> Acted:
    """End what a node may do, running pulls included.

    Raises:
        NotFound: no such node.
    """
    with _acting(home, credentials, "node revoke", now) as (site, acted):
        _append(site, "node.revoke", {"node": parse_label(name, what="node")}, now)
    return acted


def allow(home: Home, group: str, pattern: str, credentials: Credentials, *, now: datetime) -> Acted:
    """Let the nodes of a group pull from the repositories that a pattern matches; with the first rule everything else is closed."""
    rule = AccessRule(parse_label(group, what="group"), parse_pattern(pattern, what="access rule"))
    with _acting(home, credentials, "access allow", now) as (site, acted):
        if rule in rules_in(site.log.db):
            acted.changed = False
            return acted
        _append(site, "access.allow", rule.as_json(), now)
    return acted


def remove_rule(home: Home, group: str, pattern: str, credentials: Credentials, *, now: datetime) -> Acted:
    """Take a rule back.

    Raises:
        NotFound: there is none like it.
    """
    with _acting(home, credentials, "access remove", now) as (site, acted):
        _append(site, "access.remove", {"group": group, "pattern": pattern}, now)
    return acted


def issue_token(
    home: Home, name: str, patterns: Sequence[str], credentials: Credentials, *, groups: Sequence[str], days: int, now: datetime
) -> tuple[str, KnownToken]:
    """Issue a bearer token; return its text, which is kept nowhere, and what the site knows of it.

    Args:
        home: the site's.
        name: whose it is: a robot or a role.
        patterns: the repositories that it is good for, at least one.
        credentials: the person's.
        groups: ``test`` lets it pull what is approved.
        days: how long it is good, 1 to 366.
        now: the time.

    Raises:
        PolicyRefused: a token of this name is good still.
    """
    if not patterns or not 1 <= days <= MAX_TOKEN_DAYS:
        raise Usage(f"a token is good for at least one repository pattern, and for 1 to {MAX_TOKEN_DAYS} days")
    text = TOKEN_PREFIX + secrets.token_urlsafe(32)
    expires = int((now + timedelta(days=days)).timestamp())
    token = KnownToken(parse_label(name, what="token"), digest_of(text.encode()), tuple(sorted(set(patterns))), expires, tuple(sorted(set(groups))))
    with _acting(home, credentials, "token issue", now) as (site, _):
        if any(each.name == token.name and each.expires > now.timestamp() for each in tokens_in(site.log.db)):
            raise PolicyRefused(
                f"token {name}: is good still",
                why="one name is one token, so that the journal says whose it was",
                hint=f"airlock token revoke {name}",
            )
        subject = {"token": token.name, "digest": token.digest, "patterns": list(token.patterns), "expires": expires, "groups": list(token.groups)}
        _append(site, "token.issue", subject, now)
    return text, token


def revoke_token(home: Home, name: str, credentials: Credentials, *, now: datetime) -> Acted:
    """End a token.

    Raises:
        NotFound: no such token.
    """
    with _acting(home, credentials, "token revoke", now) as (site, acted):
        _append(site, "token.revoke", {"token": parse_label(name, what="token")}, now)
    return acted


@contextmanager
def _acting(home: Home, credentials: Credentials, command: str, now: datetime) -> Iterator[tuple[OpenSite, Acted]]:
    """Open the site for one act; note the access journal's newest line with it, and publish what changed."""
    with open_site(home, credentials, command) as site:
        acted = Acted()
        yield site, acted
        acted.warning = note_journal(site, now)
        publish(home, site.log)


def _append(site: OpenSite, verb: str, subject: Mapping[str, Any], now: datetime) -> None:
    with site.log.transaction():
        site.log.append(verb, subject, signer=site.actor, now=now)
