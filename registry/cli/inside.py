"""Commands of the site registry."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from registry.cli.evidence import evidence_json, evidence_lines
from registry.cli.output import grouped, human_bytes, table
from registry.cli.settings import ActorCommand, AirlockCommand, AirlockGroup, Settings, pass_settings
from registry.cli.tls import tls_init_command
from registry.content.reference import parse_selector
from registry.errors import NotFound, StoreFailed
from registry.media.suites import SUITE_XWING, SUITES
from registry.store.home import SITE
from registry.store.log import Event
from registry.store.releases import PROMOTED, QUARANTINE, CatalogRelease
from registry.trust.statement import Release, parse_statement
from registry.workflow.check import check
from registry.workflow.lifecycle import Moved, approve, promote, rollback
from registry.workflow.rotate import rotate_key
from registry.workflow.site import init_site, read_site
from registry.workflow.site_card import FILE_NAME
from registry.workflow.station import read_station

__all__ = [
    "approve_command",
    "check_command",
    "list_command",
    "log_command",
    "promote_command",
    "rollback_command",
    "show_command",
    "site_group",
]

_directory = click.Path(path_type=Path)
_NOTHING_MOVED = "what is served has not changed"


@click.group("site", cls=AirlockGroup)
def site_group() -> None:
    """Set up the site registry."""


@site_group.command("init")
@click.option(
    "--suite",
    type=click.Choice([each.short for each in SUITES.values()]),
    default=SUITES[SUITE_XWING].short,
    show_default=True,
    help="How sets for this site are sealed: xwing (post-quantum), p384 (FIPS-approved algorithms), mlkem1024-p384 (both).",
)
@pass_settings
def site_init_command(settings: Settings, *, suite: str) -> None:
    r"""Create a site registry: its keys, its log, and site.pub for the publisher.

    \b
    Example:
      airlock site init
    """
    settings.unchanged = "nothing was created"
    name = next(name for name, each in SUITES.items() if each.short == suite)
    card = init_site(settings.home, settings.new_passphrase(), datetime.now(UTC), suite=name)
    path = settings.home.root / FILE_NAME
    text = f"""\
site         {card.site}
home         {settings.home.root}
site.pub     {path}
fingerprint  {grouped(card.fingerprint)}

