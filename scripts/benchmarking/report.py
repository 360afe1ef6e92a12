"""Put what was measured of servers into figures, and print them beside nginx."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarking.latency import Latency
from benchmarking.lineup import Contestant

YARDSTICK = "nginx"
NONE = "–"


@dataclass(slots=True)
class Figures:
    """What one server did, round by round: seconds of each node, CPU seconds of the server and of those who downloaded; its answers; its memory."""

    contestant: Contestant
    nodes: list[list[float]] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    client_cpu: list[float] = field(default_factory=list)
    idle: Latency = field(default_factory=Latency)
    loaded: Latency = field(default_factory=Latency)
    manifest_cpu: list[float] = field(default_factory=list)
    peak: int = 0

    def summed(self, size: int) -> dict[str, Any]:
        """Return medians; a round is ``size`` bytes to each node."""
        gigabytes = size * len(self.nodes[0]) / 1e9
        return {
            "server": self.contestant.name,
            "program": self.contestant.program,
            "tls": self.contestant.tls,
            "gigabytes_per_second": gigabytes / statistics.median(max(each) for each in self.nodes),
            "cpu_seconds_per_gigabyte": statistics.median(self.cpu) / gigabytes,
            "client_cpu_seconds_per_gigabyte": statistics.median(self.client_cpu) / gigabytes,
            "slowest_to_fastest_node": statistics.median(max(each) / min(each) for each in self.nodes),
            "peak_bytes": self.peak,
            "node_seconds": self.nodes,
            "cpu_seconds": self.cpu,
            "client_cpu_seconds": self.client_cpu,
            "manifest": self._manifests() if self.idle.rounds else None,
        }

    def _manifests(self) -> dict[str, Any]:
        cpu = statistics.median(self.manifest_cpu) * 1000
        return {"cpu_milliseconds": cpu, "idle": self.idle.as_json(), "loaded": self.loaded.as_json()}


def related(rows: Sequence[dict[str, Any]]) -> None:
    """Add to each row how its rate and its CPU time compare with those of nginx, plain with plain and TLS with TLS."""
    for row in rows:
        beside = next((each for each in rows if each["program"] == YARDSTICK and each["tls"] == row["tls"]), None)
        row["rate_to_nginx"] = row["gigabytes_per_second"] / beside["gigabytes_per_second"] if beside else None
        row["cpu_to_nginx"] = row["cpu_seconds_per_gigabyte"] / beside["cpu_seconds_per_gigabyte"] if beside else None


def show(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Print the tables: downloads, then manifests."""
    print(f"{title}\n")
    print(f"{'downloads':<24}{'GB/s':>7}{'of nginx':>10}{'CPU s/GB':>10}{'of nginx':>10}{'slowest/fastest node':>22}{'peak MB':>9}")
    for row in rows:
        spread = f"{row['slowest_to_fastest_node']:.2f}" if len(row["node_seconds"][0]) > 1 else NONE
        print(
            f"{row['server']:<24}{row['gigabytes_per_second']:>7.2f}{_ratio(row['rate_to_nginx']):>10}"
            f"{row['cpu_seconds_per_gigabyte']:>10.3f}{_ratio(row['cpu_to_nginx']):>10}{spread:>22}{row['peak_bytes'] / 1e6:>9.0f}"
        )
    print()
    if all(row["manifest"] is None for row in rows):
        return
    heads = "".join(f"{when + ' ' + what:>11}" for when in ("idle", "busy") for what in ("p50", "p99", "max"))
    print(f"{'manifest, ms':<24}{heads}{'requests':>10}{'errors':>8}{'CPU ms':>8}")
    for row in rows:
        found = row["manifest"]
        cells = "".join(f"{found[when][what]:>11.2f}" for when in ("idle", "loaded") for what in ("p50", "p99", "max"))
        asked, failed = (
            sum(count) for count in zip(*((found[when]["requests"], len(found[when]["errors"])) for when in ("idle", "loaded")), strict=True)
        )
        print(f"{row['server']:<24}{cells}{asked:>10}{failed:>8}{found['cpu_milliseconds']:>8.2f}")
    print()


def _ratio(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f}"
