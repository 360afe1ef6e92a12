"""The command ``status``."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from registry.cli.settings import AirlockCommand, Settings, pass_settings
from registry.workflow.status import status

__all__ = ["status_command"]

_HEADINGS = {"waits": "waits for somebody", "ends": "ends within 60 days, or has ended", "single": "single points of failure"}


@click.command("status", cls=AirlockCommand)
@pass_settings
def status_command(settings: Settings) -> None:
    r"""Say what waits for somebody, what ends within 60 days, and what hangs on a single key; no passphrase is needed.

    \b
    Example:
      airlock status
    """
    notices = status(settings.home, now=datetime.now(UTC))
    lines: list[str] = []
    for kind, heading in _HEADINGS.items():
        found = [each for each in notices if each.kind == kind]
        if found:
            lines += [*([""] if lines else []), heading]
            lines += [line for each in found for line in (f"  {each.sentence}", f"    {each.command}")]
    document = {
        "kind": settings.home.kind(),
        "notices": [{"kind": each.kind, "sentence": each.sentence, "next": each.command} for each in notices],
    }
    settings.output.result(document, "\n".join(lines) or "nothing waits")
