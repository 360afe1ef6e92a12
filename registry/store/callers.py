"""Nodes, access rules, bearer tokens and journal checkpoints in a site's projection: the rules about them live here, as those of people do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlite_utils import Database

from registry.content.callers import (
    AccessRule,
    KnownNode,
    KnownToken,
    parse_certificate_name,
    parse_label,
    parse_node_key,
    parse_pattern,
)
from registry.content.digest import Digest, parse_digest
from registry.errors import NotFound, PolicyRefused
from registry.store.log import Event
from registry.store.people import Effect

__all__ = ["CALLERS_SCHEMA", "CALLERS_TABLES", "CALLERS_VERBS", "checkpoints_in", "nodes_in", "noted_journals", "rules_in", "tokens_in"]

CALLERS_SCHEMA = """
CREATE TABLE nodes (
  name TEXT PRIMARY KEY, key TEXT NOT NULL, certificate TEXT NOT NULL, groups TEXT NOT NULL, since TEXT NOT NULL,
  CHECK (key != '' OR certificate != '')
);
CREATE UNIQUE INDEX one_node_per_key ON nodes (key) WHERE key != '';
CREATE UNIQUE INDEX one_node_per_certificate ON nodes (certificate) WHERE certificate != '';
CREATE TABLE access_rules (member TEXT NOT NULL, pattern TEXT NOT NULL, PRIMARY KEY (member, pattern));
CREATE TABLE bearers (
  name TEXT PRIMARY KEY, digest TEXT NOT NULL UNIQUE, patterns TEXT NOT NULL, expires INTEGER NOT NULL, groups TEXT NOT NULL, since TEXT NOT NULL
);
CREATE TABLE journal_checkpoints (journal TEXT NOT NULL, entries INTEGER NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (journal, entries));
"""
CALLERS_TABLES = ("nodes", "access_rules", "bearers", "journal_checkpoints")


def nodes_in(database: Database) -> tuple[KnownNode, ...]:
    """Return every enrolled node, by name."""
    rows = database.query("SELECT * FROM nodes ORDER BY name")
    return tuple(KnownNode(row["name"], row["key"], row["certificate"], tuple(json.loads(row["groups"]))) for row in rows)


def rules_in(database: Database) -> tuple[AccessRule, ...]:
    """Return which groups may pull from which repositories."""
    return tuple(AccessRule(row["member"], row["pattern"]) for row in database.query("SELECT * FROM access_rules ORDER BY member, pattern"))


def tokens_in(database: Database) -> tuple[KnownToken, ...]:
    """Return every bearer token that was issued and not revoked, expired ones included."""
    rows = database.query("SELECT * FROM bearers ORDER BY name")
    return tuple(
        KnownToken(row["name"], Digest(row["digest"]), tuple(json.loads(row["patterns"])), row["expires"], tuple(json.loads(row["groups"])))
        for row in rows
    )


def checkpoints_in(database: Database, journal: str) -> dict[int, Digest]:
    """Return what was noted of an access journal (named by the digest of its first line): number of lines to digest of the last of them."""
    rows = database.query("SELECT entries, digest FROM journal_checkpoints WHERE journal = ? ORDER BY entries", (journal,))
    return {row["entries"]: Digest(row["digest"]) for row in rows}


def noted_journals(database: Database) -> dict[Digest, int]:
    """Return how many lines of each access journal were noted, by the digest of its first line."""
    rows = database.query("SELECT journal, max(entries) AS entries FROM journal_checkpoints GROUP BY journal")
    return {Digest(row["journal"]): row["entries"] for row in rows}


def _node_enroll(database: Database, event: Event, subject: dict[str, Any]) -> None:
    what = f"node {subject['node']}"
    name = parse_label(subject["node"], what="node")
    key = parse_node_key(subject["key"], what=what) if subject["key"] else ""
    certificate = parse_certificate_name(subject["certificate"], what=what) if subject["certificate"] else ""
    for other in nodes_in(database):
        if other.name != name and ((key and other.key == key) or (certificate and other.certificate == certificate)):
            raise PolicyRefused(
                f"{what}: this key or certificate belongs to the node {other.name}",
                why="one key is one node",
                hint=f"airlock node revoke {other.name}",
            )
        if other.name == name and (other.key, other.certificate) != (key, certificate):
            raise PolicyRefused(
                f"{what}: is enrolled with another key or certificate",
                why="a node's key changes only when it was set up anew, or when somebody poses as it",
                hint=f"if you know which: airlock node revoke {name}, then enrol it again",
            )
    row = {"name": name, "key": key, "certificate": certificate, "groups": _labels(subject["groups"]), "since": event.time}
    database.table("nodes").insert(row, pk="name", replace=True)


def _node_revoke(database: Database, event: Event, subject: dict[str, Any]) -> None:
    del event
    if not any(node.name == subject["node"] for node in nodes_in(database)):
        raise NotFound(f"node {subject['node']}: not enrolled here", hint="airlock node list")
    database.table("nodes").delete(subject["node"])


def _access_allow(database: Database, event: Event, subject: dict[str, Any]) -> None:
    del event
    row = {"member": parse_label(subject["group"], what="group"), "pattern": parse_pattern(subject["pattern"], what="access rule")}
    database.table("access_rules").insert(row)


def _access_remove(database: Database, event: Event, subject: dict[str, Any]) -> None:
    del event
    if AccessRule(subject["group"], subject["pattern"]) not in rules_in(database):
        raise NotFound(f"there is no rule that lets {subject['group']} pull {subject['pattern']}", hint="airlock access list")
    database.table("access_rules").delete((subject["group"], subject["pattern"]))


def _token_issue(database: Database, event: Event, subject: dict[str, Any]) -> None:
    row = {
        "name": parse_label(subject["token"], what="token"),
        "digest": parse_digest(subject["digest"], what="token"),
        "patterns": json.dumps([parse_pattern(each, what="token") for each in sorted(set(subject["patterns"]))]),
        "expires": int(subject["expires"]),
        "groups": _labels(subject["groups"]),
        "since": event.time,
    }
    database.table("bearers").insert(row, pk="name", replace=True)


def _token_revoke(database: Database, event: Event, subject: dict[str, Any]) -> None:
    del event
    if not any(token.name == subject["token"] for token in tokens_in(database)):
        raise NotFound(f"token {subject['token']}: none was issued, or it was revoked", hint="airlock token list")
    database.table("bearers").delete(subject["token"])


def _journal_checkpoint(database: Database, event: Event, subject: dict[str, Any]) -> None:
    del event
    database.table("journal_checkpoints").insert({name: subject[name] for name in ("journal", "entries", "digest")})


def _labels(groups: list[str]) -> str:
    return json.dumps([parse_label(each, what="group") for each in sorted(set(groups))])


CALLERS_VERBS: Mapping[str, Effect] = {
    "node.enroll": _node_enroll,
    "node.revoke": _node_revoke,
    "access.allow": _access_allow,
    "access.remove": _access_remove,
    "token.issue": _token_issue,
    "token.revoke": _token_revoke,
    "journal.checkpoint": _journal_checkpoint,
}
"""The verbs by which a site says whom its server knows."""
