"""Tell how long a server takes to answer for the manifest, while it has nothing else to do and while it is busy."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from benchmarking.certificate import HOST
from benchmarking.lineup import Contestant
from benchmarking.shelf import Shelf

from registry.content.manifest import MANIFEST_TYPE

PROGRAM = Path(__file__).with_name("probe.py")
ADDRESS = "127.0.0.2"  # no node's
CONNECTIONS = 32  # when all of them still wait for answers, the next request waits for one of them, and its time counts from when it was due


@dataclass(slots=True)
class Latency:
    """What was measured, round by round: milliseconds from the moment at which a request was due, those until it was sent, and what failed."""

    rounds: list[list[float]] = field(default_factory=list)
    late: list[list[float]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    priority: int = 0

    def add(self, found: dict[str, Any]) -> None:
        """Take in one round."""
        self.rounds.append(found["milliseconds"])
        self.late.append(found["late"])
        self.errors += found["errors"]
        self.priority = found["priority"]

    def quantile(self, share: float) -> float:
        """Return the milliseconds within which this share of all requests was answered; those of all rounds count as one lot."""
        return quantile([each for one in self.rounds for each in one], share)

    def as_json(self) -> dict[str, Any]:
        """Return everything."""
        late = [each for one in self.late for each in one]
        return {
            "p50": self.quantile(0.5),
            "p99": self.quantile(0.99),
            "max": self.quantile(1.0),
            "sent_late_p50": quantile(late, 0.5),
            "sent_late_p99": quantile(late, 0.99),
            "requests": sum(map(len, self.rounds)),
            "errors": self.errors,
            "priority": self.priority,
            "milliseconds": self.rounds,
        }


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of the values doesn't exceed; not a number if there are none."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)] if values else math.nan


@dataclass(frozen=True, slots=True)
class Pace:
    """``count`` requests, one each ``every`` seconds."""

    count: int
    every: float


@contextmanager
def probing(contestant: Contestant, shelf: Shelf, pace: Pace, lead: float) -> Iterator[Callable[[], IO[str]]]:
    """Yield a function that lets a connected probe begin, ``lead`` seconds later, and returns where its figures will be to read."""
    process = subprocess.Popen([sys.executable, "-I", "-S", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(_asked(contestant, shelf, pace, lead)) + "\n")
        process.stdin.flush()
        if process.stdout.readline() != "ready\n":
            sys.exit(f"bench: {contestant.name}: the manifest can't be had")

        def begin() -> IO[str]:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("begin\n")
            process.stdin.flush()
            return process.stdout

        yield begin
    finally:
        process.kill()
        process.communicate()


def _asked(contestant: Contestant, shelf: Shelf, pace: Pace, lead: float) -> dict[str, Any]:
    request = [f"GET {contestant.manifest} HTTP/1.1", f"Host: {HOST}:{contestant.port}", f"Accept: {MANIFEST_TYPE}"]
    request += [f"Authorization: Bearer {shelf.probe_token}"] if contestant.authorizes else []
    return {
        "host": HOST,
        "port": contestant.port,
        "address": ADDRESS,
        "trusted": str(shelf.certificate) if contestant.tls else "",
        "request": "\r\n".join([*request, "", ""]),
        "expected": shelf.blobs.path(shelf.manifest).read_text(),
        "connections": CONNECTIONS,
        "count": pace.count,
        "every": pace.every,
        "lead": lead,
    }
