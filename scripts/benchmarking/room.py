"""Decide where a measurement fits: in memory or on disk."""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "KB": 10**3, "MB": 10**6, "GB": 10**9}
FOR_PROGRAMS = 3 << 30  # memory that the programs and everybody else keep
SLACK = 1.02  # seals, tags, directories


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run works, what backs it, and why something has to be left out there (or None)."""

    directory: Path
    backed: str
    without_import: str | None = None


def parse_size(text: str) -> int:
    """Return the bytes of ``2GiB`` or ``64GB``."""
    unit = next((each for each in UNITS if text.endswith(each)), None)
    if unit is None or not text.removesuffix(unit).isdecimal():
        raise ValueError(f"{text!r} is no size; like 2GiB or 64GB")
    return int(text.removesuffix(unit)) * UNITS[unit]


def free(directory: Path) -> int:
    """Return the bytes that may be written there; no more than the memory that is free, if memory is what backs it."""
    room = shutil.disk_usage(directory).free
    return min(room, available_memory() - FOR_PROGRAMS) if is_memory(directory) else room


def is_memory(directory: Path) -> bool:
    """Tell whether a directory lies in memory."""
    mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    where = directory.resolve()
    over = [(len(point), kind) for point, kind in mounts if where.is_relative_to(point)]
    return max(over, default=(0, ""))[1] in {"tmpfs", "ramfs"}


def available_memory() -> int:
    """Return the bytes of memory that programs could still have."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable"))


def choose(size: int, *, holes: bool, candidates: list[Path]) -> Place | str:
    """Return the first place with room for source, medium and store; one without the store if the source is holes; or why there is none."""
    written = int(size * SLACK)
    source = 0 if holes else written
    looked = []
    for each in candidates:
        if not each.is_dir():
            continue
        room, backed = free(each), "memory" if is_memory(each) else "disk"
        if source + 2 * written <= room:
            return Place(each, backed)
        lacking = f"{each}: source, medium and store take {(source + 2 * written) / 1e9:.0f} GB, {max(room, 0) / 1e9:.0f} are free"
        if holes and written <= room:
            return Place(each, backed, without_import=lacking)
        looked.append(lacking)
    return "; ".join(looked) or "no such directory"


def forget(*paths: Path) -> None:
    """Drop files from the page cache, so that each run reads them from where they lie.  In memory that is nothing."""
    for each in (file for path in paths for file in ([path] if path.is_file() else path.rglob("*"))):
        with contextlib.suppress(OSError), each.open("rb") as stream:
            os.fsync(stream.fileno())
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def empty(directory: Path) -> None:
    """Make a directory, or remove what is in it."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
