"""Commands of the people at a site, and of what takes two of them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from registry.cli.output import table
from registry.cli.settings import ActorCommand, AirlockCommand, AirlockGroup, Settings, pass_settings
from registry.workflow.keyring import parse_public_key
from registry.workflow.people import Labelled, Outcome, add_key, add_person, leave, list_people
from registry.workflow.proposals import Described, confirm_proposal, list_proposals, reject_proposal
from registry.workflow.restore import restore
from registry.workflow.trust import clock_reset

__all__ = ["clock_group", "confirm_command", "people_group", "proposals_command", "reject_command", "restore_command", "tell_proposal"]

_file = click.Path(path_type=Path)
_number = click.argument("number", type=click.IntRange(min=1), metavar="N")
_key = click.option("--key", type=_file, required=True, metavar="FILE", help="Their public key, from: airlock key show NAME --to FILE")


@click.group("people", cls=AirlockGroup)
def people_group() -> None:
    """Say who may act at this site."""


@people_group.command("add", cls=ActorCommand)
@click.argument("label")
@_key
@pass_settings
def people_add_command(settings: Settings, label: str, *, key: Path) -> None:
    r"""Enrol a person by a key of their own.  LABEL stays in this home; the log holds only the key's id.

    Once two people are enrolled, enrolling another takes two.

    \b
    Example:
      airlock people add pharmacy-2 --key pharmacy-2.pub
    """
    settings.unchanged = "nobody was enrolled"
    public = parse_public_key(key)
    settings.confirm(f"Enrol {label} with key {public.keyid}? Compare the key id with them.")
    _tell_person(settings, add_person(settings.home, label, public, settings.credentials, now=datetime.now(UTC)), "enrolled")


@people_group.command("add-key", cls=ActorCommand)
@_key
@pass_settings
def people_add_key_command(settings: Settings, *, key: Path) -> None:
    r"""Give yourself a further key.  It counts as the same person.

    \b
    Example:
      airlock people add-key --key token.pub --actor ~/me
    """
    settings.unchanged = "no key was added"
    _tell_person(settings, add_key(settings.home, parse_public_key(key), settings.credentials, now=datetime.now(UTC)), "added a key of")


@people_group.command("list")
@pass_settings
def people_list_command(settings: Settings) -> None:
    r"""List who may act here, and who could.

    \b
    Example:
      airlock people list
    """
    people = list_people(settings.home)
    rows = [(each.person.person[:8], each.label or "-", ", ".join(key.keyid[:8] for key in each.person.keys), _since(each)) for each in people]
    settings.output.result([_person_json(each) for each in people], table(("PERSON", "LABEL", "KEYS", "STATE"), rows))


@people_group.command("leave", cls=ActorCommand)
@click.argument("label")
@pass_settings
def people_leave_command(settings: Settings, label: str) -> None:
    r"""Let a person leave: none of their keys acts here any more.  LABEL may be the beginning of the person's id.

    Where it would leave one person alone it takes two.

    \b
    Example:
      airlock people leave pharmacy-2
    """
    settings.unchanged = "nobody left"
    settings.confirm(f"Let {label} leave? Their keys can never be enrolled again.")
    _tell_person(settings, leave(settings.home, label, settings.credentials, now=datetime.now(UTC)), "left")


@click.command("proposals", cls=AirlockCommand)
@pass_settings
def proposals_command(settings: Settings) -> None:
    r"""List the acts that wait for a second person.

    \b
    Example:
      airlock proposals
    """
    waiting = list_proposals(settings.home)
    rows = [(str(each.proposal.seq), each.proposal.proposed, each.by, each.sentence) for each in waiting]
    text = table(("N", "PROPOSED", "BY", "ACT"), rows) if rows else "nothing waits for a second person"
    settings.output.result([_proposal_json(each) for each in waiting], text)
    settings.output.next_step(*(f"airlock confirm {each.proposal.seq}" for each in waiting))


@click.command("confirm", cls=ActorCommand)
@_number
@pass_settings
def confirm_command(settings: Settings, number: int) -> None:
    r"""Carry out what another person proposed.

    \b
    Example:
      airlock confirm 17 --actor ~/me
    """
    settings.unchanged = "the proposal has not taken effect"

    def ask(described: Described) -> None:
        settings.confirm(f"{described.by} proposes to {described.sentence}. Confirm?")

    done = confirm_proposal(settings.home, number, settings.credentials, ask, now=datetime.now(UTC))
    settings.output.result({**_proposal_json(done), "state": "confirmed"}, f"confirmed  {done.sentence}")


@click.command("reject", cls=ActorCommand)
@_number
@pass_settings
def reject_command(settings: Settings, number: int) -> None:
    r"""End a proposal without effect; whoever proposed it may, too.

    \b
    Example:
      airlock reject 17
    """
    settings.unchanged = "the proposal still waits"

    def ask(described: Described) -> None:
        settings.confirm(f"Reject: {described.sentence}?")

    done = reject_proposal(settings.home, number, settings.credentials, ask, now=datetime.now(UTC))
    settings.output.result({**_proposal_json(done), "state": "rejected"}, f"rejected  {done.sentence}")


@click.group("clock", cls=AirlockGroup)
def clock_group() -> None:
    """Mend what a wrong clock left behind."""


@clock_group.command("reset", cls=ActorCommand)
@pass_settings
def clock_reset_command(settings: Settings) -> None:
    r"""Propose to forget the newest time of issue that was accepted here.  It takes two people.

    It is needed after a set was accepted while this machine's clock, and the station's, stood in the future.

    \b
    Example:
      airlock clock reset
    """
    settings.unchanged = "the newest time of issue stays on record"
    tell_proposal(settings, clock_reset(settings.home, settings.credentials, now=datetime.now(UTC)))


@click.command("restore", cls=ActorCommand)
@pass_settings
def restore_command(settings: Settings) -> None:
    r"""Go on after the database was lost or put back from an older copy.  It takes two people.

    Nothing is served until the newest set has been imported.

    \b
    Example:
      airlock restore
    """
    settings.unchanged = "the site still waits to be restored"
    settings.confirm("Restore this site? Nothing is served until the newest set has been imported.")
    done = restore(settings.home, settings.credentials, now=datetime.now(UTC))
    if done.proposal is not None:
        tell_proposal(settings, done.proposal)
        return
    document = {"epoch": done.epoch, "witnessed": done.witnessed, "proposal": None}
    text = f"epoch      {done.epoch}, after event {done.witnessed}\nIt takes two people to go on, and one is enrolled."
    settings.output.result(document, text)
    settings.output.next_step(
        "airlock people add LABEL --key FILE.pub", "airlock restore   # again", "airlock confirm N --actor DIR   # the second person"
    )


def tell_proposal(settings: Settings, described: Described) -> None:
    """Show a proposal that was just made, and how it goes on."""
    number = described.proposal.seq
    settings.output.result(_proposal_json(described), f"proposed   {described.sentence}\nIt takes effect when another person confirms it.")
    settings.output.next_step(f"airlock confirm {number} --actor DIR   # another person, with their own key")


def _tell_person(settings: Settings, outcome: Outcome, done: str) -> None:
    if outcome.proposal is not None:
        tell_proposal(settings, outcome.proposal)
        return
    settings.output.result({"person": outcome.person, "label": outcome.label, "proposal": None}, f"{done}  {outcome.label or outcome.person[:8]}")


def _proposal_json(each: Described) -> dict[str, Any]:
    found = each.proposal
    return {
        "proposal": found.seq,
        "act": found.act,
        "subject": dict(found.subject),
        "by": found.person,
        "proposed": found.proposed,
        "sentence": each.sentence,
        "state": found.state,
    }


def _since(each: Labelled) -> str:
    return f"left {each.person.left}" if each.person.left else "may act"


def _person_json(each: Labelled) -> dict[str, Any]:
    return {"person": each.person.person, "label": each.label, "keys": [key.keyid for key in each.person.keys], "left": each.person.left}
