"""Commands that say which publishers a site believes."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from registry.cli.links import is_stream, take_stdin
from registry.cli.output import grouped, table
from registry.cli.people import tell_proposal
from registry.cli.settings import ActorCommand, AirlockGroup, Settings, pass_settings
from registry.trust.roles import format_time
from registry.workflow.publishers import KnownPublisher, list_publishers
from registry.workflow.trust import find_publisher, parse_fingerprint, trust_add, trust_remove, trust_replace

__all__ = ["trust_group"]

_directory = click.Path(path_type=Path)
_fingerprint = click.option(
    "--fingerprint", required=True, metavar="DIGITS", help="The root's SHA-256, heard by phone; letter case and grouping don't matter."
)


@click.group("trust", cls=AirlockGroup)
def trust_group() -> None:
    """Say which publishers this site believes."""


@trust_group.command("add", cls=ActorCommand)
@click.argument("medium", type=_directory, metavar="DIR")
@_fingerprint
@click.option(
    "--namespace", "namespaces", multiple=True, metavar="PATTERN", help="Repository patterns this publisher alone may use, such as 'clinical/*'."
)
@pass_settings
def trust_add_command(settings: Settings, medium: Path, *, fingerprint: str, namespaces: tuple[str, ...]) -> None:
    r"""Trust the publisher of the set on a medium, once its fingerprint was compared.

    With - in the place of DIR the set comes as a stream on stdin, from which nothing is imported.

    \b
    Examples:
      airlock trust add /media/usb --fingerprint '7f3a 91c2 …'
      airlock trust add - --fingerprint '7f3a 91c2 …' < /dev/nst0
    """
    settings.unchanged = "nobody new is trusted; nothing was imported"
    source = take_stdin(settings) if is_stream([medium], "") else medium
    done = trust_add(settings.home, source, parse_fingerprint(fingerprint), namespaces, settings.credentials, now=datetime.now(UTC))
    document = {"publisher": done.publisher, "namespaces": list(done.namespaces), "root": done.root, "new": done.new}
    text = f"""\
{"trusted" if done.new else "already trusted"}
publisher   {done.publisher}
for names   {", ".join(done.namespaces)}"""
    settings.output.result(document, text)
    settings.output.next_step(f"airlock import {medium}")


@trust_group.command("list")
@pass_settings
def trust_list_command(settings: Settings) -> None:
    r"""List the publishers that are or were trusted: for which names, and how long what is here of them is valid.

    \b
    Example:
      airlock trust list
    """
    now = datetime.now(UTC)
    known = list_publishers(settings.home)
    rows = [
        (
            each.record.publisher[:8],
            ", ".join(each.record.namespaces) if each.record.trusted else _until(each),
            str(len(each.fingerprints)),
            format_time(each.record.issued) if each.record.issued else "-",
            str(each.days_left(now) if each.expires else "-"),
        )
        for each in known
    ]
    text = table(("PUBLISHER", "NAMES", "ROOT", "ISSUED", "DAYS LEFT"), rows) if rows else "nobody is trusted yet"
    settings.output.result([_publisher_json(each, now) for each in known], text)
    if not rows:
        settings.output.next_step("airlock trust add MEDIUM --fingerprint DIGITS")


@trust_group.command("show")
@click.argument("publisher", metavar="PUBLISHER")
@pass_settings
def trust_show_command(settings: Settings, publisher: str) -> None:
    r"""Show a publisher: its names, the fingerprint of each root, what expires when.  PUBLISHER is the beginning of its id.

    \b
    Example:
      airlock trust show 9a1c44e0
    """
    now = datetime.now(UTC)
    known = list_publishers(settings.home)
    record = find_publisher([each.record for each in known], publisher)
    each = next(each for each in known if each.record == record)
    lines = [
        f"publisher    {record.publisher}",
        f"names        {', '.join(record.namespaces)}",
        f"state        {'trusted' if record.trusted else _until(each)}",
        f"issued       {format_time(record.issued) if record.issued else '-'}",
        *(f"root {number:<7} {grouped(digits)}" for number, digits in enumerate(each.fingerprints, start=1)),
        *(f"{name:<12} valid until {format_time(expires)} ({(expires - now).days} days)" for name, expires in each.expiries.items()),
    ]
    settings.output.result(_publisher_json(each, now), "\n".join(lines))


@trust_group.command("remove", cls=ActorCommand)
@click.argument("publisher", metavar="PUBLISHER")
@pass_settings
def trust_remove_command(settings: Settings, publisher: str) -> None:
    r"""Import nothing more from a publisher.  What it brought stays, and is served, until somebody withdraws it.

    \b
    Example:
      airlock trust remove 9a1c44e0
    """
    settings.unchanged = "nobody lost trust"
    settings.confirm(f"Import nothing more from publisher {publisher}?")
    record = trust_remove(settings.home, publisher, settings.credentials, now=datetime.now(UTC))
    text = f"removed     {record.publisher}\nWhat it brought is still served. To stop serving a release: airlock withdraw NAME@N --why …"
    settings.output.result({"publisher": record.publisher, "removed": True}, text)
    settings.output.next_step("airlock list")


@trust_group.command("replace", cls=ActorCommand)
@click.argument("publisher", metavar="PUBLISHER")
@click.argument("medium", type=_directory, metavar="DIR")
@_fingerprint
@pass_settings
def trust_replace_command(settings: Settings, publisher: str, medium: Path, *, fingerprint: str) -> None:
    r"""Propose that the publisher of the set on a medium takes the names of another one, which lost its root keys.

    It takes two people. The old publisher is trusted for nothing from then on; what is promoted stays.

    \b
    Example:
      airlock trust replace 9a1c44e0 /media/usb --fingerprint '7f3a 91c2 …'
    """
    settings.unchanged = "nobody new is trusted; nothing was imported"
    tell_proposal(
        settings, trust_replace(settings.home, publisher, medium, parse_fingerprint(fingerprint), settings.credentials, now=datetime.now(UTC))
    )


def _until(each: KnownPublisher) -> str:
    record = each.record
    return f"replaced by {record.replaced_by[:8]} on {record.removed}" if record.replaced_by else f"removed on {record.removed}"


def _publisher_json(each: KnownPublisher, now: datetime) -> dict[str, Any]:
    record = each.record
    return {
        "publisher": record.publisher,
        "namespaces": list(record.namespaces),
        "trusted": record.trusted,
        "removed": record.removed,
        "replaced_by": record.replaced_by,
        "root": len(each.fingerprints),
        "fingerprints": list(each.fingerprints),
        "issued": format_time(record.issued) if record.issued else None,
        "expires": format_time(each.expires) if each.expires else None,
        "days_left": each.days_left(now),
    }
