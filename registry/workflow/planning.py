"""Plan: how many media of which size a set takes, what goes where, and how long it takes at the rate that was measured last; nothing is signed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from registry.content.digest import Digest
from registry.content.pins import Pin
from registry.media.planner import Span
from registry.store.home import Home
from registry.workflow.carried import Layout, chosen_pins, lay_out, objects_in_order, sizes_of, sources_of
from registry.workflow.export import Contents, spans_on
from registry.workflow.pin import pinned_manifest
from registry.workflow.slots import Slots
from registry.workflow.station import read_station

__all__ = ["Plan", "plan_export"]


@dataclass(frozen=True, slots=True)
class Plan:
    """How a set would go: its parts, the parts of each medium, the models whose bytes are on each, and bytes per second, None where unknown."""

    layout: Layout
    spans: tuple[Span, ...]
    models: tuple[tuple[str, ...], ...]
    rate: float | None

    @property
    def sealed(self) -> int:
        """Bytes of all files of parts."""
        return sum(self.layout.files)

    @property
    def seconds(self) -> int | None:
        """How long writing takes at the measured rate."""
        return None if self.rate is None else round(self.sealed / self.rate)


def plan_export(home: Home, contents: Contents, slots: Slots) -> Plan:
    """Return how the pinned models would lie on media.

    Raises:
        NotFound: nothing is pinned, a name isn't pinned, or a source is not there.
        TrustRefused: a source no longer has the size that was pinned.
        MediumDamaged: the media don't suffice.
    """
    pins = [] if contents.metadata_only else chosen_pins(home, contents.names)
    sources_of(home, pins)
    sizes = sizes_of(home, pins)
    layout = lay_out(sum(sizes.values()), contents.shape, min(slots.capacities))
    spans = spans_on(slots, layout, len(sizes))
    with read_station(home) as log:
        written, milliseconds = log.written_lately()
    rate = written * 1000 / milliseconds if written and milliseconds else None
    return Plan(layout, tuple(spans), tuple(_models(home, pins, sizes, layout, span) for span in spans), rate)


def _models(home: Home, pins: Sequence[Pin], sizes: Mapping[Digest, int], layout: Layout, span: Span) -> tuple[str, ...]:
    """Return the names of the models of which some bytes are in these parts."""
    begin, end = (span.first - 1) * layout.part_size, min(span.last * layout.part_size, layout.size)
    here = {each.digest for each in objects_in_order(sizes) if each.offset < end and each.offset + each.size > begin}
    return tuple(str(pin.reference) for pin in pins if here & {pin.manifest, *(each.digest for each in pinned_manifest(home, pin)[1].blobs)})
