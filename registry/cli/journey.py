"""Commands by name, each imported when it is asked for: no command waits for the imports of the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module

import click

__all__ = ["Journey"]


class Journey(MutableMapping[str, click.Command]):
    """The commands of a group in the order of the journey.  Names cost nothing; ``--help`` of the group imports them all.

    Args:
        places: the name of each command, and where it is: ``module:attribute``, the module one of ``registry.cli``.
    """

    def __init__(self, places: Mapping[str, str]) -> None:
        self._commands: dict[str, click.Command | str] = dict(places)

    def __getitem__(self, name: str) -> click.Command:
        found = self._commands[name]
        if isinstance(found, str):
            module, _, attribute = found.partition(":")
            found = self._commands[name] = getattr(import_module(f"registry.cli.{module}"), attribute)
        return found

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._commands[name] = command

    def __delitem__(self, name: str) -> None:
        del self._commands[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._commands)

    def __len__(self) -> int:
        return len(self._commands)
