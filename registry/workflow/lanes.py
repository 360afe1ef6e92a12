"""Lanes: runs of a set's parts that are written side by side, where there are cores for it.

SHA-256 can't be divided: one object takes one core.  So a run ends where another object begins, and each lane hashes its objects alone.  The part in
which an object begins may belong to the lane before: this one then hashes the beginning from the source, and both must have seen the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import nullcontext
from pathlib import Path
from threading import Event, Lock

from registry.content.digest import Digest
from registry.errors import Interrupted, TrustRefused
from registry.media.index import Index
from registry.workflow.parts import Parts
from registry.workflow.progress import Advance

__all__ = ["write_parts"]

_SHORTEST_RUN = 4  # of which at most one part is read twice
_MOST_LANES = 4  # each has a ring of 16 MiB


def write_parts(parts: Parts, folder: Path, numbers: Sequence[int], advance: Advance) -> None:
    """Write parts as :meth:`Parts.write` does, in as many lanes as there are pairs of cores: one hashes while the other seals."""
    runs = _runs(parts.index, [number for number in numbers if number <= parts.index.parts], _lanes())
    if len(runs) > 1:
        _write_side_by_side(parts, folder, runs, advance)
        numbers = [number for number in numbers if number > parts.index.parts]
    parts.write(folder, numbers, advance)


def _lanes() -> int:
    return min(_MOST_LANES, len(os.sched_getaffinity(0)) // 2)


def _runs(index: Index, numbers: Sequence[int], lanes: int) -> list[list[int]]:
    """Return consecutive runs of parts, about as many as there are lanes, each ending where an object ends or has just begun."""
    enough = max(_SHORTEST_RUN, len(numbers) // max(1, lanes))
    runs: list[list[int]] = [[]]
    for number in numbers:
        crossing = index.crossing(number - 1)
        if len(runs[-1]) >= enough and (crossing is None or crossing.start == 0):
            runs.append([])
        runs[-1].append(number)
    return runs


def _write_side_by_side(parts: Parts, folder: Path, runs: Sequence[list[int]], advance: Advance) -> None:
    lanes = [parts, *(parts.beside() for _ in runs[1:])]
    stopped, lock = Event(), Lock()

    def advance_alone(length: int) -> None:
        if stopped.is_set():
            raise Interrupted("another lane has stopped")
        with lock:
            advance(length)

    def work(lane: Parts, run: list[int]) -> tuple[Digest | None, Digest | None]:
        try:
            with nullcontext() if lane is parts else lane:
                begun = None if lane is parts else lane.begin_after(run[0] - 1)
                lane.write(folder, run, advance_alone)
                return begun, lane.passed(run[-1])
        except BaseException:
            stopped.set()
            raise

    with ThreadPoolExecutor(len(lanes), thread_name_prefix="airlock-lane") as pool:
        tasks = [pool.submit(work, lane, run) for lane, run in zip(lanes, runs, strict=True)]
        try:
            wait(tasks)
        except BaseException:  # Ctrl-C: the lanes must not go on to the end of their runs
            stopped.set()
            raise
    try:
        _raise_first([task.exception() for task in tasks])
        ends = [task.result() for task in tasks]
        for run, (_, passed), (begun, _) in zip(runs, ends, ends[1:], strict=False):
            if begun != passed:
                raise parts.changed_after(run[-1])
    except TrustRefused:
        parts.remove(folder, [run[-1] for run in runs[:-1]])  # they hold the beginning of what another lane found to be something else
        raise
    for lane in lanes[1:]:
        parts.take_over(lane)


def _raise_first(errors: Sequence[BaseException | None]) -> None:
    """Raise what stopped the lanes: not what the others ended with because of it."""
    found = [each for each in errors if each is not None]
    for each in sorted(found, key=lambda each: isinstance(each, Interrupted)):
        raise each
