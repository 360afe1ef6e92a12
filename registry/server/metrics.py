"""What is counted, and where: every series of every metric, laid out in memory that the workers of a server share.

The series are known before the first request: routes, status codes and reasons from fixed lists, never a node, a digest or anything else that a
client sends.  So each has its place in an array from the start, beginning at zero as Prometheus asks ("Avoid missing metrics"), and each worker has
an array of its own, which it alone writes and any worker may read.  There are no files and no locks, a worker that is replaced goes on counting where
it stopped, and a full disk stops nothing (ADR 10).

Names are Prometheus's ("Metric and label naming"): base units, ``_total`` for counters.
"""

from __future__ import annotations

import mmap
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import product

from registry.server.body import Outcome
from registry.server.reasons import Reason
from registry.server.routes import Route

__all__ = ["FAMILIES", "Family", "Kind", "Tallies", "Tally"]

OTHER_CODE = "other"
_CODES = ("200", "206", "304", "307", "400", "401", "403", "404", "405", "416", "421", "500", "503", OTHER_CODE)
_UNTIL_ANSWER = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_UNTIL_WHOLE = (0.1, 1.0, 10.0, 60.0, 300.0, 1800.0, 7200.0, 21600.0)


class Kind(StrEnum):
    """What may happen to a number; ``PEAK`` is a gauge of which the largest worker's counts, ``GAUGE`` one of which the sum does."""

    COUNTER = "counter"
    GAUGE = "gauge"
    PEAK = "peak"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its name without ``_total``, what it says, and the values of its one or two labels in every combination.

    ``buckets`` are a histogram's upper bounds, in the metric's unit; +Inf comes by itself.
    """

    name: str
    help: str
    kind: Kind = Kind.COUNTER
    labels: tuple[str, ...] = ()
    series: tuple[tuple[str, ...], ...] = ((),)
    buckets: tuple[float, ...] = ()

    @property
    def width(self) -> int:
        """How many numbers one series has: a histogram one for each bucket, one beyond the last, and the sum."""
        return len(self.buckets) + 2 if self.kind is Kind.HISTOGRAM else 1


def _each(values: type[StrEnum] | tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    return tuple((str(value),) for value in values)


REQUESTS = Family(
    "airlock_http_requests",
    "Requests that were answered, by what was asked for and the status code.",
    labels=("route", "code"),
    series=tuple(product(map(str, Route), _CODES)),
)
ANSWER_SECONDS = Family(
    "airlock_http_request_duration_seconds",
    "Time from a whole request to its answer; for a blob, until its first byte may go.",
    Kind.HISTOGRAM,
    ("route",),
    _each(Route),
    _UNTIL_ANSWER,
)
SENT_BYTES = Family("airlock_blob_sent_bytes", "Bytes of blobs that went out.")
TRANSFERS = Family(
    "airlock_transfers",
    "Bodies of blobs that came to an end: whole, left by the client, no longer allowed, stalled, or failed in the store.",
    labels=("outcome",),
    series=_each(Outcome),
)
TRANSFERS_ACTIVE = Family("airlock_transfers_active", "Bodies of blobs that are being sent.", Kind.GAUGE)
TRANSFER_SECONDS = Family(
    "airlock_transfer_duration_seconds", "How long bodies of blobs took that went out whole.", Kind.HISTOGRAM, buckets=_UNTIL_WHOLE
)
STORE_FAILURES = Family(
    "airlock_store_failures",
    "Requests for blobs that the store failed: damaged, which is of another size than the manifest says, or not readable just now.",
    labels=("kind",),
    series=_each(("damaged", "unreadable")),
)
REFUSALS = Family("airlock_refusals", "Requests that were refused, by reason.", labels=("reason",), series=_each(Reason))
CONNECTIONS = Family("airlock_connections", "Connections that were accepted.")
CONNECTIONS_OPEN = Family("airlock_connections_open", "Connections that are open.", Kind.GAUGE)
CONNECTIONS_DROPPED = Family(
    "airlock_connections_dropped",
    "Connections that the server closed: no place at all or for this address, given away to a newcomer, no handshake, no whole request in time.",
    labels=("reason",),
    series=_each(("full", "address", "gave_way", "handshake", "slow")),
)
JOURNAL_LINES = Family(
    "airlock_journal_lines",
    "Lines written to the access journal, by verb; suppressed ones were counted and not written.",
    labels=("verb",),
    series=_each(("manifest", "blob", "deny", "knock", "suppressed")),
)
JOURNAL_FAILURES = Family("airlock_journal_failures", "Lines that could not be written to the access journal, or not made durable.")
JOURNAL_LAG = Family("airlock_journal_lag_seconds", "How long the oldest line has waited that is written and not yet durable.", Kind.PEAK)
LOOP_LAG = Family("airlock_loop_lag_seconds", "By how much a worker was late for what it does once a second.", Kind.PEAK)
WORKERS = Family("airlock_workers", "Processes that serve.", Kind.GAUGE)
WORKER_ENDS = Family("airlock_worker_ends", "Workers that ended unasked and were replaced.")

FAMILIES = (
    REQUESTS,
    ANSWER_SECONDS,
    SENT_BYTES,
    TRANSFERS,
    TRANSFERS_ACTIVE,
    TRANSFER_SECONDS,
    STORE_FAILURES,
    REFUSALS,
    CONNECTIONS,
    CONNECTIONS_OPEN,
    CONNECTIONS_DROPPED,
    JOURNAL_LINES,
    JOURNAL_FAILURES,
    JOURNAL_LAG,
    LOOP_LAG,
    WORKERS,
    WORKER_ENDS,
)


def _places() -> Iterator[tuple[str, tuple[str, ...], int]]:
    place = 1  # the first number of a row is the worker's process id
    for family in FAMILIES:
        for labels in family.series:
            yield family.name, labels, place
            place += family.width
    yield "", (), place


_PLACE = {(name, labels): place for name, labels, place in _places()}
_ROW = _PLACE["", ()]
_MOMENTARY = tuple(_PLACE[family.name, labels] for family in FAMILIES if family.kind in (Kind.GAUGE, Kind.PEAK) for labels in family.series)


class Tally:
    """The numbers of one process.  Only this process writes them."""

    def __init__(self, numbers: memoryview[float]) -> None:
        """Made by :meth:`Tallies.row`."""
        self._numbers = numbers

    def begin(self, pid: int) -> None:
        """A new process counts here from now on: what is true only for a moment begins anew, what was counted stays."""
        self._numbers[0] = pid
        for place in _MOMENTARY:
            self._numbers[place] = 0.0

    def count(self, family: Family, *labels: str, by: float = 1.0) -> None:
        """Add to a counter."""
        self._numbers[_PLACE[family.name, labels]] += by

    def set(self, family: Family, value: float) -> None:
        """Set a gauge without labels."""
        self._numbers[_PLACE[family.name, ()]] = value

    def observe(self, family: Family, value: float, *labels: str) -> None:
        """Add a value to a histogram."""
        place = _PLACE[family.name, labels]
        self._numbers[place + bisect_left(family.buckets, value)] += 1.0
        self._numbers[place + family.width - 1] += value

    def answered(self, route: Route, status: int, seconds: float) -> None:
        """Count one answer."""
        code = str(status)
        self.count(REQUESTS, route, code if (REQUESTS.name, (route, code)) in _PLACE else OTHER_CODE)
        self.observe(ANSWER_SECONDS, seconds, route)


class Tallies:
    """The numbers of all processes of one server, made before they are forked: row 0 is the parent's, the others are the workers'."""

    def __init__(self, workers: int) -> None:
        """All are zero."""
        memory = mmap.mmap(-1, (workers + 1) * _ROW * 8)
        self._rows = [memoryview(memory).cast("d")[_ROW * number : _ROW * (number + 1)] for number in range(workers + 1)]

    def row(self, number: int) -> Tally:
        """Return where one process counts: 0 the parent, 1 the first worker."""
        return Tally(self._rows[number])

    def processes(self) -> list[int]:
        """Return the process id of each worker that has begun."""
        return [int(row[0]) for row in self._rows[1:] if row[0]]

    def read(self, family: Family, labels: tuple[str, ...]) -> list[float]:
        """Return the numbers of one series over all processes: one, or those of a histogram (see :attr:`Family.width`)."""
        place = _PLACE[family.name, labels]
        columns = zip(*(row[place : place + family.width].tolist() for row in self._rows), strict=True)
        return [max(column) if family.kind is Kind.PEAK else sum(column) for column in columns]
