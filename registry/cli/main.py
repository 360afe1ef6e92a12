"""The command ``airlock``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from registry import __version__
from registry.cli.custody import COMMANDS as CUSTODY
from registry.cli.inside import COMMANDS as INSIDE
from registry.cli.nodes import COMMANDS as NODES
from registry.cli.output import print_error
from registry.cli.outside import COMMANDS as OUTSIDE
from registry.cli.people import COMMANDS as PEOPLE
from registry.cli.receipts import COMMANDS as RECEIPTS
from registry.cli.recipients import COMMANDS as RECIPIENTS
from registry.cli.settings import AirlockGroup, Settings
from registry.cli.signers import COMMANDS as SIGNERS
from registry.cli.station import COMMANDS as STATION
from registry.cli.status import status_command
from registry.errors import AirlockError, Interrupted, Usage

__all__ = ["airlock", "main"]


@click.group(name="airlock", cls=AirlockGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="airlock")
def airlock() -> None:
    r"""Carry pinned, signed models across an air gap and serve them to Ollama.

    \b
    outside   init, pin, pins, export, inspect, withdraw, recipient, escrow new, station recover
    signers   key, root, release prepare, sign
    inside    site init, trust, import, adopt, list, show, evidence, approve, promote, rollback, serve
    nodes     node, access, token, journal
    people    people, proposals, confirm, reject, clock reset, restore
    both      receipt, medium, status, log, check

    \b
    Exit codes: 0 ok or nothing to do, 1 other, 2 usage, 3 refused (trust, policy, structure),
    4 older and adds nothing, 5 part or medium missing or damaged, 6 not found,
    7 our store, 130 interrupted.
    """


for _command in (*OUTSIDE, *SIGNERS, *INSIDE, *PEOPLE, *RECIPIENTS, *RECEIPTS, *STATION, *NODES, *CUSTODY, status_command):
    airlock.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    settings = Settings()
    try:
        result = airlock.main(args=arguments, prog_name="airlock", standalone_mode=False, obj=settings)
        sys.stdout.flush()
        return int(result) if isinstance(result, int) else 0
    except AirlockError as error:
        return _end(error, settings)
    except click.UsageError as error:
        settings.json = settings.json or "--json" in (sys.argv[1:] if arguments is None else arguments)  # it may stand behind what can't be parsed
        command = error.ctx.command_path if error.ctx else "airlock"
        return _end(Usage(error.format_message(), hint=f"{command} --help shows what it takes, with an example"), settings)
    except (click.Abort, KeyboardInterrupt):
        return _end(Interrupted("interrupted", hint="the same command continues where it stopped"), settings)
    except SystemExit:
        return 0  # click leaves so, and only so, when whoever read us has gone
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read us has gone; the interpreter must not complain at its end
        return 0


def _end(error: AirlockError, settings: Settings) -> int:
    error.unchanged = error.unchanged or settings.unchanged
    print_error(error, as_json=settings.json)
    return error.exit_code
