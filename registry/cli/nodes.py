"""Commands that say whom the server knows, and what its access journal holds."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from registry.cli.output import table
from registry.cli.settings import ActorCommand, AirlockGroup, Settings, pass_settings
from registry.content.callers import (
    EVERYONE,
    KnownNode,
    key_fingerprint,
    parse_certificate_name,
    parse_label,
    parse_node_key,
    parse_pattern,
)
from registry.errors import Usage
from registry.store.home import SITE
from registry.workflow.journal import Checkpoint, check_journal, checkpoint
from registry.workflow.nodes import (
    MAX_TOKEN_DAYS,
    Acted,
    allow,
    enroll,
    issue_token,
    list_nodes,
    list_rules,
    list_tokens,
    pending,
    pending_key,
    remove_rule,
    revoke,
    revoke_token,
)

__all__ = ["access_group", "journal_group", "node_group", "token_group"]

_state = click.option(
    "--state",
    type=click.Path(readable=False, path_type=Path),  # its reader says better what is wrong, and may have a capability that click doesn't see
    metavar="DIR",
    help="The server's own directory.  [default: HOME/server]",
)
_groups = click.option("--group", "groups", multiple=True, metavar="GROUP", help="A group it belongs to; test may pull what is not promoted yet.")


@click.group("node", cls=AirlockGroup)
def node_group() -> None:
    """Say which nodes may pull."""


@node_group.command("enroll", cls=ActorCommand)
@click.argument("name")
@click.option("--key", default="", metavar="KEY", help="Its Ollama's public key, 'ssh-ed25519 AAAA…': the line in id_ed25519.pub.")
@click.option("--pending", "fingerprint", default="", metavar="KEYID", help="A key that has knocked, from: airlock node pending")
@click.option("--certificate", default="", metavar="DNSNAME", help="The DNS name in its client certificate, for serve --client-ca.")
@_groups
@_state
@pass_settings
def node_enroll_command(
    settings: Settings, name: str, *, key: str, fingerprint: str, certificate: str, groups: tuple[str, ...], state: Path | None
) -> None:
    r"""Let a node pull, or give an enrolled one other groups.  NAME is its host name.

    A stock Ollama shows its key by itself: a first pull is refused and counts as a knock. Compare the KEYID with the node before you let it in:
    ssh-keygen -lf /usr/share/ollama/.ollama/id_ed25519.pub

    \b
    Examples:
      airlock node enroll gpu-01 --key 'ssh-ed25519 AAAA…'
      airlock node enroll gpu-02 --pending SHA256:… --group test
    """
    settings.unchanged = "nobody was enrolled"
    if bool(key) == bool(fingerprint) and (key or not certificate):
        raise Usage("a node is known by one key or by a certificate", hint="name --key or --pending, or --certificate alone")
    parse_label(name, what="node")
    if fingerprint:
        key = pending_key(settings.home, state, fingerprint)
    node = KnownNode(
        name,
        parse_node_key(key, what=f"node {name}") if key else "",
        parse_certificate_name(certificate, what=f"node {name}") if certificate else "",
        tuple(sorted({parse_label(each, what="group") for each in groups})),
    )
    settings.confirm(f"Enrol {name} with {key_fingerprint(node.key) if node.key else certificate}? Compare it on the node.")
    acted = enroll(settings.home, node, settings.credentials, now=datetime.now(UTC))
    _tell(settings, acted, _node_json(node), f"enrolled {name}  {key_fingerprint(node.key) if node.key else certificate}")


@node_group.command("list")
@pass_settings
def node_list_command(settings: Settings) -> None:
    r"""List the enrolled nodes.

    \b
    Example:
      airlock node list
    """
    nodes = list_nodes(settings.home)
    rows = [(each.name, key_fingerprint(each.key) if each.key else "-", each.certificate or "-", ", ".join(each.groups) or "-") for each in nodes]
    text = table(("NODE", "KEYID", "CERTIFICATE", "GROUPS"), rows) if rows else "no node is enrolled"
    settings.output.result([_node_json(each) for each in nodes], text)


@node_group.command("pending")
@_state
@pass_settings
def node_pending_command(settings: Settings, *, state: Path | None) -> None:
    r"""List the keys that have knocked and are not enrolled, the newest last.

    Reads the server's access journal: run it as a user who may.

    \b
    Example:
      airlock node pending
    """
    found = pending(settings.home, state)
    rows = [(each.fingerprint, each.peer, each.first, each.last, str(each.times)) for each in found]
    text = table(("KEYID", "FROM", "FIRST", "LAST", "TIMES"), rows) if rows else "nobody has knocked who is not enrolled"
    document = [
        {"keyid": each.fingerprint, "key": each.key, "peer": each.peer, "first": each.first, "last": each.last, "times": each.times} for each in found
    ]
    settings.output.result(document, text)
    if found:
        settings.output.next_step(f"airlock node enroll NAME --pending {found[-1].fingerprint}   # after comparing it on the node")


@node_group.command("revoke", cls=ActorCommand)
@click.argument("name")
@pass_settings
def node_revoke_command(settings: Settings, name: str) -> None:
    r"""End what a node may do, running pulls included.

    \b
    Example:
      airlock node revoke gpu-01
    """
    settings.unchanged = "nothing was revoked"
    settings.confirm(f"Revoke {name}? It can't pull any more.")
    _tell(settings, revoke(settings.home, name, settings.credentials, now=datetime.now(UTC)), {"node": name}, f"revoked {name}")


@click.group("access", cls=AirlockGroup)
def access_group() -> None:
    """Say which groups of nodes may pull which models."""


@access_group.command("allow", cls=ActorCommand)
@click.argument("group")
@click.argument("pattern")
@pass_settings
def access_allow_command(settings: Settings, group: str, pattern: str) -> None:
    r"""Let a group's nodes pull from repositories that PATTERN matches.  GROUP everyone is every enrolled node.

    Without any rule every enrolled node may pull every promoted release. With the first rule, only what some rule allows may be pulled.

    \b
    Example:
      airlock access allow clinic 'clinical/*'
    """
    settings.unchanged = "no rule was added"
    first = not list_rules(settings.home)
    if first:
        settings.confirm("This is the first rule: from now on nodes may pull nothing else. Add it?")
    acted = allow(settings.home, group, pattern, settings.credentials, now=datetime.now(UTC))
    _tell(settings, acted, {"group": group, "pattern": pattern}, f"{group} may pull {pattern}")
    if first:
        settings.output.note(f"from now on nodes may pull nothing else; for example: airlock access allow {EVERYONE} 'library/*'")


@access_group.command("list")
@pass_settings
def access_list_command(settings: Settings) -> None:
    r"""List the rules.

    \b
    Example:
      airlock access list
    """
    rules = list_rules(settings.home)
    text = table(("GROUP", "MAY PULL"), [(each.group, each.pattern) for each in rules]) if rules else "no rule: every node may pull what is promoted"
    settings.output.result([each.as_json() for each in rules], text)


@access_group.command("remove", cls=ActorCommand)
@click.argument("group")
@click.argument("pattern")
@pass_settings
def access_remove_command(settings: Settings, group: str, pattern: str) -> None:
    r"""Take a rule back.  Without the last one every enrolled node may pull every promoted release again.

    \b
    Example:
      airlock access remove clinic 'clinical/*'
    """
    settings.unchanged = "no rule was removed"
    if len(list_rules(settings.home)) == 1:
        settings.confirm("This is the last rule: without it every enrolled node may pull every promoted release. Remove it?")
    acted = remove_rule(settings.home, group, pattern, settings.credentials, now=datetime.now(UTC))
    _tell(settings, acted, {"group": group, "pattern": pattern}, f"removed: {group} may pull {pattern}")


@click.group("token", cls=AirlockGroup)
def token_group() -> None:
    """Give robots and people a token of their own."""


@token_group.command("issue", cls=ActorCommand)
@click.argument("name")
@click.option("--repository", "patterns", multiple=True, required=True, metavar="PATTERN", help="What it is good for, such as 'library/*'.")
@click.option("--days", type=click.IntRange(1, MAX_TOKEN_DAYS), required=True, help="How long it is good.")
@_groups
@pass_settings
def token_issue_command(settings: Settings, name: str, *, patterns: tuple[str, ...], days: int, groups: tuple[str, ...]) -> None:
    r"""Issue a bearer token and print it, once; the site keeps only its digest.  NAME is a robot or a role, never a person's name.

    \b
    Example:
      airlock token issue scanner --repository 'library/*' --days 90
    """
    settings.unchanged = "no token was issued"
    for pattern in patterns:
        parse_pattern(pattern, what=f"token {name}")
    for group in groups:
        parse_label(group, what="group")
    text, token = issue_token(settings.home, name, patterns, settings.credentials, groups=groups, days=days, now=datetime.now(UTC))
    settings.output.result({**token.as_json(), "text": text}, text)
    settings.output.note(f"good for {', '.join(token.patterns)} until {_date(token.expires)}; it can't be shown again")


@token_group.command("list")
@pass_settings
def token_list_command(settings: Settings) -> None:
    r"""List the tokens that were issued and not revoked.

    \b
    Example:
      airlock token list
    """
    tokens, now = list_tokens(settings.home), datetime.now(UTC).timestamp()
    rows = [
        (each.name, ", ".join(each.patterns), ", ".join(each.groups) or "-", _date(each.expires) + (" (expired)" if each.expires <= now else ""))
        for each in tokens
    ]
    settings.output.result([each.as_json() for each in tokens], table(("TOKEN", "GOOD FOR", "GROUPS", "UNTIL"), rows) if rows else "no token")


@token_group.command("revoke", cls=ActorCommand)
@click.argument("name")
@pass_settings
def token_revoke_command(settings: Settings, name: str) -> None:
    r"""End a token before it expires.

    \b
    Example:
      airlock token revoke scanner
    """
    settings.unchanged = "nothing was revoked"
    _tell(settings, revoke_token(settings.home, name, settings.credentials, now=datetime.now(UTC)), {"token": name}, f"revoked {name}")


@click.group("journal", cls=AirlockGroup)
def journal_group() -> None:
    """Look after the server's access journal: who pulled what, who was refused."""


