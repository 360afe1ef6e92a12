"""Commands about a station as a whole."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from registry.cli.output import grouped
from registry.cli.settings import AirlockGroup, Settings, pass_settings
from registry.trust.roles import format_time
from registry.workflow.recover import Recovered, recover

__all__ = ["station_group"]


@click.group("station", cls=AirlockGroup)
def station_group() -> None:
    """Go on after a loss."""


@station_group.command("recover")
@click.argument("media", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="DIR...")
@click.option("--replace-database", is_flag=True, help="An older database was put back: move it aside and write a new one.")
@pass_settings
def station_recover_command(settings: Settings, media: tuple[Path, ...], *, replace_database: bool) -> None:
    r"""Write the database of this station anew, from the media that it exported.

    It takes the station's own keystore.json. Name the newest medium, and as many older ones as there are.

    \b
    Example:
      airlock station recover /media/usb /media/archive
    """
    settings.unchanged = "nothing was recovered; no database was written"
    done = recover(settings.home, media, settings.passphrase, replace_database=replace_database, now=datetime.now(UTC))
    document = {
        "home": str(settings.home.root),
        "sets": list(done.sets),
        "newest": done.newest,
        "issued": format_time(done.issued),
        "fingerprint": done.fingerprint,
        "next_versions": dict(done.versions),
        "next_number": done.next_number,
        "releases": [{"name": str(each.reference), "release": each.number, "manifest": each.manifest.digest} for each in done.releases],
        "withdrawn": done.withdrawn,
        "sites": list(done.sites),
        "lost_evidence": done.lost_evidence,
        "replaced": str(done.replaced) if done.replaced else None,
        "pins": done.pins,
    }
    _warn(settings, done)
    aside = f"\naside        {done.replaced}, the database that was here" if done.replaced else ""
    text = f"""\
station      {settings.home.root}
newest set   {done.newest}, issued {format_time(done.issued)}; {len(done.sets)} set(s) were read
releases     {len(done.releases)}, {done.withdrawn} of them withdrawn; the next number is {done.next_number}
fingerprint  {grouped(done.fingerprint)}{aside}

Compare the fingerprint with the one you wrote down. Whatever was exported after the newest set is forgotten: a site that has it
refuses the next export; recover again, with that medium too."""
    settings.output.result(document, text)
    if not done.pins:
        settings.output.next_step("airlock pin NAME --from SOURCE   # each model again", "airlock export --to MEDIUM --recipient site.pub")
    else:
        settings.output.next_step("airlock export --to MEDIUM --recipient site.pub")


def _warn(settings: Settings, done: Recovered) -> None:
    if not done.pins:
        settings.output.warn("pins.toml is not here: put it back from its backup, or pin the models again")
    if done.lost_evidence:
        settings.output.warn(f"{done.lost_evidence} signature bundle(s) are on none of these media: airlock check names them; bring more media")
    if done.sites:
        sites = ", ".join(site[:8] for site in done.sites)
        settings.output.note(f"the fingerprints of site.pub are forgotten: compare them by phone at the next export for {sites}")
