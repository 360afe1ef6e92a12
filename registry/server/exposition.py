"""``GET /metrics``: what was counted, and what is true now, in the words of Prometheus; at a listener of its own, for whoever watches the server.

Nothing in it names a node, a model, a digest or a person, but it says how busy the site is: it belongs on loopback or a network for watching.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from aiohttp import web
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from registry import __version__
from registry.content.view import ServedState
from registry.server.gate import Gate
from registry.server.metrics import FAMILIES, Family, Kind, Tallies
from registry.server.oci import answer, error

__all__ = ["Exposition"]


@dataclass(slots=True)
class Exposition(Collector):
    """``certificate_expires`` returns Unix seconds, or None without TLS; ``places`` is how many connections all workers may have together."""

    tallies: Tallies
    gate: Gate
    certificate_expires: Callable[[], float | None]
    places: int
    _own: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "metrics"))

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Return the response to a request at the listener for metrics."""
        if request.method not in ("GET", "HEAD") or request.path != "/metrics":
            return error(404, "UNSUPPORTED", "only /metrics is answered here")
        try:
            encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        except (TypeError, ValueError):  # a version that is no number
            encode, content_type = choose_encoder("")
        # In a thread, because it reads /proc and waits for the journal's lock, and pulls must not notice; one of its own, because a disk that hangs
        # fills the common ones, which is when somebody wants to know.
        said = await asyncio.get_running_loop().run_in_executor(self._own, encode, self)
        return answer(said, content_type=content_type, headers={"Cache-Control": "no-store"})

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        for family in FAMILIES:
            yield self._counted(family)
        yield from self._site()
        yield from self._processes()

    def _counted(self, family: Family) -> Metric:
        numbers = {labels: self.tallies.read(family, labels) for labels in family.series}
        if family.kind is Kind.HISTOGRAM:
            histogram = HistogramMetricFamily(family.name, family.help, labels=family.labels)
            for labels, (*counts, total) in numbers.items():
                bounds, reached = [*map(str, family.buckets), "+Inf"], 0.0
                buckets = [(bound, reached := reached + count) for bound, count in zip(bounds, counts, strict=True)]
                histogram.add_metric(labels, buckets, total)
            return histogram
        made = CounterMetricFamily if family.kind is Kind.COUNTER else GaugeMetricFamily
        metric = made(family.name, family.help, labels=family.labels)
        for labels, (number,) in numbers.items():
            metric.add_metric(labels, number)
        return metric

    def _site(self) -> Iterator[Metric]:
        watch, offer = self.gate.watch, self.gate.watch.offer
        build = GaugeMetricFamily("airlock_build_info", "The version that serves.", labels=("version",))
        build.add_metric((__version__,), 1)
        yield build
        releases = GaugeMetricFamily("airlock_releases", "Releases that are served, by state.", labels=("state",))
        for state in ServedState:
            releases.add_metric((str(state),), sum(each.state is state for each in offer.releases))
        yield releases
        for name, help_, value in (
            ("airlock_releases_unreadable", "Manifests that can't be read, whose releases are not served.", len(offer.unreadable)),
            ("airlock_nodes_enrolled", "Nodes that are enrolled.", offer.nodes),
            ("airlock_published_view_sequence", "Number of the published view that is served.", max(0, offer.sequence)),
            ("airlock_published_view_problem", "1 when the published view that lies there is not what is served.", int(bool(watch.problem))),
            ("airlock_connections_max", "Connections that all workers may have together.", self.places),
            ("airlock_last_set_accepted_timestamp_seconds", "When the newest set was imported whole; 0 before the first.", offer.accepted or 0),
        ):
            yield GaugeMetricFamily(name, help_, value=value)
        if (lines := self._unnoted()) is not None:
            yield GaugeMetricFamily("airlock_journal_lines_since_checkpoint", "Lines that the site's log has not noted yet.", value=lines)
        if (expires := self.certificate_expires()) is not None:
            yield GaugeMetricFamily("airlock_certificate_expiry_timestamp_seconds", "When the server's certificate ends.", value=expires)

    def _unnoted(self) -> int | None:
        """Return how many lines of the journal are beyond the newest one on record in the site's log, or None when it can't be read just now."""
        try:
            name, lines = self.gate.journal.length()
        except OSError:
            return None
        return max(0, lines - self.gate.watch.offer.noted.get(name, 0))

    def _processes(self) -> Iterator[Metric]:
        """Yield what the system knows of each worker, under the names that every Prometheus client uses."""
        merged: dict[str, Metric] = {}
        for number, pid in enumerate(self.tallies.processes()):
            for metric in ProcessCollector(pid=partial(int, pid), registry=None).collect():
                whole = merged.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
                for sample in metric.samples:
                    whole.add_sample(sample.name, {"worker": str(number)}, sample.value)
        yield from merged.values()
