"""Tell what a running process and its children have used so far."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection
from pathlib import Path

_WHOLE_PROCESS = 2  # CPUCLOCK_SCHED
_LOOK = 0.2  # seconds between two looks
_NEXT_TO_NOTHING = 0.01  # of a core


def cpu_of(pid: int) -> float:
    """Return the CPU seconds of a process and its children, all their threads included, those that have ended too.

    The clock is the one that ``clock_getcpuclockid`` gives (Python has no name for it); /proc counts in hundredths of a second, which is too coarse
    for rounds of a second.
    """
    return sum(time.clock_gettime((~each << 3) | _WHOLE_PROCESS) for each in family(pid))


def peak_of(pid: int) -> int:
    """Return the peak memory of the largest of a process and its children, in bytes."""
    texts = [Path(f"/proc/{each}/status").read_text() for each in family(pid)]
    return max(int(line.split()[1]) * 1024 for text in texts for line in text.splitlines() if line.startswith("VmHWM"))


def wait_until_quiet(pids: Collection[int], *, most: float = 10.0) -> None:
    """Return when processes and their children use next to nothing, or after ``most`` seconds."""
    until, before, used = time.monotonic() + most, -1.0, sum(map(cpu_of, pids))
    while used - before > _LOOK * _NEXT_TO_NOTHING and time.monotonic() < until:
        time.sleep(_LOOK)
        before, used = used, sum(map(cpu_of, pids))


def family(pid: int) -> list[int]:
    """Return a process and its children."""
    found = [pid]
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += family(int(child))
    return found
