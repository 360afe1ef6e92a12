"""Import: what arrives, what would, and what still waits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from registry.cli.links import is_stream, take_stdin
from registry.cli.output import human_bytes, table
from registry.cli.settings import ActorCommand, Settings, pass_settings
from registry.errors import Usage
from registry.store.releases import CatalogRelease
from registry.trust.withdrawal import Severity
from registry.workflow.affected import Affected, nodes_with
from registry.workflow.arrivals import Expected
from registry.workflow.import_plan import ImportPlan, PlannedSet, import_status, plan_import
from registry.workflow.importing import SetOutcome, import_media
from registry.workflow.incomplete import missing_media, numbers_in_words

__all__ = ["import_command"]

_directory = click.Path(path_type=Path)
_NOTHING_MOVED = "what is served has not changed"


@click.command("import", cls=ActorCommand)
@click.argument("media", nargs=-1, type=_directory, metavar="[DIR]...")
@click.option("--plan", "planned", is_flag=True, help="Only say what would arrive, how much space and time it takes; opens no part, changes nothing.")
@click.option("--status", "status", is_flag=True, help="Only say which sets wait for which parts on which media; needs no medium.")
@pass_settings
def import_command(settings: Settings, media: tuple[Path, ...], *, planned: bool, status: bool) -> None:
    r"""Verify what is on media and take it into quarantine.

    Nothing that is imported is served before somebody approves and promotes it.  The media of a set may come in any order, together or one at a time;
    an interrupted import continues with the same command.  With - in the place of DIR the set comes as a stream on stdin.

    \b
    Examples:
      airlock import /media/usb
      airlock import - < /dev/nst0
      airlock import --plan /media/a /media/b
      airlock import --status
    """
    if planned and status:
        raise Usage("--plan and --status are two questions", hint="ask one after the other")
    if status:
        _show_status(settings, media)
        return
    if not media:
        raise Usage("no medium was named", hint="airlock import MEDIUM, with the directory where it is mounted, such as /media/usb")
    streamed = is_stream(media, "")
    if planned and streamed:
        raise Usage("a stream can't be planned", why="it is read once, and whoever looks at it has taken it", hint="airlock import -")
    if planned:
        _show_plan(settings, plan_import(settings.home, media, settings.credentials, now=datetime.now(UTC)))
        return
    settings.unchanged = f"nothing was imported; {_NOTHING_MOVED}"
    sources = [take_stdin(settings)] if streamed else media
    done = import_media(settings.home, sources, settings.credentials, now=datetime.now(UTC), progress=settings.progress)
    for outcome in done.sets:
        if outcome.healed:
            settings.output.warn(
                f"set {outcome.set_id}: part(s) {numbers_in_words(outcome.healed)} came back by parity; their medium is not here, or going bad"
            )
        if outcome.litter:
            settings.output.note(f"set {outcome.set_id}: ignored, never opened: {', '.join(outcome.litter)}")
    withdrawn = _tell_withdrawn(settings, [each for outcome in done.sets for each in outcome.withdrawn])
    problem = done.problem()
    new = [name for outcome in done.sets for name in outcome.new]
    if problem is not None:
        others = [each for outcome in done.sets for each in outcome.problems() if each is not problem]
        for other in others:
            settings.output.warn(str(other))
        problem.unchanged = f"imported all the same: {', '.join(new)}; {_NOTHING_MOVED}" if new else settings.unchanged
        raise problem
    text = "\n".join(filter(None, map(_describe_set, done.sets)))
    settings.output.result({"sets": [_set_json(outcome) for outcome in done.sets], "withdrawn": withdrawn}, text)
    settings.output.next_step(*(f"airlock approve {name}" for name in new))


def _tell_withdrawn(settings: Settings, releases: list[CatalogRelease]) -> list[dict[str, Any]]:
    """Warn of each release that its publisher withdrew, and name the nodes that have it."""
    affected = nodes_with(settings.home, [each.manifest for each in releases]) if releases else Affected({})
    if affected.unknown:
        settings.output.warn(affected.unknown)
    document = []
    for each in releases:
        assert each.withdrawal is not None
        stopped = each.withdrawal.severity is Severity.STOP
        nodes = affected.nodes.get(each.manifest, ())
        settings.output.warn(f"{each.name} was withdrawn by its publisher: {each.withdrawal.why}")
        settings.output.warn(
            "it is no longer served" if stopped else f"it is {each.state} until somebody acts: airlock withdraw {each.reference}@{each.number}"
        )
        settings.output.warn(f"pulled by: {', '.join(nodes) or 'no node, as far as the access journal here knows'}")
        document.append(
            {
                "name": str(each.reference),
                "release": each.number,
                "manifest": each.manifest,
                "severity": str(each.withdrawal.severity),
                "why": each.withdrawal.why,
                "nodes": list(nodes),
            }
        )
    return document


def _set_json(outcome: SetOutcome) -> dict[str, Any]:
    return {
        "set": outcome.set_id,
        "publisher": outcome.publisher,
        "metadata": outcome.age,
        "new": outcome.new,
        "present": outcome.present,
        "healed": outcome.healed,
        "ignored": list(outcome.litter),
        "refused": [each.as_json() for each in outcome.problems()],
    }


def _describe_set(outcome: SetOutcome) -> str:
    if outcome.problem is not None:
        return f"set {outcome.set_id}: skipped, {outcome.problem.what.partition(': ')[2] or outcome.problem.what}"
    if not outcome.new and outcome.age == "newer":
        return f"set {outcome.set_id}: newer metadata accepted, no new release"
    if not outcome.new:
        return f"set {outcome.set_id}: nothing to do, {len(outcome.present)} release(s) are here already"
    rows = [f"quarantine  {name}" for name in outcome.new] + [f"here        {name}" for name in outcome.present]
    return "\n".join([f"set {outcome.set_id}: verified", *rows])


def _show_status(settings: Settings, media: tuple[Path, ...]) -> None:
    settings.unchanged = "--status changes nothing"
    if media:
        raise Usage("--status needs no medium", why="it says what earlier imports wait for", hint="airlock import --plan looks at media")
    waiting = import_status(settings.home)
    text = "\n\n".join(map(_describe_waiting, waiting)) or "no set waits for anything"
    settings.output.result({"sets": [_waiting_json(each) for each in waiting]}, text)
    if waiting:
        settings.output.next_step("airlock import MEDIUM   # any of those that are missing, in any order")


def _waiting_json(each: Expected) -> dict[str, Any]:
    return {
        "set": each.set_id,
        "publisher": each.publisher,
        "releases": list(each.releases),
        "parts": each.parts,
        "parity_parts": each.parity,
        "missing": list(each.needed),
        "damaged": [{"part": number, "why": why} for number, why in sorted(each.damaged.items())],
        "media": [
            {
                "medium": medium,
                "label": label or None,
                "first": first,
                "last": last,
                "seen": medium in each.seen,
                "missing": [number for number in each.needed if first <= number <= last],
            }
            for medium, (label, first, last) in enumerate(each.media, 1)
        ],
    }


def _describe_waiting(each: Expected) -> str:
    lines = [
        f"set {each.set_id}",
        f"brings   {', '.join(each.releases)}",
        f"missing  {numbers_in_words(each.needed)} of {each.parts} part(s)" if each.needed else "missing  nothing; run the import once more",
    ]
    lines += [f"damaged  {why}" for _, why in sorted(each.damaged.items())]
    lines += [f"bring    {name}: part(s) {numbers_in_words(numbers)}" for name, numbers in missing_media(each, each.needed)]
    return "\n".join(lines)


def _show_plan(settings: Settings, plan: ImportPlan) -> None:
    settings.unchanged = "--plan changes nothing"
    to_write = sum(each.to_write for each in plan.sets)
    document = {
        "sets": [_planned_json(each) for each in plan.sets],
        "to_read": sum(each.to_read for each in plan.sets),
        "to_write": to_write,
        "free": plan.free,
        "fits": to_write <= plan.free,
        "bytes_per_second": None if plan.rate is None else round(plan.rate),
        "seconds": plan.seconds,
    }
    rows = [(each.set_id, ", ".join(each.new) or "-", _parts(each), human_bytes(each.to_read), _remark(each)) for each in plan.sets]
    rate = "no import was measured here yet" if plan.rate is None else f"at the {human_bytes(int(plan.rate))}/s of the last imports"
    time = rate if plan.seconds is None else f"about {timedelta(seconds=plan.seconds)} {rate}"
    lines = [table(("SET", "NEW", "PARTS HERE", "TO READ", ""), rows), "", f"space  {human_bytes(to_write)} to come, {human_bytes(plan.free)} free"]
    text = "\n".join([*lines, f"time   {time}"])
    settings.output.result(document, text)
    if to_write > plan.free:
        settings.output.warn("our own disk has not enough space for this import")
    settings.output.next_step("airlock import MEDIUM")


def _parts(each: PlannedSet) -> str:
    return f"{len(each.at_hand)} of {len(each.needed)} needed"


def _remark(each: PlannedSet) -> str:
    if each.problem is not None:
        return each.problem.what
    if not each.needed and not each.new:
        return "is here already"
    return f"missing: {numbers_in_words(each.missing)}" if each.missing else ""


def _planned_json(each: PlannedSet) -> dict[str, Any]:
    return {
        "set": each.set_id,
        "new": list(each.new),
        "present": list(each.present),
        "needed": list(each.needed),
        "at_hand": list(each.at_hand),
        "missing": list(each.missing),
        "to_read": each.to_read,
        "to_write": each.to_write,
        "problem": each.problem.as_json() if each.problem else None,
    }
