"""Slots: the directories where media are mounted while a set is written, one medium after another."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from registry.errors import MediumDamaged, NotFound
from registry.media.planner import Span
from registry.store.files import storage_errors
from registry.store.medium import folder_on
from registry.workflow.medium_notes import read_medium_note

__all__ = ["AskNext", "Slot", "Slots", "open_slots"]

AskNext = Callable[[str], None]
"""Asks somebody to do what the sentence says, and returns when they did."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A directory where a medium is mounted, and how many bytes a medium takes there."""

    path: Path
    capacity: int


@dataclass(frozen=True, slots=True)
class Slots:
    """The slots at hand.  With ``ask`` the media of the last slot can be changed, so that one slot does for any number of media."""

    slots: tuple[Slot, ...]
    ask: AskNext | None

    @property
    def capacities(self) -> list[int]:
        """Bytes that each medium takes."""
        return [each.capacity for each in self.slots]

    @property
    def paths(self) -> list[Path]:
        """Where the media are mounted."""
        return list(dict.fromkeys(each.path for each in self.slots))

    def find(self, set_id: str, number: int, span: Span) -> Path:
        """Return where medium ``number`` of a set is mounted, or an empty one that takes its parts.

        Args:
            set_id: the set.
            number: the medium, counted from 1.
            span: its parts.

        Raises:
            MediumDamaged: no such medium is there, and nobody can be asked.
        """
        while True:
            held = {path: medium_number(path, set_id) for path in self.paths if path.is_dir()}
            for path, found in held.items():
                if found == number:
                    return path
            preferred = self.slots[span.slot].path if span.slot < len(self.slots) else self.paths[-1]
            empty = [path for path, found in held.items() if found is None]
            for path in sorted(empty, key=lambda path: path != preferred):
                if min(free_bytes(path), self._limit(path)) >= span.size:
                    return path
            full = f"{', '.join(map(str, empty))}: less than {span.size:,} bytes are free" if empty else ""
            here = [
                f"{f'medium {found}' if found else 'another folder'} of this set is in {path}" for path, found in held.items() if found is not None
            ]
            why = full or "; ".join(here) or "no medium is mounted"
            if self.ask is None:
                raise MediumDamaged(
                    f"set {set_id}: no medium takes parts {span.first} to {span.last}",
                    why=why,
                    hint=f"mount a medium with {span.size:,} bytes free and run the same command again; what is written stays",
                )
            self.ask(f"Insert medium {number}, with {span.size:,} bytes free, into {preferred} (now: {why})")

    def _limit(self, path: Path) -> int:
        """Return what a medium takes at most that is mounted for good; where media are changed, what was there first says nothing of the next one."""
        return sys.maxsize if self.ask else max(each.capacity for each in self.slots if each.path == path)


def open_slots(paths: Sequence[Path], sizes: Sequence[int], ask: AskNext | None) -> Slots:
    """Return the slots for media of these sizes (bytes; none: whatever is free) mounted at ``paths``.

    With fewer sizes than directories the last size counts for the rest; with more, the media of the last directory are changed.

    Raises:
        NotFound: a directory is not there.
    """
    for path in paths:
        if not path.is_dir():
            raise NotFound(f"{path}: not a directory", hint="name the directory where the medium is mounted, such as /media/usb")
    count = max(len(paths), len(sizes) if ask else 0)
    slots = []
    for number in range(count):
        path = paths[min(number, len(paths) - 1)]
        size = sizes[min(number, len(sizes) - 1)] if sizes else None
        free = free_bytes(path) if number < len(paths) else None  # what comes later is not mounted yet
        slots.append(Slot(path, min(each for each in (size, free) if each is not None)))
    return Slots(tuple(slots), ask)


def free_bytes(path: Path) -> int:
    """Return how many bytes can be written to the file system at ``path``.

    Raises:
        MediumDamaged: none, because it is mounted read-only; or nobody can tell.
    """
    with storage_errors(f"the medium {path}", kind=MediumDamaged):
        status = os.statvfs(path)
        if status.f_flag & os.ST_RDONLY:  # a disc is always full, and that's not what is wrong with it
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
    return status.f_bavail * status.f_frsize if status.f_blocks else sys.maxsize  # some FUSE file systems say 0 of 0


def medium_number(path: Path, set_id: str) -> int | None:
    """Return which medium of a set the one at ``path`` says it is, 0 where it doesn't say so, None where no such set is on it (yet)."""
    folder = folder_on(path, set_id)
    if folder is None or "set.json" not in folder.files:
        return None  # it comes last of the small files: an export that was stopped before it begins this medium once more
    note = read_medium_note(folder)
    return note.medium if note else 0