@journal_group.command("check")
@_state
@pass_settings
def journal_check_command(settings: Settings, *, state: Path | None) -> None:
    r"""Check that no line was changed or removed: against each other, and against what the log noted.

    \b
    Example:
      airlock journal check
    """
    settings.unchanged = "check changes nothing"
    settings.home.require(SITE)
    found = check_journal(settings.home, state)
    settings.output.result(_checkpoint_json(found), f"ok: {found.entries} line(s), {'all' if found.noted else 'the newest not yet'} noted in the log")


@journal_group.command("checkpoint", cls=ActorCommand)
@_state
@pass_settings
def journal_checkpoint_command(settings: Settings, *, state: Path | None) -> None:
    r"""Note the journal's newest line in the log: nothing up to it can be changed unnoticed any more.

    Every command that enrols, revokes or issues does the same for the journal in the home.

    \b
    Example:
      airlock journal checkpoint
    """
    settings.unchanged = "nothing was noted"
    found = checkpoint(settings.home, state, settings.credentials, now=datetime.now(UTC))
    settings.output.result(_checkpoint_json(found), f"noted: {found.entries} line(s), {found.digest}")


def _tell(settings: Settings, acted: Acted, document: dict[str, Any], sentence: str) -> None:
    if acted.warning:
        settings.output.warn(f"the access journal was not noted in the log: {acted.warning}")
    settings.output.result({**document, "changed": acted.changed}, sentence if acted.changed else "nothing to do: it is so already")


def _node_json(node: KnownNode) -> dict[str, Any]:
    return {**node.as_json(), "keyid": key_fingerprint(node.key) if node.key else ""}


def _checkpoint_json(found: Checkpoint) -> dict[str, Any]:
    return {"journal": found.journal, "entries": found.entries, "digest": found.digest, "noted": found.noted}


def _date(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
