"""The table of the commands names every command, and asking for one loads no other's."""

import importlib
import pkgutil
import subprocess
import sys

import click
import pytest

import registry.cli
from registry.cli.journey import Journey
from registry.cli.main import airlock


def everything_below(group):
    for command in group.commands.values():
        yield command
        if isinstance(command, click.Group):
            yield from everything_below(command)


def test_each_name_of_the_table_is_that_of_its_command():
    assert len(airlock.commands) > 30
    for name, command in airlock.commands.items():
        assert command.name == name


def test_every_command_of_the_code_is_in_the_table():
    reached = set(map(id, everything_below(airlock))) | {id(airlock)}
    modules = [importlib.import_module(f"registry.cli.{each.name}") for each in pkgutil.iter_modules(registry.cli.__path__)]
    made = {each.name: each for module in modules for each in vars(module).values() if isinstance(each, click.Command)}
    assert len(made) > 30
    assert [name for name, each in made.items() if id(each) not in reached] == []


def test_help_lists_the_commands_in_the_order_of_the_table():
    context = click.Context(airlock)
    lines = airlock.get_help(context).partition("\nCommands:\n")[2].splitlines()
    assert [line.split()[0] for line in lines if line.startswith("  ") and line[2] != " "] == list(airlock.commands)


def loaded_by(statement):
    code = f"import sys\nfrom registry.cli.main import airlock, run\n{statement}\nprint(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize(
    ("statement", "unwanted"),
    [
        ("run(['--version'])", {"registry.cli.outside", "cryptography", "tuf", "sqlite_utils", "tqdm", "aiohttp"}),
        ("airlock.commands['export']", {"registry.cli.inside", "tuf.ngclient", "urllib3", "tqdm", "aiohttp"}),
        ("airlock.commands['import']", {"registry.cli.outside", "urllib3", "tqdm", "aiohttp", "cryptography.x509"}),
        ("airlock.commands['serve']", {"registry.cli.inside", "registry.cli.outside", "sqlite_utils", "tuf", "aiohttp"}),
    ],
    ids=["--version", "export", "import", "serve"],
)
def test_what_a_command_does_not_wait_for(statement, unwanted):
    assert unwanted & loaded_by(statement) == set()


def test_a_command_that_is_not_there():
    journey = Journey({"init": "outside:init_command"})
    assert "nothing" not in journey
    assert journey.get("nothing") is None
    assert len(journey) == 1


def test_a_group_takes_and_gives_up_commands_as_ever():
    group = click.Group("group", commands=Journey({"init": "outside:init_command"}))
    group.add_command(click.Command("more"))
    assert list(group.commands) == ["init", "more"]
    del group.commands["init"]
    assert list(group.commands) == ["more"]
