"""Commands that bring parts again: a site asks, a station answers."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from registry.cli.output import human_bytes
from registry.cli.settings import ActorCommand, Settings, pass_settings
from registry.errors import Usage
from registry.media.labels import parse_medium_label
from registry.workflow.incomplete import numbers_in_words
from registry.workflow.repair_asked import AskedRepair, ask_repair
from registry.workflow.repairing import Repaired, Target, repair

__all__ = ["answer_repair", "repair_request_command"]

_path = click.Path(path_type=Path)


@click.command("repair-request", cls=ActorCommand)
@click.argument("set_id", metavar="[SET]", required=False, default="")
@click.option("--to", required=True, type=_path, metavar="PATH", help="A mounted medium, or a file.")
@click.option("--all", "everything", is_flag=True, help="Also ask for parts on media that were not read here yet.")
@pass_settings
def repair_request_command(settings: Settings, set_id: str, *, to: Path, everything: bool) -> None:
    r"""Ask the station again for just the parts of a set that are missing or damaged.

    Without SET it is the one set that is unfinished here. The request names a set and numbers of parts, nothing else, and is signed by the site.
    What arrived well is kept.

    \b
    Examples:
      airlock repair-request --to /media/usb
      airlock repair-request 01KYXV2GDRZ2R8YZAHTZXTY0EW --to repair.request
    """
    settings.unchanged = "nothing was asked for"
    asked = ask_repair(settings.home, set_id.upper(), to, settings.credentials, everything=everything, now=datetime.now(UTC))
    for name, numbers in asked.later:
        settings.output.note(f"not asked for: part {numbers_in_words(numbers)} on {name}, which was not read here yet; --all asks for them, too")
    settings.output.result(_asked_json(asked), _describe_asked(asked))
    if asked.path is not None:
        where = "MEDIUM" if to.is_dir() else "FILE"
        settings.output.next_step(f"airlock export --repair {where} --to MEDIUM   # outside", "airlock import MEDIUM   # inside, when it is back")
    elif asked.later:
        settings.output.next_step("airlock import MEDIUM")


def _asked_json(asked: AskedRepair) -> dict[str, Any]:
    return {
        "set": asked.set_id,
        "path": str(asked.path) if asked.path else None,
        "parts": list(asked.parts),
        "damaged": list(asked.damaged),
        "later": [{"medium": name, "parts": list(numbers)} for name, numbers in asked.later],
    }


def _describe_asked(asked: AskedRepair) -> str:
    if asked.path is None:
        return f"nothing to do: {'what is missing lies on media that were not read here yet' if asked.later else 'nothing is missing'}"
    damaged = f", {len(asked.damaged)} of them damaged" if asked.damaged else ""
    return f"""\
set          {asked.set_id}
asked for    {len(asked.parts)} part(s){damaged}: {numbers_in_words(asked.parts)}
request      {asked.path}"""


def answer_repair(settings: Settings, path: Path, media: tuple[Path, ...], labels: tuple[str, ...], *, read_back: bool, others: bool) -> None:
    """Carry out ``export --repair``.

    Args:
        settings: the global options.
        path: the request, or the medium it is on.
        media: where to write; exactly one.
        labels: at most one.
        read_back: read the parts again after writing.
        others: options were given that say what a new set is like.
    """
    if others:
        raise Usage("--repair writes parts of a set that was made before", why="what is in it and for whom is fixed", hint=_HINT)
    if len(media) != 1 or len(labels) > 1:
        raise Usage("--repair writes to one medium", why=f"{len(media)} directories and {len(labels)} labels were named", hint=_HINT)
    settings.unchanged = "no repair was finished; the same command continues where this one stopped"
    for label in labels:
        parse_medium_label(label, what="--label")
    target = Target(media[0], next(iter(labels), ""), read_back=read_back)
    done = repair(settings.home, path, target, settings.passphrase, now=datetime.now(UTC), progress=settings.progress)
    for name in done.withdrawn:
        settings.output.warn(f"{name} was withdrawn since: the site decides by what you said about it")
    if not read_back:
        settings.output.warn("the medium was not read back: nobody has seen yet that it holds what was written")
    if not done.sealed:
        settings.output.warn("this set is not sealed: whoever holds the medium can read the models")
    settings.output.note(f"transfer sheet, to print and go with medium {done.label}: {settings.home.sheets / done.label}.html")
    settings.output.result(_repaired_json(done, read_back=read_back), _describe_repaired(done, read_back=read_back))
    settings.output.next_step("airlock import MEDIUM   # inside, where the rest of the set has arrived")


_HINT = "airlock export --repair PATH --to DIR; with it only --label and --no-read-back"


def _repaired_json(done: Repaired, *, read_back: bool) -> dict[str, Any]:
    return {
        "set": done.set_id,
        "site": done.site,
        "parts": list(done.parts),
        "size": done.size,
        "path": str(done.folder),
        "medium": done.medium,
        "label": done.label,
        "sealed": done.sealed,
        "withdrawn": list(done.withdrawn),
        "read_back": read_back,
    }


def _describe_repaired(done: Repaired, *, read_back: bool) -> str:
    how = "written and read back" if read_back else "written"
    return f"""\
set          {done.set_id}
for site     {done.site[:8]}
repaired     {len(done.parts)} part(s), {human_bytes(done.size)}, {how}: {numbers_in_words(done.parts)}
folder       {done.folder}
label        {done.label}"""
