"""The commands about receipts: ``receipt`` at both places, ``adopt`` at a site."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from registry.cli.output import human_bytes, table
from registry.cli.settings import ActorCommand, Settings, pass_settings
from registry.content import canonical
from registry.errors import Usage
from registry.store.home import SITE, STATION
from registry.workflow.accept_receipt import AcceptedHere, accept_receipts
from registry.workflow.adopt import Adopted, AdoptedState, adopt, adopted_states
from registry.workflow.receipt import make_receipt

__all__ = ["adopt_command", "receipt_command"]

_path = click.Path(path_type=Path)
_SHOWN = 12


@click.command("receipt", cls=ActorCommand)
@click.argument("path", required=False, type=_path, metavar="[PATH]")
@click.option("--to", type=_path, metavar="PATH", help="Inside: write a receipt to this medium, or to this file.")
@pass_settings
def receipt_command(settings: Settings, *, path: Path | None, to: Path | None) -> None:
    r"""Inside: say what this site holds, for its publishers.  Outside: read what a site says, and put it on record.

    A receipt holds digests, sizes, set ids, version numbers and times; no names of models, people or machines.  It is signed by the site and sealed
    to the stations whose sets it imported.  With --json, the site prints word for word what leaves.

    \b
    Examples:
      airlock receipt --to /media/usb
      airlock receipt /media/usb
    """
    kind = settings.home.kind()
    if kind not in (STATION, SITE):
        settings.home.require(STATION if to is None else SITE)
    if kind == STATION:
        if path is None or to is not None:
            raise Usage("at a station a receipt is read", hint="name a receipt, or the medium it lies on: airlock receipt /media/usb")
        _accept(settings, path)
    else:
        if to is None or path is not None:
            raise Usage("at a site a receipt is made", hint="say where it goes: airlock receipt --to /media/usb")
        _make(settings, to)


def _make(settings: Settings, to: Path) -> None:
    settings.unchanged = "no receipt was made"
    done = make_receipt(settings.home, settings.credentials, to, now=datetime.now(UTC))
    for publisher in done.shut_out:
        settings.output.warn(f"publisher {publisher[:8]} can't open it: no set that names its station's key was imported")
    if done.changed:
        settings.output.warn(f"{len(done.changed)} adopted file(s) have changed or are gone, such as {done.changed[0]}: airlock adopt DIR")
    receipt = done.receipt
    document = {
        "path": str(done.path),
        "receipt": done.digest,
        "readers": list(done.readers),
        "says": canonical.load(receipt.to_bytes(), what="receipt", limit=1 << 30),
    }
    adopted = sum(each.set_id is None for each in receipt.holds)
    also = f", {adopted} of them adopted" if adopted else ""
    text = f"""\
