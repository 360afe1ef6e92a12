"""Plan and export: which models go on which media."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import click

from registry.cli.links import is_stream, take_stdout
from registry.cli.output import grouped, human_bytes, table
from registry.cli.repairs import answer_repair
from registry.cli.settings import AirlockCommand, Settings, pass_settings
from registry.cli.values import Share, Size, Sizes
from registry.content.reference import parse_reference
from registry.errors import Usage
from registry.workflow.carried import Shape
from registry.workflow.delta import Known
from registry.workflow.export import Contents, Exported, export
from registry.workflow.known_recipients import ESCROW
from registry.workflow.planning import Plan, plan_export
from registry.workflow.sending import Link
from registry.workflow.slots import AskNext, Slot, Slots, open_slots
from registry.workflow.writing import Way, WrittenMedium

__all__ = ["export_command", "plan_command"]

_existing = click.Path(path_type=Path)
_USUAL_SIZES = (32, 64, 128, 256)  # GB, as sticks are sold
_FORMATTED = 0.98  # what a file system leaves of a stick


def _shape_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options by which a set is cut."""
    options = (
        click.option("--media", "sizes", type=Sizes(), default=(), metavar="SIZE,…", help="How much each medium takes: 32G,32G,64G (decimal)."),
        click.option("--part-size", type=Size(), help="Largest part; 500M is decimal, 500MiB binary.  [default: 1GiB, less where it fits better]"),
        click.option(
            "--parity", type=Share(), default=Fraction(0), metavar="SHARE", help="Parity parts, such as 5%: they heal lost or rotten parts."
        ),
        click.option("--metadata-only", is_flag=True, help="No models, only what this station says now: withdrawals, new keys."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command("plan", cls=AirlockCommand)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--to", "media", multiple=True, type=_existing, metavar="DIR", help="Where media are mounted; what is free there counts.")
@_shape_options
@pass_settings
def plan_command(
    settings: Settings,
    names: tuple[str, ...],
    *,
    media: tuple[Path, ...],
    sizes: tuple[int, ...],
    part_size: int | None,
    parity: Fraction,
    metadata_only: bool,
) -> None:
    r"""Say how many media an export takes, what goes where, and how long it takes; signs and writes nothing.

    \b
    Examples:
      airlock plan
      airlock plan --media 128G
      airlock plan --to /media/a --to /media/b --parity 5%
    """
    settings.unchanged = "plan changes nothing"
    contents = _contents(names, metadata_only=metadata_only, part_size=part_size, parity=parity, sealed=True)
    if media:
        found = plan_export(settings.home, contents, open_slots(media, sizes, None))
        settings.output.result(_plan_json(found), _describe_plan(found))
        settings.output.next_step(_export_words(contents, media, sizes))
        return
    capacities = sizes or tuple(int(size * _FORMATTED) * 10**9 for size in _USUAL_SIZES)
    if sizes:
        found = plan_export(settings.home, contents, _imagined(sizes))
        settings.output.result(_plan_json(found), _describe_plan(found))
        settings.output.next_step(_export_words(contents, (Path("MEDIUM"),), sizes))
        return
    plans = {size: plan_export(settings.home, contents, _imagined((size,))) for size in capacities}
    document = {"plans": [{"capacity": size, **_plan_json(each)} for size, each in plans.items()]}
    rows = [
        (human_bytes(size), str(len(each.spans)), str(len(each.layout.files)), human_bytes(each.layout.part_size)) for size, each in plans.items()
    ]
    total = next(iter(plans.values()))
    text = f"{human_bytes(total.layout.size)} in models{_duration(total)}\n\n{table(('MEDIA THAT TAKE', 'NEEDED', 'PARTS', 'OF AT MOST'), rows)}"
    settings.output.result(document, text)
    settings.output.next_step("airlock plan --media 128G,128G   # your media", "airlock export --to MEDIUM --recipient site.pub")


def _export_words(contents: Contents, media: tuple[Path, ...], sizes: tuple[int, ...]) -> str:
    """Return the command that exports what was planned."""
    shape = contents.shape
    words = ["airlock export", *map(str, contents.names), *(f"--to {each}" for each in media)]
    words += [f"--media {','.join(map(_short, sizes))}"] if sizes else []
    words += [f"--part-size {_short(shape.part_size)}"] if shape.part_size else []
    words += [f"--parity {float(shape.parity * 100):g}%"] if shape.parity else []
    words += ["--metadata-only"] if contents.metadata_only else []
    return " ".join([*words, "--recipient site.pub"])


def _short(size: int) -> str:
    """Return a size as it may be typed: 32G rather than 32000000000."""
    power, letter = next(((power, letter) for power, letter in ((10**9, "G"), (10**6, "M"), (1, "")) if size % power == 0), (1, ""))
    return f"{size // power}{letter}"


def _imagined(sizes: tuple[int, ...]) -> Slots:
    """Return slots for media that nobody mounted yet; after the last size come as many like it as it takes."""
    return Slots(tuple(Slot(Path("MEDIUM"), size) for size in sizes), lambda _: None)


def _contents(names: tuple[str, ...], *, metadata_only: bool, part_size: int | None, parity: Fraction, sealed: bool) -> Contents:
    if metadata_only and names:
        raise Usage("--metadata-only carries no models", hint="leave the names out")
    return Contents([parse_reference(name) for name in names], metadata_only, Shape(part_size, parity, sealed))


def _plan_json(plan: Plan) -> dict[str, Any]:
    return {
        "size": plan.layout.size,
        "sealed_size": plan.sealed,
        "part_size": plan.layout.part_size,
        "parts": plan.layout.parts,
        "parity_parts": len(plan.layout.files) - plan.layout.parts,
        "bytes_per_second": None if plan.rate is None else round(plan.rate),
        "seconds": plan.seconds,
        "media": [
            {"medium": medium, "first": span.first, "last": span.last, "size": span.size, "models": list(models)}
            for medium, (span, models) in enumerate(zip(plan.spans, plan.models, strict=True), 1)
        ],
    }


def _describe_plan(plan: Plan) -> str:
    parity = len(plan.layout.files) - plan.layout.parts
    rows = [
        (f"{medium} of {len(plan.spans)}", _parts(span.first, span.last), human_bytes(span.size), ", ".join(models) or "parity")
        for medium, (span, models) in enumerate(zip(plan.spans, plan.models, strict=True), 1)
    ]
    also = f" and {parity} parity part(s)" if parity else ""
    return f"""\
{human_bytes(plan.layout.size)} in {plan.layout.parts} part(s) of at most {human_bytes(plan.layout.part_size)}{also}{_duration(plan)}

{table(("MEDIUM", "PARTS", "SIZE", "MODELS"), rows)}"""


def _duration(plan: Plan) -> str:
    if plan.rate is None or plan.seconds is None:
        return "; no export was measured here yet"
    return f"; about {timedelta(seconds=plan.seconds)} at the {human_bytes(int(plan.rate))}/s of the last exports"


def _parts(first: int, last: int) -> str:
    return "none" if last < first else str(first) if first == last else f"{first} to {last}"


@click.command("export", cls=AirlockCommand)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--to", "media", required=True, multiple=True, type=_existing, metavar="DIR", help="Where a medium is mounted; several for several; - for stdout."
)
@click.option(
    "--recipient",
    "recipients",
    multiple=True,
    type=_existing,
    metavar="FILE",
    help="A site's site.pub; several for several sites.  [required unless --repair]",
)
@click.option("--escrow", type=_existing, metavar="FILE", help="An escrow.pub: whoever keeps the escrow can open the set, too.")
@click.option("--since", multiple=True, type=_existing, metavar="PATH", help="A receipt, or a medium with receipts: leave out what all sites hold.")
@click.option("--assume-held", multiple=True, metavar="SET", help="For sites that send no receipts: leave out what this set brought them.")
@_shape_options
@click.option("--label", "labels", multiple=True, metavar="TEXT", help="What is written on a medium, in the order of the media.")
@click.option("--no-read-back", is_flag=True, help="Don't read the media again after writing; cheap sticks lose what they acknowledged.")
@click.option(
    "--repair",
    "repair_path",
    type=_existing,
    metavar="PATH",
    help="Write just the parts that a site's repair request asks for: a file, or its medium.",
)
@click.option("--no-seal", is_flag=True, help="Leave the set plain: for media that are encrypted themselves (LUKS2, BitLocker, hardware).")
@pass_settings
def export_command(
    settings: Settings,
    names: tuple[str, ...],
    *,
    media: tuple[Path, ...],
    recipients: tuple[Path, ...],
    escrow: Path | None,
    since: tuple[Path, ...],
    assume_held: tuple[str, ...],
    sizes: tuple[int, ...],
    part_size: int | None,
    parity: Fraction,
    metadata_only: bool,
    labels: tuple[str, ...],
    no_read_back: bool,
    repair_path: Path | None,
    no_seal: bool,
) -> None:
    r"""Sign the pinned models, seal them to sites and write them to media.

    Without NAME everything pinned is exported.  An export that was interrupted continues with the same command.  At a terminal it asks for the next
    medium where one directory has to do for several; scripts name a directory for each.

    With --to - the set goes to stdout as a stream, for a one-way link or a tape; the result and all messages then go to stderr.  It can't be read
    back, and one that breaks is sent once more as a whole.

    \b
    Examples:
      airlock export --to /media/usb --recipient site.pub
      airlock export --to /media/a --to /media/b --recipient site.pub --parity 5%
      airlock export --to /media/usb --media 32G,64G --recipient site.pub
      airlock export --to /media/usb --recipient site.pub --since /media/usb
      airlock export --to - --recipient site.pub | ssh GATEWAY airlock import -
      airlock export --repair /media/usb --to /media/usb
    """
    streamed = is_stream(media, "--to ")
    if repair_path is not None:
        if streamed:
            raise Usage("a repair goes on a medium", why="--to - sends whole sets", hint="airlock export --repair REQUEST --to MEDIUM")
        others = bool(names or recipients or escrow or since or assume_held or sizes or part_size or parity or metadata_only or no_seal)
        answer_repair(settings, repair_path, media, labels, read_back=not no_read_back, others=others)
        return
    if not recipients:
        raise Usage(
            "Missing option '--recipient'",
            why="a set is sealed to the sites that may open it",
            hint="airlock export --to MEDIUM --recipient site.pub",
        )
    settings.unchanged = "no set was finished; the same command continues where this one stopped"
    contents = _contents(names, metadata_only=metadata_only, part_size=part_size, parity=parity, sealed=not no_seal)
    way = _link(settings, sizes, labels) if streamed else Way(open_slots(media, sizes, _asking(settings)), labels, read_back=not no_read_back)
    done = export(
        settings.home,
        contents,
        way,
        recipients,
        settings.passphrase,
        escrow=escrow,
        known=Known(since, assume_held),
        now=datetime.now(UTC),
        progress=settings.progress,
    )
    for name, digits in done.new_recipients:
        who = "the escrow" if name == ESCROW else f"site {name[:8]}"
        settings.output.note(f"new recipient, {who}: compare its fingerprint by phone: {grouped(digits)}")
    read_back = not no_read_back and not streamed
    if streamed:
        settings.output.warn("nobody has seen yet that the set arrived: nothing comes back through a one-way link, only the other end can tell")
    elif no_read_back:
        which, they = ("the medium was", "it holds") if len(done.media) == 1 else ("the media were", "they hold")
        settings.output.warn(f"{which} not read back: nobody has seen yet that {they} what was written")
    if no_seal:
        settings.output.warn("this set is not sealed: whoever holds the media can read the models")
    for each in done.media:
        settings.output.note(f"transfer sheet, to print and go with medium {each.label}: {settings.home.sheets / each.label}.html")
    settings.output.result(_exported_json(done, read_back=read_back), _describe_exported(done, read_back=read_back, streamed=streamed))
    medium = "-" if streamed else "MEDIUM"
    first = f"airlock trust add {medium} --fingerprint {done.fingerprint}   # inside, once"
    settings.output.next_step(first, f"airlock import {medium}   # inside, every time")


def _link(settings: Settings, sizes: tuple[int, ...], labels: tuple[str, ...]) -> Link:
    if sizes or len(labels) > 1:
        raise Usage("a stream goes to one place", why=f"{'--media' if sizes else 'a second --label'} is for several media")
    link = Link(take_stdout(), *labels)
    settings.unchanged = "the set was not sent to its end; the same command sends it once more, from its beginning"
    return link


def _asking(settings: Settings) -> AskNext | None:
    if not settings.asks:
        return None

    def ask(sentence: str) -> None:
        click.prompt(f"{sentence}, then press Enter (Ctrl-C stops; the same command continues)", default="", show_default=False, err=True)

    return ask


def _exported_json(done: Exported, *, read_back: bool) -> dict[str, Any]:
    index = done.begun.index
    return {
        "set": done.set_id,
        "path": str(done.folder) if done.folder else None,
        "fingerprint": done.fingerprint,
        "releases": [
            {"name": str(each.pin.reference), "release": each.numbered.number, "manifest": each.pin.manifest, "new": each.new}
            for each in done.releases
        ],
        "sites": [{"site": each.site, "fingerprint": each.fingerprint} for each in done.sites],
        "size": index.size,
        "parts": index.parts,
        "parity_parts": len(index.numbers) - index.parts,
        "sealed": done.begun.seal.key is not None,
        "media": [_medium_json(each) for each in done.media],
        "left_out": {"objects": len(index.have), "size": sum(each.size for each in index.have)},
        "continued": done.continued,
        "read_back": read_back,
    }


def _medium_json(each: WrittenMedium) -> dict[str, Any]:
    return {
        "medium": each.medium,
        "label": each.label,
        "path": str(each.folder) if each.folder else None,
        "first": each.span.first,
        "last": each.span.last,
        "size": each.span.size,
    }


def _describe_exported(done: Exported, *, read_back: bool, streamed: bool) -> str:
    index = done.begun.index
    rows = [
        (str(each.pin.reference), str(each.numbered.number), human_bytes(each.manifest.size), "new" if each.new else "as before")
        for each in done.releases
    ]
    parity = len(index.numbers) - index.parts
    how = f"{human_bytes(index.size)} in {index.parts} part(s){f' and {parity} parity part(s)' if parity else ''}"
    media = [
        (f"{each.medium} of {len(done.media)}", each.label, _parts(each.span.first, each.span.last), str(each.folder or "written before"))
        for each in done.media
    ]
    if index.have:
        how += f", {human_bytes(sum(each.size for each in index.have))} in {len(index.have)} blob(s) left out"
    if streamed:
        return f"{table(('NAME', 'RELEASE', 'SIZE', ''), rows)}\n\nset          {done.set_id}, {how}, sent\nfingerprint  {grouped(done.fingerprint)}"
    where = f"folder       {done.folder}" if len(media) == 1 else "\n" + table(("MEDIUM", "LABEL", "PARTS", "FOLDER"), media) + "\n"
    return f"""\
{table(("NAME", "RELEASE", "SIZE", ""), rows)}

set          {done.set_id}, {how}, {"written and read back" if read_back else "written"}
{where}
fingerprint  {grouped(done.fingerprint)}"""
