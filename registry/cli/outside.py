"""Commands of the publishing station."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from registry.cli.output import grouped, human_bytes, table
from registry.cli.settings import AirlockCommand, Settings, pass_settings
from registry.cli.values import Threshold
from registry.content.digest import digest_of
from registry.content.reference import parse_reference
from registry.errors import AirlockError, Usage
from registry.sources.pinning import Options
from registry.store.files import replace_file, storage_errors
from registry.trust.roles import format_time
from registry.workflow.evidence import Upstream
from registry.workflow.inspect import Inspected, inspect, set_key_of
from registry.workflow.pin import pin, read_pins
from registry.workflow.station import init_station, read_station

__all__ = ["init_command", "inspect_command", "pin_command", "pins_command"]

_existing = click.Path(path_type=Path)


@click.command("init", cls=AirlockCommand)
@click.option("--threshold", "thresholds", type=Threshold(), multiple=True, metavar="ROLE=N", help="How many keys of root or release must sign.")
@click.option("--keys-here", is_flag=True, help="Make all the keys that the thresholds ask for on this machine.")
@click.option(
    "--first-number",
    type=click.IntRange(1, 900_000_000),
    default=1,
    show_default=True,
    metavar="N",
    help="The first release number, above those of a lost station whose place this one takes.",
)
@pass_settings
def init_command(settings: Settings, *, thresholds: tuple[tuple[str, int], ...], keys_here: bool, first_number: int) -> None:
    r"""Create a publishing station: its keys and its root of trust.

    \b
    Examples:
      airlock init
      airlock init --threshold root=2 --threshold release=2
    """
    settings.unchanged = "nothing was created"
    wanted = dict(thresholds)
    if "station" in wanted:
        raise Usage("the station signs alone", why="snapshot and timestamp are this machine's work", hint="set thresholds for root and release")
    fingerprint = init_station(settings.home, settings.new_passphrase(), wanted, datetime.now(UTC), keys_here=keys_here, first_number=first_number)
    missing = [{"role": role, "needed": count, "have": 1, "missing": count - 1} for role, count in wanted.items() if count > 1 and not keys_here]
    document = {"home": str(settings.home.root), "kind": "station", "publisher": fingerprint, "fingerprint": fingerprint, "missing": missing}
    if not fingerprint:
        lines = [f"missing      {each['missing']} more key(s) for {each['role']}, {each['needed']} must sign" for each in missing]
        text = "\n".join(
            [
                f"station      {settings.home.root}",
                *lines,
                "",
                "There is a root of trust, and a fingerprint, once these keys are added and have signed.",
            ]
        )
        settings.output.result(document, text)
        settings.output.next_step(
            "airlock key new NAME; airlock key show NAME --to FILE   # each holder, on their own machine",
            "airlock root add-key FILE --role ROLE   # here, once for each",
            "airlock root sign",
        )
        return
    text = f"""\
station      {settings.home.root}
fingerprint  {grouped(fingerprint)}

