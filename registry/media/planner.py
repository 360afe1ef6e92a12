"""Which parts go on which medium."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

__all__ = ["CLUSTER_BYTES", "Span", "span_media"]

CLUSTER_BYTES = 32 << 10
"""What a file's size is rounded up to: the largest clusters of FAT32 (FAT specification 1.03, section 3.5)."""


@dataclass(frozen=True, slots=True)
class Span:
    """The parts on one medium, from number ``first`` to ``last``, and the bytes of their files; with no parts ``last`` is ``first`` − 1.

    ``slot`` counts the media that were on offer from 0; one that is too small for a single part is passed over.
    """

    slot: int
    first: int
    last: int
    size: int

    @property
    def numbers(self) -> range:
        """The parts' numbers."""
        return range(self.first, self.last + 1)


def span_media(sizes: Sequence[int], capacities: Sequence[int], *, beside: int, endless: bool = False) -> list[Span] | None:
    """Lay parts on media in order, each as full as it gets.

    Args:
        sizes: bytes of each part's file, part 1 first.
        capacities: bytes that each medium takes.
        beside: bytes of everything else in a set's folder, on every medium.
        endless: after the last of the media come as many like it as it takes.

    Returns:
        A span for each medium that is needed, at least one; or None where the media don't suffice.
    """
    spans: list[Span] = []
    first = 1
    for slot in count() if endless else range(len(capacities)):
        room = capacities[min(slot, len(capacities) - 1)] - beside
        span = _fill(slot, first, sizes, room)
        if span.numbers or (not sizes and room >= 0):
            spans.append(span)
            first = span.last + 1
        elif slot >= len(capacities) - 1:
            return None  # not even one part fits, neither here nor on any medium after it
        if spans and first > len(sizes):
            return spans
    return None


def _fill(slot: int, first: int, sizes: Sequence[int], room: int) -> Span:
    last, size = first - 1, 0
    while last < len(sizes) and _on_disk(sizes[last]) <= room:
        room -= _on_disk(sizes[last])
        size += sizes[last]
        last += 1
    return Span(slot, first, last, size)


def _on_disk(size: int) -> int:
    return -(-size // CLUSTER_BYTES) * CLUSTER_BYTES
