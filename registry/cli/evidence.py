"""What others signed or can verify of a release: how it is shown, and the command ``airlock evidence``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from registry.cli.settings import AirlockCommand, Settings, pass_settings
from registry.content.reference import parse_selector
from registry.errors import NotFound
from registry.store.blobs import LocalBlobStore
from registry.trust.statement import OMS, Evidence, Release, parse_statement
from registry.workflow.evidence import Written, write_evidence
from registry.workflow.site import read_site

__all__ = ["evidence_command", "evidence_json", "evidence_lines"]

_existing = click.Path(path_type=Path)


def evidence_json(release: Release) -> list[dict[str, Any]]:
    """Return a release's evidence for ``--json``."""
    return [_members(each) for each in release.evidence]


def evidence_lines(release: Release) -> str:
    """Return a release's evidence as lines of ``airlock show``, each after a newline."""
    return "".join(
        f"\nevidence   {'OMS by the publisher' if each.kind == OMS else f'OMS by upstream, as {each.name}'}, key {each.key.fingerprint[:8]}"
        for each in release.evidence
    )


@click.command("evidence", cls=AirlockCommand)
@click.argument("name")
@click.option("--to", "directory", required=True, type=_existing, metavar="DIR", help="Where to write the files.")
@click.option("--with-model", is_flag=True, help="Also copy the model's files there, under the names that were signed.")
@pass_settings
def evidence_command(settings: Settings, name: str, directory: Path, *, with_model: bool) -> None:
    r"""Write a release's OMS signatures for auditors, and say how they verify them.

    Without --with-model the command that is printed verifies the copy that an Ollama node pulled.

    \b
    Example:
      airlock evidence library/gemma3:270m --to audit
    """
    settings.unchanged = "what is stored and served has not changed"
    selector = parse_selector(name)
    with read_site(settings.home) as log:
        found = [each for each in log.releases_of(selector.reference) if selector.number in (None, each.number)]
        stated = [parse_statement(log.document(each.statement), what=f"statement of {each.name}") for each in found]
    if not found:
        raise NotFound(f"{selector}: no such release here", hint="airlock list shows every release")
    blobs = LocalBlobStore(settings.home.blobs)
    written = [each for release in stated for each in write_evidence(blobs, release, directory, with_model=with_model)]
    document = [{"name": str(each.release.reference), "release": each.release.number, **_written_json(each)} for each in written]
    settings.output.result(document, "\n".join(map(_describe, written)) or "no evidence came with this model")
    settings.output.next_step(*(each.command for each in written if each.command))


def _members(each: Evidence) -> dict[str, Any]:
    return {
        "kind": each.kind,
        "digest": each.bundle.digest,
        "size": each.bundle.size,
        "media_type": each.bundle.media_type,
        "key": each.key.fingerprint,
        "signed_name": each.name,
        "files": dict(each.files),
    }


def _written_json(each: Written) -> dict[str, Any]:
    paths = {"bundle": str(each.bundle), "public_key": str(each.key), "model": str(each.model) if each.model else None}
    return {**_members(each.evidence), **paths, "command": each.command}


def _describe(each: Written) -> str:
    model = f"\nfiles      {each.model}" if each.model else ""
    return f"{each.release.name}  {each.evidence.kind}\nsignature  {each.bundle}\nkey        {each.key}  {each.evidence.key.fingerprint}{model}"
