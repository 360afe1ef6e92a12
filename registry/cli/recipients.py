"""Commands about whom sets are sealed to: recipients and the escrow."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from registry.cli.output import grouped, table
from registry.cli.settings import AirlockGroup, Settings, pass_settings
from registry.workflow.escrow import FILE_NAME, new_escrow
from registry.workflow.known_recipients import accept_recipient, list_recipients
from registry.workflow.trust import parse_fingerprint

__all__ = ["escrow_group", "recipient_group"]


@click.group("recipient", cls=AirlockGroup)
def recipient_group() -> None:
    """Say to whom this station seals."""


@recipient_group.command("list")
@pass_settings
def recipient_list_command(settings: Settings) -> None:
    r"""List the sites, and the escrow, that this station knows, and the fingerprints of their public files.

    \b
    Example:
      airlock recipient list
    """
    known = list_recipients(settings.home)
    rows = [(name[:8] if len(name) > 8 else name, grouped(fingerprint)) for name, fingerprint in known]
    text = table(("SITE", "FINGERPRINT"), rows) if rows else "no recipient is known yet; the first export notes them"
    settings.output.result([{"site": name, "fingerprint": fingerprint} for name, fingerprint in known], text)


@recipient_group.command("accept")
@click.argument("card", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--fingerprint", required=True, metavar="DIGITS", help="The file's SHA-256, heard by phone; letter case and grouping don't matter.")
@pass_settings
def recipient_accept_command(settings: Settings, card: Path, *, fingerprint: str) -> None:
    r"""Take a changed site.pub, or escrow.pub, for the right one.

    \b
    Example:
      airlock recipient accept site.pub --fingerprint '7f3a 91c2 …'
    """
    settings.unchanged = "exports are sealed as before"
    name, changed = accept_recipient(settings.home, card, parse_fingerprint(fingerprint), settings.passphrase, now=datetime.now(UTC))
    settings.output.result({"site": name, "changed": changed}, f"{'accepted' if changed else 'known already'}  {name}")
    settings.output.next_step(f"airlock export --to MEDIUM --recipient {card}" if name != "escrow" else f"airlock export … --escrow {card}")


@click.group("escrow", cls=AirlockGroup)
def escrow_group() -> None:
    """Keep a key that opens every set, in case a site's is lost."""


@escrow_group.command("new")
@pass_settings
def escrow_new_command(settings: Settings) -> None:
    r"""Create an escrow, in a home of its own, and escrow.pub for the publisher.

    \b
    Example:
      airlock escrow new --home escrow
    """
    settings.unchanged = "nothing was created"
    card = new_escrow(settings.home, settings.new_passphrase())
    path = settings.home.root / FILE_NAME
    text = (
        f"escrow.pub   {path}\nfingerprint  {grouped(card.fingerprint)}\n\nWhoever has this home and its passphrase can open every set that names it."
    )
    settings.output.result({"home": str(settings.home.root), "escrow_pub": str(path), "fingerprint": card.fingerprint}, text)
    settings.output.next_step("airlock export --to MEDIUM --recipient site.pub --escrow escrow.pub   # at the station")