Write the fingerprint down: sites compare it by phone before they trust this station.
Back up {settings.home.root / "keystore.json"} and keep the passphrase somewhere else."""
    settings.output.result(document, text)
    settings.output.next_step("airlock pin library/gemma3:270m --from file:gemma-3-270m.gguf")


@click.command("pin", cls=AirlockCommand)
@click.argument("name")
@click.option("--from", "source", required=True, metavar="SOURCE", help="file:PATH.gguf, or ollama-store:NAME from Ollama on this machine.")
@click.option("--template", type=_existing, metavar="FILE", help="With file: the prompt template (Go template, as TEMPLATE in a Modelfile).")
@click.option("--system", type=_existing, metavar="FILE", help="With file: the system text.")
@click.option("--params", type=_existing, metavar="FILE", help="With file: PARAMETER lines of a Modelfile, or Ollama's params JSON.")
@click.option("--license", "licenses", type=_existing, multiple=True, metavar="FILE", help="With file: a licence; may be given several times.")
@click.option("--upstream-oms", "bundle", type=_existing, metavar="FILE", help="With file: the OMS signature of the model's makers; it is carried.")
@click.option("--upstream-key", "key", type=_existing, metavar="FILE", help="The public key (PEM, elliptic curve) that signature must be by.")
@pass_settings
def pin_command(
    settings: Settings,
    name: str,
    source: str,
    *,
    template: Path | None,
    system: Path | None,
    params: Path | None,
    licenses: tuple[Path, ...],
    bundle: Path | None,
    key: Path | None,
) -> None:
    r"""Fix NAME ([namespace/]model[:tag]) to what SOURCE holds now.

    Reads and hashes every byte, writes pins.toml, signs nothing: a pin becomes a release when it is exported.

    \b
    Examples:
      airlock pin library/gemma3:270m --from file:gemma-3-270m.gguf
      airlock pin gemma3:270m --from ollama-store:gemma3:270m
    """
    settings.unchanged = "nothing was pinned"
    if (bundle is None) != (key is None):
        raise Usage("--upstream-oms and --upstream-key go together", hint="name the signature and the key it must be by")
    signed = (bundle, key) if bundle and key else None
    reference = parse_reference(name, pinnable=True)
    total = _file_size(source)
    with settings.progress.task(f"reading {source}", total) as advance:
        options = Options(template, system, params, licenses)
        done = pin(settings.home, reference, source, options, now=datetime.now(UTC), advance=advance, signed=signed)
    document = {
        "name": str(reference),
        "manifest": done.pin.manifest,
        "source": done.pin.source,
        "newline_dropped": done.pin.newline_dropped,
        "size": done.manifest.size,
        "changed": done.changed,
        "upstream": _upstream_json(done.upstream),
    }
    by = f"\nupstream   signed as {done.upstream.signer.name}, key {done.upstream.signer.key.fingerprint}" if done.upstream else ""
    was = f"\nbefore     {done.before.manifest}" if done.before and done.changed else ""
    same = "" if done.changed else "  (as before)"
    text = f"pinned     {reference}  {human_bytes(done.manifest.size)}\nmanifest   {done.pin.manifest}{same}{was}\nsource     {done.pin.source}{by}"
    settings.output.result(document, text)
    settings.output.next_step("airlock export --to MEDIUM --recipient site.pub")


def _upstream_json(upstream: Upstream | None) -> dict[str, object] | None:
    if upstream is None:
        return None
    signer = upstream.signer
    return {"bundle": digest_of(upstream.bundle), "key": signer.key.fingerprint, "signed_name": signer.name, "file": upstream.file}


def _file_size(source: str) -> int:
    scheme, _, path = source.partition(":")
    try:
        return Path(path).stat().st_size if scheme == "file" else 0
    except OSError:
        return 0  # the source itself says what is wrong with it


@click.command("pins", cls=AirlockCommand)
@pass_settings
def pins_command(settings: Settings) -> None:
    r"""List what is pinned, and as which release it was last exported.

    \b
    Example:
      airlock pins
    """
    pins = read_pins(settings.home)
    with read_station(settings.home) as log:
        numbers = {(each.reference, each.manifest): each.number for each in log.releases()}
    document = [
        {
            "name": str(each.reference),
            "manifest": each.manifest,
            "source": each.source,
            "pinned": format_time(each.pinned.astimezone(UTC)),
            "newline_dropped": each.newline_dropped,
            "upstream_oms": each.upstream_oms,
            "release": numbers.get((each.reference, each.manifest)),
        }
        for each in pins.values()
    ]
    rows = [
        (str(row["name"]), str(row["release"] or "not exported yet"), str(row["manifest"])[:19] + "…", str(row["pinned"]), str(row["source"]))
        for row in document
    ]
    settings.output.result(document, table(("NAME", "RELEASE", "MANIFEST", "PINNED", "SOURCE"), rows) if rows else "nothing is pinned yet")
    if not rows:
        settings.output.next_step("airlock pin library/gemma3:270m --from file:gemma-3-270m.gguf")


@click.command("inspect", cls=AirlockCommand)
@click.argument("medium", type=_existing, metavar="DIR")
@click.option("--open", "opened", is_flag=True, help="Open the home's keystore and show what is sealed, too.")
@click.option(
    "--set-key-to", "key_file", type=_existing, metavar="FILE", help="Write the newest set's key there, to open its files with other tools."
)
@pass_settings
def inspect_command(settings: Settings, medium: Path, *, opened: bool, key_file: Path | None) -> None:
    r"""Show what is on a medium: in clear without any key, everything with --open.

    \b
    Examples:
      airlock inspect /media/usb
      airlock inspect /media/usb --open
    """
    settings.unchanged = "inspect changes nothing"
    if key_file is not None:
        set_id, set_key = set_key_of(medium, settings.home, settings.passphrase)
        with storage_errors(f"the file {key_file}"):
            replace_file(key_file, set_key, mode=0o600)
        settings.output.warn(f"{key_file} opens everything in set {set_id}: delete it when you are done")
    with_keys = opened or (settings.has_passphrase_file() and settings.home.kind() is not None)
    try:
        found = inspect(medium, settings.home if with_keys else None, settings.passphrase if with_keys else None)
    except AirlockError:
        if opened or not with_keys:
            raise
        found = inspect(medium, None, None)  # the keystore was only on offer
    # The newest set's members stand at the top, so that scripts find the fingerprint without caring how many sets there are.
    settings.output.result({**found[0].as_json(), "sets": [each.as_json() for each in found]}, "\n\n".join(map(_describe, found)))


def _describe(found: Inspected) -> str:
    versions = ", ".join(f"{role} {version}" for role, version in found.versions.items())
    lines = [
        f"set          {found.set_id}",
        f"publisher    {found.publisher}",
        f"fingerprint  {grouped(found.fingerprints[-1])}  (root {len(found.fingerprints)})",
        f"issued       {format_time(found.issued)}, may be imported until {format_time(found.expires)}",
        f"metadata     {versions}",
        f"sealed to    {', '.join(key[:8] for key in found.recipients)} (recipient key ids)",
        f"parts        {found.parts} here, {human_bytes(found.size)}",
    ]
    if found.litter:
        lines.append(f"ignored      {', '.join(found.litter)}")
    if found.index is None:
        lines.append("contents     sealed; --open shows them with a keystore whose key is among the above")
    else:
        lines += [f"parts of set {found.index.parts}", f"for sites    {', '.join(site[:8] for site in found.index.sites)}", ""]
        rows = [(str(each.reference), str(each.number), each.manifest.digest[:19] + "…", each.source) for each in found.releases]
        lines.append(table(("NAME", "RELEASE", "MANIFEST", "SOURCE"), rows))
    return "\n".join(lines)
