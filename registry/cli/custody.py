"""Commands about media: where each is, who handed it over, when it may go."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from registry.cli.output import human_bytes, table
from registry.cli.settings import ActorCommand, AirlockCommand, AirlockGroup, Settings, pass_settings
from registry.errors import Usage
from registry.store.custody import METHODS, Medium
from registry.store.files import replace_file, storage_errors
from registry.store.home import SITE
from registry.workflow.custody import forget_hand_overs, list_media, receive_medium, retire_medium
from registry.workflow.custody_notes import CHANGED, DELETED, Noted, new_note
from registry.workflow.sheet import render_texts
from registry.workflow.sheet_html import render_html
from registry.workflow.sheets import sheets_of
from registry.workflow.tracked import Tracked

__all__ = ["medium_group"]

_file = click.Path(path_type=Path)
_set = click.option("--set", "ending", default="", metavar="SET", help="The set's id, or its last characters.")


@click.group("medium", cls=AirlockGroup)
def medium_group() -> None:
    """Keep track of media: sticks, disks, discs."""


@medium_group.command("list", cls=AirlockCommand)
@_set
@pass_settings
def medium_list_command(settings: Settings, *, ending: str) -> None:
    r"""List every medium: where it is, where it arrived.

    \b
    Examples:
      airlock medium list
      airlock medium list --set XTY0EW
    """
    found = list_media(settings.home, ending)
    headings = ("LABEL", "SET", "MEDIUM", "SIZE", "READ BACK", "SERIAL", "STATE", "ARRIVED", "LAST HAND-OVER")
    settings.output.result(list(map(_members, found)), table(headings, list(map(_row, found))) if found else "no medium is known yet")
    for each in found:
        for noted in each.hand_overs:
            if noted.state == CHANGED:
                settings.output.warn(
                    f"hand-over {noted.hand_over.seq} of {each.medium.label}: its note was changed after it was made; the log knows it otherwise"
                )
    if not found:
        inside = settings.home.kind() == SITE
        settings.output.next_step("airlock medium receive LABEL" if inside else "airlock export --to MEDIUM --recipient site.pub")


@medium_group.command("receive", cls=ActorCommand)
@click.argument("label")
@click.option("--serial", default="", metavar="S", help="The serial number on the device.")
@click.option("--from", "giver", default="", metavar="WHO", help="Who hands it over: a role or a company.")
@click.option("--to", "taker", default="", metavar="WHO", help="Who takes it.")
@_set
@pass_settings
def medium_receive_command(settings: Settings, label: str, *, serial: str, giver: str, taker: str, ending: str) -> None:
    r"""Put on record that a medium came in or changed hands.

    WHO stays in this home (custody.json); the log holds a digest of it. A site may receive a medium before it imports it.

    \b
    Example:
      airlock medium receive XTY0EW-2 --from courier --to 'ward pharmacy'
    """
    settings.unchanged = "no hand-over was recorded"
    _no_actor_outside(settings)
    note = new_note(giver, taker)
    medium = receive_medium(settings.home, label, settings.credentials, ending=ending, serial=serial, note=note, now=datetime.now(UTC))
    hand_over = medium.hand_overs[-1]
    document = {"label": medium.label, "set": medium.set_id, "seq": hand_over.seq, "time": hand_over.time, "serial": hand_over.serial}
    of = f"{_place(medium)} of set {medium.set_id}" if medium.set_id else "not read here yet"
    settings.output.result({**document, "from": giver, "to": taker}, f"received  {medium.label}, {of}{_between(giver, taker)}")
    unread = settings.home.kind() == SITE and not medium.read
    settings.output.next_step("airlock import MEDIUM" if unread else "airlock medium list")


@medium_group.command("retire", cls=ActorCommand)
@click.argument("label")
@click.option(
    "--method",
    type=click.Choice(list(METHODS)),
    required=True,
    metavar="METHOD",
    help="; ".join(f"{name}: {meaning}" for name, meaning in METHODS.items()) + ".",
)
@click.option("--without-receipt", is_flag=True, help="Also where nobody has heard that its set is complete at every site.")
@_set
@pass_settings
def medium_retire_command(settings: Settings, label: str, *, method: str, without_receipt: bool, ending: str) -> None:
    r"""Put on record that a medium is out of use.

    The erasing itself is yours. Refused while it may still be needed: outside until a receipt of every site says that the set is complete,
    inside until it is complete here.

    \b
    Example:
      airlock medium retire XTY0EW-2 --method erase
    """
    settings.unchanged = "no medium was retired"
    _no_actor_outside(settings)

    def confirm(medium: Tracked) -> None:
        summary = f"{_described(medium)}, {medium.medium.state}"
        if medium.needed and not medium.medium.retired:
            settings.output.warn(f"{medium.medium.label} may still be needed: nobody has heard that its set is complete")
        settings.confirm(f"Retire {summary}, as {method} ({METHODS[method]})?")

    done = retire_medium(
        settings.home, label, settings.credentials, confirm, method=method, without_receipt=without_receipt, ending=ending, now=datetime.now(UTC)
    )
    medium = done.medium.medium
    document = {"label": medium.label, "set": medium.set_id, "method": method, "changed": done.changed, "awaited": list(done.medium.awaited)}
    sentence = f"retired  {_described(done.medium)}: {METHODS[method]}"
    settings.output.result(document, sentence if done.changed else f"nothing to do: {medium.label} is retired already, as {method}")
    settings.output.next_step("airlock medium list")


@medium_group.command("forget", cls=ActorCommand)
@click.argument("label")
@_set
@pass_settings
def medium_forget_command(settings: Settings, label: str, *, ending: str) -> None:
    r"""Delete who handed a medium over, who took it.

    That it changed hands, and when, stays in the log.

    \b
    Example:
      airlock medium forget XTY0EW-2
    """
    settings.unchanged = "no note was deleted"
    _no_actor_outside(settings)

    def confirm(medium: Tracked) -> None:
        settings.confirm(f"Delete for ever who handed over {_described(medium)}?")

    count = forget_hand_overs(settings.home, label, settings.credentials, confirm, ending=ending)
    settings.output.result({"label": label, "deleted": count}, f"deleted {count} note(s)" if count else f"nothing to do: no note on {label} is here")


@medium_group.command("sheet", cls=AirlockCommand)
@click.argument("label")
@click.option("--html", "html_file", type=_file, metavar="FILE", help="Write it there as a page of A4 with QR codes.")
@click.option("--text", "text_file", type=_file, metavar="FILE", help="Write it there as text.")
@_set
@pass_settings
def medium_sheet_command(settings: Settings, label: str, *, html_file: Path | None, text_file: Path | None, ending: str) -> None:
    r"""Print a medium's transfer sheet again.

    Only the station that wrote the medium can.

    \b
    Examples:
      airlock medium sheet XTY0EW-2
      airlock medium sheet XTY0EW-2 --html sheet.html
    """
    settings.unchanged = "no sheet was written"
    sheets = sheets_of(settings.home, label, ending)
    text = render_texts(sheets)
    written = []
    for path, content in ((html_file, render_html(sheets) if html_file else ""), (text_file, text)):
        if path is not None:
            with storage_errors(f"the file {path}"):
                replace_file(path, content.encode())
            written.append(path)
    document = {"label": sheets[0].label, "set": sheets[0].set_id, "files": list(map(str, written)), "text": text}
    settings.output.result(document, "\n".join(f"written    {path}" for path in written) or text.rstrip("\n"))


def _no_actor_outside(settings: Settings) -> None:
    if settings.actor and settings.home.kind() != SITE:
        raise Usage("--actor is for a site registry", why="a station's events are signed by the station's own key", hint="leave --actor out")


def _described(each: Tracked) -> str:
    medium = each.medium
    return f"{medium.label} ({f'{_place(medium)} of set {medium.set_id}' if medium.set_id else 'not read here yet'})"


def _place(medium: Medium) -> str:
    return f"medium {medium.place}" if medium.number else medium.place


def _row(each: Tracked) -> tuple[str, ...]:
    medium = each.medium
    read_back = "-" if medium.read_back is None else "yes" if medium.read_back else "NO"
    return (
        medium.label,
        f"…{medium.set_id[-6:]}" if medium.set_id else "-",
        medium.place if medium.set_id else "-",
        human_bytes(medium.size) if medium.written else "-",
        read_back,
        medium.serial or "-",
        f"{medium.state} ({medium.method})" if medium.retired else medium.state,
        f"{len(each.arrived)} of {len(each.sites)}" if each.sites else "-",
        _last(each.hand_overs),
    )


def _last(hand_overs: tuple[Noted, ...]) -> str:
    if not hand_overs:
        return "-"
    last = hand_overs[-1]
    said = _between(last.note.giver, last.note.taker) if last.note else ""
    state = f" (note {last.state})" if last.state in (CHANGED, DELETED) else ""
    return f"{last.hand_over.time}{said}{state}"


def _between(giver: str, taker: str) -> str:
    return (f", from {giver}" if giver else "") + (f", to {taker}" if taker else "")


def _members(each: Tracked) -> dict[str, Any]:
    medium = each.medium
    names = ("label", "media", "first", "last", "size", "read_back", "serial", "state", "written", "read", "retired", "method", "sums")
    return {
        **{name: getattr(medium, name) for name in names},
        "set": medium.set_id,
        "medium": medium.number,
        "sites": list(each.sites),
        "arrived": list(each.arrived),
        "hand_overs": list(map(_hand_over, each.hand_overs)),
    }


def _hand_over(noted: Noted) -> dict[str, Any]:
    each, note = noted.hand_over, noted.note
    members = {"seq": each.seq, "time": each.time, "serial": each.serial, "note": noted.state}
    return {**members, "from": note.giver if note else "", "to": note.taker if note else ""}
