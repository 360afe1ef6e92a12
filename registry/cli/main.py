"""The command ``airlock``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from registry import __version__
from registry.cli.journey import Journey
from registry.cli.output import print_error
from registry.cli.settings import AirlockGroup, Settings
from registry.errors import AirlockError, Interrupted, Usage

__all__ = ["airlock", "main"]

_COMMANDS = Journey(
    {
        "init": "outside:init_command",
        "pin": "outside:pin_command",
        "pins": "outside:pins_command",
        "plan": "exporting:plan_command",
        "export": "exporting:export_command",
        "inspect": "outside:inspect_command",
        "key": "signers:key_group",
        "root": "signers:root_group",
        "release": "signers:release_group",
        "sign": "signers:sign_command",
        "withdraw": "signers:withdraw_command",
        "site": "inside:site_group",
        "trust": "trust:trust_group",
        "import": "importing:import_command",
        "repair-request": "repairs:repair_request_command",
        "adopt": "receipts:adopt_command",
        "list": "inside:list_command",
        "show": "inside:show_command",
        "evidence": "evidence:evidence_command",
        "approve": "inside:approve_command",
        "promote": "inside:promote_command",
        "rollback": "inside:rollback_command",
        "serve": "serve:serve_command",
        "log": "inside:log_command",
        "check": "inside:check_command",
        "people": "people:people_group",
        "proposals": "people:proposals_command",
        "confirm": "people:confirm_command",
        "reject": "people:reject_command",
        "clock": "people:clock_group",
        "restore": "people:restore_command",
        "recipient": "recipients:recipient_group",
        "escrow": "recipients:escrow_group",
        "station": "station:station_group",
        "node": "nodes:node_group",
        "access": "nodes:access_group",
        "token": "nodes:token_group",
        "journal": "nodes:journal_group",
        "receipt": "receipts:receipt_command",
        "medium": "custody:medium_group",
        "status": "status:status_command",
    }
)


@click.group(name="airlock", cls=AirlockGroup, commands=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="airlock")
def airlock() -> None:
    r"""Carry pinned, signed models across an air gap and serve them to Ollama.

    \b
    outside   init, pin, pins, plan, export, inspect, withdraw, recipient, escrow new, station recover
    signers   key, root, release prepare, sign
    inside    site init, trust, import, repair-request, adopt, list, show, evidence, approve, promote, rollback, serve
    nodes     node, access, token, journal
    people    people, proposals, confirm, reject, clock reset, restore
    both      receipt, medium, status, log, check

    \b
    Exit codes: 0 ok or nothing to do, 1 other, 2 usage, 3 refused (trust, policy, structure),
    4 older and adds nothing, 5 part or medium missing or damaged, 6 not found,
    7 our store, 130 interrupted.
    """


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
