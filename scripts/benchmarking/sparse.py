"""Tell the peak memory of carrying one huge model, made of holes so that it takes no room itself."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarking.models import write_model
from benchmarking.room import SLACK, free
from benchmarking.stations import Pair

LIMIT = 200  # MB


def peaks(size: int, disk: Path) -> dict[str, float | str]:
    """Pin, export with reading back, and import a model of ``size``; return each one's peak in MB, or why it was left out."""
    sealed, spare = int(size * SLACK), 8 << 30
    if free(disk) < sealed:
        return {"pin, export, import": f"left out: the medium takes {sealed / 1e9:.0f} GB, {free(disk) / 1e9:.0f} are free on {disk}"}
    with tempfile.TemporaryDirectory(dir=disk, prefix="airlock-bench.") as name, contextlib.ExitStack() as stack:
        root = Path(name)
        found: dict[str, float | str] = {}
        why_not = None if free(disk) >= 2 * sealed else stack.enter_context(_compressed(root / "in", sealed + spare))
        write_model(root / "model.gguf", size, name="bench", holes=True)
        pair = Pair(root)
        found["pin"] = pair.set_up([root / "model.gguf"])["memory"]
        found["export"] = pair.export()["memory"]
        found["import"] = pair.run("in", "import", "medium")["memory"] if why_not is None else f"left out: {why_not}"
        return found


@contextlib.contextmanager
def _compressed(directory: Path, size: int) -> Iterator[str | None]:
    """Mount a compressing file system, on which zeros take next to nothing; yield why that can't be, or None."""
    if os.geteuid() != 0 or not shutil.which("mkfs.btrfs"):
        yield "no room for a second copy; as root and with mkfs.btrfs (btrfs-progs) it would go to a compressing file system"
        return
    image = directory.with_suffix(".img")
    with image.open("wb") as stream:
        stream.truncate(size)
    directory.mkdir()
    subprocess.run(["mkfs.btrfs", "--quiet", image], check=True, capture_output=True)
    done = subprocess.run(["mount", "-o", "loop,compress-force=zstd:1", image, directory], check=False, capture_output=True, text=True)
    if done.returncode:
        yield f"no room for a second copy, and a compressing file system can't be mounted here: {done.stderr.strip()}"
        return
    try:
        yield None
    finally:
        subprocess.run(["umount", directory], check=True)