receipt  {done.path}
says     {len(receipt.sets)} set(s) complete, {len(receipt.holds)} blob(s) held{also}, log at event {receipt.checkpoint[0]}
for      {", ".join(f"publisher {each[:8]}" for each in done.readers)}"""
    settings.output.result(document, text)
    settings.output.next_step(f"airlock receipt {'MEDIUM' if to.is_dir() else done.path.name}   # outside")


def _accept(settings: Settings, path: Path) -> None:
    settings.unchanged = "no receipt was put on record"
    done = accept_receipts(settings.home, [path], settings.passphrase, now=datetime.now(UTC))
    if done.refused:
        for other in done.refused[1:]:
            settings.output.warn(str(other))
        problem = done.refused[0]
        if done.accepted:
            problem.unchanged = f"on record all the same: the receipt of site {', '.join(each.receipt.site[:8] for each in done.accepted)}"
        raise problem
    settings.output.result({"receipts": [_accepted_json(each) for each in done.accepted]}, "\n\n".join(map(_accepted_text, done.accepted)))
    names = [str(name) for each in done.accepted for name in each.within_reach]
    if names:
        settings.output.next_step(f"airlock export {' '.join(dict.fromkeys(names))} --to MEDIUM --recipient site.pub --since {path}")
    else:
        settings.output.next_step(f"airlock export --to MEDIUM --recipient site.pub --since {path}")


def _accepted_json(each: AcceptedHere) -> dict[str, Any]:
    receipt = each.receipt
    return {
        "path": str(each.path),
        "site": receipt.site,
        "new": each.new,
        "made": receipt.made,
        "checkpoint": {"sequence": receipt.checkpoint[0], "digest": receipt.checkpoint[1]},
        "publishers": [
            {
                "publisher": known.publisher,
                "root": known.root,
                "timestamp": known.timestamp,
                "snapshot": known.snapshot,
                "targets": known.targets,
                "issued": known.issued,
            }
            for known in receipt.publishers
        ],
        "sets": [known.set_id for known in receipt.sets],
        "newest_set": receipt.newest_set,
        "objects": len(receipt.holds),
        "size": sum(held.size for held in receipt.holds),
        "unknown": [{"digest": held.digest, "size": held.size} for held in each.unknown],
        "within_reach": [str(name) for name in each.within_reach],
    }


def _accepted_text(each: AcceptedHere) -> str:
    receipt = each.receipt
    sets = [known.set_id for known in receipt.sets]
    unknown = f", {len(each.unknown)} of them unknown here" if each.unknown else ""
    lines = [
        f"site      {receipt.site}",
        f"receipt   {receipt.made}{'' if each.new else '  nothing to do: on record already'}",
        f"log       {receipt.checkpoint[0]} events, the last is {receipt.checkpoint[1]}",
        f"complete  {_several(sets[-_SHOWN:], len(sets)) or 'no set yet'}",
        f"holds     {len(receipt.holds)} blob(s), {human_bytes(sum(held.size for held in receipt.holds))}{unknown}",
    ]
    if each.within_reach:
        lines += [
            f"within reach: {', '.join(map(str, each.within_reach))}",
            "The site has the large blobs of these pinned models: a set of kilobytes brings them under control.",
        ]
    return "\n".join(lines)


def _several(sets: list[str], total: int) -> str:
    more = f" and {total - len(sets)} older" if total > len(sets) else ""
    return ", ".join(sets) + more


@click.command("adopt", cls=ActorCommand)
@click.argument("places", nargs=-1, type=_path, metavar="[DIR]...")
@click.option("--status", "only_status", is_flag=True, help="List what was adopted: what is under control now, and what nobody vouched for yet.")
@pass_settings
def adopt_command(settings: Settings, *, places: tuple[Path, ...], only_status: bool) -> None:
    r"""Learn the digests of models that are here already, so that nobody carries them again.

    DIR is an Ollama models directory, any directory with *.gguf, *.safetensors or *.bin files below it, or one file.  Nothing is copied and nothing
    is trusted yet: a receipt names the digests, and a set by a publisher that knows them brings the models under control.

    \b
    Examples:
      airlock adopt /usr/share/ollama/.ollama/models
      airlock adopt --status
    """
    settings.unchanged = "nothing was adopted"
    if only_status == bool(places):
        raise Usage("say either what to adopt or --status", hint="airlock adopt DIR, or airlock adopt --status")
    if only_status:
        _adopt_status(settings)
        return
    done = adopt(settings.home, places, settings.credentials, now=datetime.now(UTC), progress=settings.progress)
    if done.refused:
        for other in done.refused[1:]:
            settings.output.warn(f"{other}")
        problem = done.refused[0]
        problem.unchanged = f"adopted all the same: {len(done.fresh)} file(s); {len(done.refused)} can't be used"
        raise problem
    settings.output.result(_adopted_json(done), _adopted_text(done))
    settings.output.next_step("airlock receipt --to MEDIUM")


def _adopted_json(done: Adopted) -> dict[str, Any]:
    fresh = [{"digest": digest, "path": str(done.files[digest].path), "size": done.files[digest].size} for digest in done.fresh]
    return {"adopted": fresh, "objects": len(done.files), "changed": done.changed}


def _adopted_text(done: Adopted) -> str:
    rows = [(digest[:19] + "…", human_bytes(done.files[digest].size), str(done.files[digest].path)) for digest in done.fresh]
    again = "" if done.changed else "\nnothing to do: these digests were known already"
    return f"{table(('BLOB', 'SIZE', 'FILE'), rows)}\n\nadopted  {len(done.fresh)} file(s); {len(done.files)} blob(s) are known so in all{again}"


def _adopt_status(settings: Settings) -> None:
    settings.unchanged = "adopt --status changes nothing"
    states = adopted_states(settings.home)
    rows = [(each.digest[:19] + "…", human_bytes(each.file.size), _standing(each), str(each.file.path)) for each in states]
    unknown = sum(not each.releases for each in states)
    text = f"{table(('BLOB', 'SIZE', 'STATE', 'FILE'), rows)}\n\nunder control  {len(states) - unknown}\nunknown        {unknown}"
    settings.output.result([_state_json(each) for each in states], text if states else "nothing was adopted")
    if any(not each.unchanged and not each.releases for each in states):
        settings.output.next_step("airlock adopt DIR   # where the changed files lie now")
    elif unknown:
        settings.output.next_step("airlock receipt --to MEDIUM   # for the publisher, who may know them")


def _standing(each: AdoptedState) -> str:
    if each.releases:
        return f"under control: {', '.join(each.releases)}"
    return "unknown: no publisher has vouched for it" if each.unchanged else "changed or gone since it was adopted"


def _state_json(each: AdoptedState) -> dict[str, Any]:
    return {
        "digest": each.digest,
        "path": str(each.file.path),
        "size": each.file.size,
        "releases": list(each.releases),
        "unchanged": each.unchanged,
    }
