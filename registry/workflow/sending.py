"""Sending: a set that was begun goes through a one-way link as a stream, once, from its beginning to its end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from io import FileIO
from pathlib import Path

from registry.content.digest import Digest
from registry.media.framing import END, announce, opening
from registry.media.labels import parse_medium_label
from registry.media.planner import Span
from registry.store.files import write_all
from registry.store.links import keep, link_errors
from registry.trust.envelope import INDEX_TYPE, envelop
from registry.workflow.begun import BegunSet
from registry.workflow.medium_notes import medium_json
from registry.workflow.parts import Parts
from registry.workflow.progress import Advance, Progress
from registry.workflow.sheets import sheet_for, write_sheets
from registry.workflow.station import OpenStation
from registry.workflow.writing import WrittenMedium, metadata_files

__all__ = ["Link", "send_set"]


@dataclass(frozen=True, slots=True)
class Link:
    """A one-way link: where the stream goes, and the label of the tape or disk at its end, if one is at its end."""

    outlet: FileIO
    label: str = ""

    @property
    def paths(self) -> list[Path]:
        """Where media are mounted: nowhere."""
        return []

    def __post_init__(self) -> None:
        if self.label:
            parse_medium_label(self.label, what="--label")


def send_set(
    station: OpenStation, begun: BegunSet, link: Link, sources: Mapping[Digest, Path], *, now: datetime, progress: Progress
) -> list[WrittenMedium]:
    """Send a set, every part of it, and note it in the log: as a medium where the link has a label, which is then returned.

    Where anything fails the stream breaks off without its end, and the set stays unfinished.

    Raises:
        MediumDamaged: whoever read the stream has gone, or the disk it goes to is full.
        TrustRefused: a source no longer holds what was pinned.
    """
    index, seal = begun.index, begun.seal
    began = time.monotonic()
    with Parts(index, seal, sources) as parts, progress.task("sending", sum(map(index.part_length, index.numbers))) as advance, link_errors():
        write_all(link.outlet, opening(index.set_id))
        for name, data in _small_files(station, begun, link):
            write_all(link.outlet, announce(name, len(data)) + data)
        _send_parts(begun, link, parts, advance)
        write_all(link.outlet, END)
        keep(link.outlet)
    measured = {"size": _span(begun).size, "milliseconds": int((time.monotonic() - began) * 1000)}
    return _note(station, begun, link, measured, now=now)


def _small_files(station: OpenStation, begun: BegunSet, link: Link) -> Iterator[tuple[str, bytes]]:
    """Yield everything but the parts, in the order of verification."""
    yield from metadata_files(begun.metadata).items()
    if link.label:
        yield "medium.json", medium_json(begun.seal, 1, link.label, [_span(begun)])
    yield "set.json", begun.header
    yield begun.seal.index_name, begun.seal.index_file(envelop(begun.index.to_bytes(), INDEX_TYPE, [station.keys["station"]]))


def _send_parts(begun: BegunSet, link: Link, parts: Parts, advance: Advance) -> None:
    for number in begun.index.numbers:
        write_all(link.outlet, announce(begun.seal.part_name(number), begun.seal.size(begun.index.part_length(number))))
        parts.send(number, link.outlet, advance)


def _note(station: OpenStation, begun: BegunSet, link: Link, measured: Mapping[str, int], *, now: datetime) -> list[WrittenMedium]:
    """Put on record that the whole set has gone.  Nobody knows yet whether it arrived."""
    log, signer, set_id = station.log, station.keys["actor"], begun.index.set_id
    span = _span(begun)
    with log.transaction():
        if link.label:
            first = 1 if span.numbers else 0
            medium = {"medium": 1, "media": 1, "label": link.label, "first": first, "last": span.last, "read_back": False, "passed": None}
            log.append("medium.write", {"set": set_id, **measured, **medium}, signer=signer, now=now)
        else:
            log.append("set.send", {"set": set_id, **measured}, signer=signer, now=now)
        log.append("set.finish", {"set": set_id}, signer=signer, now=now)
        if link.label:
            write_sheets(station.home, [sheet_for(log, set_id, 1)])
    return [WrittenMedium(1, link.label, None, span)] if link.label else []


def _span(begun: BegunSet) -> Span:
    index = begun.index
    return Span(0, 1, len(index.numbers), sum(begun.seal.size(index.part_length(number)) for number in index.numbers))
