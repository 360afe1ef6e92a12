"""Folders of airlock's own on a medium, whatever letters a kiosk left them in."""

from __future__ import annotations

from pathlib import Path

from registry.errors import FormatRefused
from registry.store.files import fsync_directory

__all__ = ["make_folder", "named_folder"]


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


def make_folder(directory: Path, name: str) -> Path:
    """Return the folder of this name in ``directory``, which is made if it isn't there."""
    folder = named_folder(directory, name)
    if folder is None:
        folder = directory / name
        folder.mkdir()
        fsync_directory(directory)
    return folder
