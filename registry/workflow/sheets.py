"""Transfer sheets in a station's home: written when an export ends, made again from the log whenever one is lost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from registry.content.digest import Digest
from registry.media.sets import PLAIN, parse_header
from registry.store.files import replace_file, storage_errors
from registry.store.home import Home
from registry.store.station import Station
from registry.trust.refresh import fingerprint
from registry.workflow.sheet import Sheet, render_texts
from registry.workflow.sheet_html import render_html
from registry.workflow.station import read_station
from registry.workflow.tracked import Tracked, chosen, tracked

__all__ = ["sheet_for", "sheets_of", "write_sheets"]


def sheets_of(home: Home, label: str, ending: str = "") -> list[Sheet]:
    """Return the sheet of a medium: one, unless somebody labelled several shares of a set alike.

    Raises:
        NotFound: no medium of this label.
        Usage: several sets have one, or this is not a station's home.
    """
    with read_station(home) as log:
        return [_sheet(log, each) for each in chosen(tracked(log), label, ending)]


def sheet_for(log: Station, set_id: str, number: int) -> Sheet:
    """Return the sheet of a medium that was written last under its number."""
    found = [each for each in tracked(log) if (each.medium.set_id, each.medium.number) == (set_id, number)]
    return _sheet(log, max(found, key=lambda each: each.medium.seq))


def write_sheets(home: Home, sheets: Sequence[Sheet]) -> list[Path]:
    """Write ``sheets/LABEL.txt`` and ``sheets/LABEL.html`` into the home for every label, each file as a whole; return their paths.

    The caller holds the writer's lock: what a stopped run left is swept by the next command.
    """
    by_label: dict[str, list[Sheet]] = {}
    for sheet in sheets:
        by_label.setdefault(sheet.label, []).append(sheet)
    written = []
    with storage_errors(f"the home {home.root}"):
        home.sheets.mkdir(exist_ok=True)
        for label, pages in by_label.items():
            for suffix, text in ((".txt", render_texts(pages)), (".html", render_html(pages))):
                path = home.sheets / f"{label}{suffix}"
                replace_file(path, text.encode())
                written.append(path)
    return written


def _sheet(log: Station, each: Tracked) -> Sheet:
    medium, roots, started = each.medium, log.roots(), log.started_set(each.medium.set_id)
    header = parse_header(log.document(started.header), what="set.json") if started else None
    return Sheet(
        set_id=medium.set_id,
        medium=medium.number,
        media=medium.media,
        label=medium.label,
        serial=medium.serial,
        made=medium.written or "",
        publisher=fingerprint(roots[0]),
        fingerprint=fingerprint(roots[-1]),
        sites=each.sites,
        first=medium.first,
        last=medium.last,
        size=medium.size,
        read_back=bool(medium.read_back),
        sums=Digest(medium.sums) if medium.sums else None,
        sealed=header is None or header.suite != PLAIN,
    )