Carry site.pub to the publisher and read its fingerprint out on the phone: whoever
swaps it on the way could open what is meant for this site.
Back up {settings.home.root / "keystore.json"} and keep the passphrase somewhere else."""
    document = {
        "home": str(settings.home.root),
        "kind": SITE,
        "site": card.site,
        "suite": suite,
        "fingerprint": card.fingerprint,
        "site_pub": str(path),
    }
    settings.output.result(document, text)
    settings.output.next_step("airlock export --to MEDIUM --recipient site.pub   # outside")


@site_group.command("rotate-key", cls=ActorCommand)
@click.option("--suite", type=click.Choice([each.short for each in SUITES.values()]), help="How sets are sealed from now on.  [default: as before]")
@pass_settings
def site_rotate_key_command(settings: Settings, *, suite: str | None) -> None:
    r"""Make a new recipient key and write site.pub anew; sets that were sealed to earlier keys can still be imported.

    \b
    Example:
      airlock site rotate-key
    """
    settings.unchanged = "site.pub has not changed"
    settings.confirm("Make a new recipient key? Every publisher must accept the new site.pub.")
    name = next((name for name, each in SUITES.items() if each.short == suite), None)
    card = rotate_key(settings.home, settings.credentials, suite=name, now=datetime.now(UTC))
    path = settings.home.root / FILE_NAME
    document = {"site": card.site, "recipient": card.recipient.key_id, "fingerprint": card.fingerprint, "site_pub": str(path)}
    text = (
        f"site         {card.site}\nsite.pub     {path}\nfingerprint  {grouped(card.fingerprint)}\n\nBack up the keystore again: it holds a new key."
    )
    settings.output.result(document, text)
    settings.output.next_step(f"airlock recipient accept site.pub --fingerprint {card.fingerprint}   # outside, after comparing by phone")


site_group.add_command(tls_init_command)


@click.command("list", cls=AirlockCommand)
@pass_settings
def list_command(settings: Settings) -> None:
    r"""List every release that arrived whole, and its state.

    \b
    Example:
      airlock list
    """
    with read_site(settings.home) as log:
        releases = log.releases()
    rows = [(str(each.reference), str(each.number), each.state, each.manifest[:19] + "…", each.publisher[:8], each.changed) for each in releases]
    text = table(("NAME", "RELEASE", "STATE", "MANIFEST", "PUBLISHER", "SINCE"), rows) if rows else "no release is here yet"
    settings.output.result([_release_json(each) for each in releases], text)
    if not rows:
        settings.output.next_step("airlock import MEDIUM")


def _release_json(each: CatalogRelease) -> dict[str, Any]:
    return {
        "name": str(each.reference),
        "release": each.number,
        "state": each.state,
        "manifest": each.manifest,
        "publisher": each.publisher,
        "tag": f"{each.reference.tag}-r{each.number}",
        "set": each.set_id,
        "since": each.changed,
        "withdrawal": {"severity": str(each.withdrawal.severity), "why": each.withdrawal.why} if each.withdrawal else None,
    }


@click.command("show", cls=AirlockCommand)
@click.argument("name")
@pass_settings
def show_command(settings: Settings, name: str) -> None:
    r"""Show a model's releases: state, digests, sizes, origin.

    \b
    Examples:
      airlock show library/gemma3:270m
      airlock show library/gemma3:270m-r2
    """
    selector = parse_selector(name)
    with read_site(settings.home) as log:
        found = [each for each in log.releases_of(selector.reference) if selector.number in (None, each.number)]
        stated = [parse_statement(log.document(each.statement), what=f"statement of {each.name}") for each in found]
    if not found:
        raise NotFound(f"{selector}: no such release here", hint="airlock list shows every release")
    document = [
        {
            **_release_json(each),
            "statement": each.statement,
            "source": release.source,
            "inspection": dict(release.inspection),
            "size": sum(item.size for item in release.objects[1:]),
            "objects": [{"digest": item.digest, "size": item.size, "media_type": item.media_type} for item in release.objects],
            "evidence": evidence_json(release),
        }
        for each, release in zip(found, stated, strict=True)
    ]
    text = "\n\n".join(_describe_release(each, release) for each, release in zip(found, stated, strict=True))
    settings.output.result({"name": str(selector.reference), "releases": document}, text)


def _describe_release(each: CatalogRelease, release: Release) -> str:
    served = {PROMOTED: f"{each.reference} and {each.reference.tag}-r{each.number}", QUARANTINE: "not served before somebody approves it"}
    inspection = ", ".join(f"{key} {value}" for key, value in release.inspection.items())
    objects = table(
        ("BLOB", "SIZE", "TYPE"), [(item.digest[:19] + "…", human_bytes(item.size), item.media_type.rpartition("/")[2]) for item in release.objects]
    )
    said = f"\nwithdrawn  {each.withdrawal.severity}: {each.withdrawal.why}" if each.withdrawal else ""
    return f"""\
{each.name}
state      {each.state} since {each.changed}{said}
served as  {served.get(each.state, f"{each.reference.tag}-r{each.number}")}
manifest   {each.manifest}
statement  {each.statement}
publisher  {each.publisher}
source     {release.source}
model      {inspection}{evidence_lines(release)}
set        {each.set_id}

