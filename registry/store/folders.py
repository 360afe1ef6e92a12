"""Folders of airlock's own on a medium, whatever letters a kiosk left them in."""

from __future__ import annotations

from pathlib import Path

from registry.errors import FormatRefused
from registry.media.sets import FOLDER
from registry.store.files import fsync_directory, sweep_temporaries

__all__ = ["make_unlinked", "named_folder", "own_folder"]


def named_folder(directory: Path, name: str) -> Path | None:
    """Return the folder of this name (lower case) in ``directory``, or None.

    Raises:
        FormatRefused: it is a link or a file, or there are twins.
        OSError: as the operating system says.
    """
    named = [entry for entry in directory.iterdir() if entry.name.lower() == name]
    if len(named) > 1:
        raise FormatRefused(f"{directory}: more than one folder is called {name}", why="their names differ in letter case only")
    if named and (named[0].is_symlink() or not named[0].is_dir()):
        raise FormatRefused(f"{named[0]}: not a folder", why="links and files have no place there", hint="use another medium, and keep this one")
    return named[0] if named else None


def own_folder(medium: Path, name: str) -> Path:
    """Return the folder ``airlock/NAME`` of a medium, made where it isn't there, and swept of what an interrupted writer left in it."""
    folder = _made(_made(medium, FOLDER), name)
    sweep_temporaries(folder)
    return folder


def make_unlinked(*folders: Path) -> None:
    """Make folders on a medium, the outer ones first.

    Raises:
        FormatRefused: one of them is a link: whoever prepared it would have us write where they like.
    """
    for folder in folders:
        if folder.is_symlink():
            raise FormatRefused(f"{folder}: is a link", why="nothing is ever written through a link", hint="use another medium, and keep this one")
        folder.mkdir(exist_ok=True)


def _made(directory: Path, name: str) -> Path:
    folder = named_folder(directory, name)
    if folder is None:
        folder = directory / name
        folder.mkdir()
        fsync_directory(directory)
    return folder