{objects}"""


def _moved(settings: Settings, moved: Moved, sentence: str) -> None:
    replaced = moved.replaced
    document = {
        "name": str(moved.release.reference),
        "release": moved.release.number,
        "state": moved.state,
        "manifest": moved.release.manifest,
        "replaced": replaced.number if replaced else None,
        "changed": moved.changed,
    }
    settings.output.result(document, sentence if moved.changed else f"nothing to do: {moved.release.name} is {moved.state} already")


@click.command("approve", cls=ActorCommand)
@click.argument("name")
@pass_settings
def approve_command(settings: Settings, name: str) -> None:
    r"""Approve a release in quarantine: from now on it may be pulled by its release tag.

    NAME is [namespace/]model[:tag]; NAME@N or TAG-rN picks a release.

    \b
    Example:
      airlock approve library/gemma3:270m
    """
    settings.unchanged = f"nothing was approved; {_NOTHING_MOVED}"

    def confirm(move: Moved) -> None:
        settings.confirm(f"Approve {move.release.name} ({move.release.manifest[:19]}…)?")

    moved = approve(settings.home, parse_selector(name), settings.credentials, confirm, now=datetime.now(UTC))
    _moved(settings, moved, f"approved  {moved.release.name}  {moved.release.manifest}")
    settings.output.next_step(f"airlock promote {moved.release.reference}")


@click.command("promote", cls=ActorCommand)
@click.argument("name")
@pass_settings
def promote_command(settings: Settings, name: str) -> None:
    r"""Let the plain tag serve an approved release.

    \b
    Example:
      airlock promote library/gemma3:270m
    """
    settings.unchanged = f"nothing was promoted; {_NOTHING_MOVED}"

    def confirm(move: Moved) -> None:
        now_served = f"; it serves {move.replaced.name} now" if move.replaced else ""
        settings.confirm(f"Let {move.release.reference} serve {move.release.name} ({move.release.manifest[:19]}…){now_served}?")

    moved = promote(settings.home, parse_selector(name), settings.credentials, confirm, now=datetime.now(UTC))
    instead = f"\ninstead of {moved.replaced.name}  (airlock rollback {moved.release.reference} goes back)" if moved.replaced else ""
    _moved(settings, moved, f"promoted  {moved.release.name}  {moved.release.manifest}{instead}")
    settings.output.next_step("airlock serve --anonymous-pull   # unless it runs already")


@click.command("rollback", cls=ActorCommand)
@click.argument("name")
@pass_settings
def rollback_command(settings: Settings, name: str) -> None:
    r"""Let the plain tag serve again what it served before, or the approved release named by number.

    \b
    Examples:
      airlock rollback library/gemma3:270m
      airlock rollback library/gemma3:270m@1
    """
    settings.unchanged = f"nothing was rolled back; {_NOTHING_MOVED}"

    def confirm(move: Moved) -> None:
        was = move.replaced.name if move.replaced else "nothing"
        settings.confirm(f"Let {move.release.reference} serve {move.release.name} again instead of {was}?")

    moved = rollback(settings.home, parse_selector(name), settings.credentials, confirm, now=datetime.now(UTC))
    was = f"\ninstead of   {moved.replaced.name}" if moved.replaced else ""
    _moved(settings, moved, f"rolled back to {moved.release.name}  {moved.release.manifest}{was}")


@click.command("log", cls=AirlockCommand)
@click.option("--start", type=click.IntRange(min=1), default=1, metavar="N", help="Begin with event N.")
@pass_settings
def log_command(settings: Settings, start: int) -> None:
    r"""Show the log: who did what, when, to which digest.

    \b
    Example:
      airlock log
    """
    with read_site(settings.home) if settings.home.kind() == SITE else read_station(settings.home) as log:
        events = list(log.events(start=start))
    rows = [(str(each.seq), each.time, each.actor[:8], each.verb, _subject(each)) for each in events]
    document = [
        {
            "v": 1,
            "seq": each.seq,
            "time": each.time,
            "actor": each.actor,
            "verb": each.verb,
            "subject": dict(each.subject),
            "prev": each.prev,
            "digest": each.digest,
            "signature": each.signature,
        }
        for each in events
    ]
    settings.output.result(document, table(("SEQ", "TIME", "ACTOR", "VERB", "SUBJECT"), rows))


def _subject(event: Event) -> str:
    subject = event.subject
    if "repository" in subject:
        return f"{subject['repository']}:{subject['tag']}-r{subject['number']}  {str(subject['manifest'])[:19]}…"
    if "what" in subject:
        return str(subject["what"])
    if "objects" in subject:
        return f"{subject['objects']} blob(s) named"
    if "label" in subject:
        return f"medium {subject['label']}" + (f" of set {subject['set']}" if subject["set"] else "")
    if "set" in subject:
        return f"set {subject['set']}"
    for name in ("act", "proposal", "epoch"):
        if name in subject:
            return str(subject[name]) if name == "act" else f"{name} {subject[name]}"
    for kind in ("node", "token"):
        if kind in subject:
            return f"{kind} {subject[kind]}"
    if "pattern" in subject:
        return f"{subject['group']} may pull {subject['pattern']}"
    if "entries" in subject:
        return f"access journal, {subject['entries']} line(s)"
    named = subject.get("publisher") or subject.get("site")
    return f"{'publisher' if 'publisher' in subject else 'site'} {str(named)[:8]}" if named else ""


@click.command("check", cls=AirlockCommand)
@click.option("--no-contents", is_flag=True, help="Don't hash the blobs, only look for them.")
@pass_settings
def check_command(settings: Settings, *, no_contents: bool) -> None:
    r"""Check that log, catalog, published view and blobs agree; changes nothing.

    \b
    Example:
      airlock check
    """
    settings.unchanged = "check changes nothing"
    done = check(settings.home, progress=settings.progress, contents=not no_contents)
    if done.problems:
        raise StoreFailed(
            f"{settings.home.root}: {len(done.problems)} problem(s) found",
            why="\n".join(done.problems),
            hint="a damaged or missing blob: import the set that brought it again; anything else: restore the home from its backup",
        )
    document = {"events": done.events, "releases": done.releases, "blobs": done.blobs, "size": done.size, "problems": []}
    how = "present" if no_contents else "whole"
    text = f"ok: {done.events} event(s) in the log, {done.releases} release(s), {done.blobs} blob(s) {how} ({human_bytes(done.size)})"
    settings.output.result(document, text)
