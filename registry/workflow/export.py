"""Export: sign, seal and write what media carry."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from registry.content.digest import Digest
from registry.content.reference import Reference
from registry.errors import MediumDamaged, Usage
from registry.media.planner import Span, span_media
from registry.store.blobs import LocalBlobStore
from registry.store.home import Home
from registry.trust.refresh import fingerprint
from registry.workflow.begun import Asked, BegunSet, begin_set, suite_of, unfinished_set
from registry.workflow.carried import Layout, Shape, chosen_pins, evidence_of, lay_out, sizes_of, sources_of
from registry.workflow.delta import Known, left_out
from registry.workflow.escrow import EscrowCard
from registry.workflow.known_recipients import ESCROW, read_escrow_card, read_site_card, remember
from registry.workflow.preparing import require_root
from registry.workflow.progress import Progress
from registry.workflow.publication import PinnedRelease
from registry.workflow.sending import Link, send_set
from registry.workflow.site_card import SiteCard
from registry.workflow.slots import Slots
from registry.workflow.station import OpenStation, Passphrase, open_station
from registry.workflow.writing import Way, WrittenMedium, write_media

__all__ = ["Contents", "Exported", "export", "spans_on"]

_NOTHING_KNOWN = Known()
_SPARE_BYTES = 1 << 20  # header, metadata, notes, directory entries
_INDEX_BYTES_PER_OBJECT = 2048  # its statement's and its map's share of the index, with room to spare


@dataclass(frozen=True, slots=True)
class Contents:
    """What is asked for: which pins (all of them where none is named), or only what the station says now, in which shape."""

    names: Sequence[Reference] = ()
    metadata_only: bool = False
    shape: Shape = field(default_factory=Shape)


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote: the set, its media, the releases in it, and for whom; ``new_recipients`` are names and fingerprints.

    A set that was sent through a link has no media, or one where the link has a label.
    """

    begun: BegunSet
    media: tuple[WrittenMedium, ...]
    sites: tuple[SiteCard, ...]
    new_recipients: tuple[tuple[str, str], ...]
    fingerprint: str
    continued: bool

    @property
    def set_id(self) -> str:
        """The set's id."""
        return self.begun.index.set_id

    @property
    def releases(self) -> tuple[PinnedRelease, ...]:
        """The releases in the set."""
        return self.begun.releases

    @property
    def folder(self) -> Path | None:
        """The set's folder on the first medium that this run wrote."""
        return next((each.folder for each in self.media if each.folder is not None), None)


def export(
    home: Home,
    contents: Contents,
    way: Way | Link,
    cards: Sequence[Path],
    passphrase: Passphrase,
    *,
    escrow: Path | None = None,
    known: Known = _NOTHING_KNOWN,
    now: datetime,
    progress: Progress,
) -> Exported:
    """Write one set with the releases that ``contents`` names to the media of ``way``, sealed to the sites whose ``site.pub`` are ``cards``.

    An export that was interrupted continues: media that were finished are not asked for again, parts that are whole stay as they are.  Through a
    link the same set goes once more.  ``escrow`` is a further recipient's ``escrow.pub``; ``known`` says what the sites hold, which is left out.

    Raises:
        NotFound: nothing is pinned, a name isn't pinned, or a source is not there; no receipt, or a set that is not known here.
        TrustRefused: a ``site.pub`` changed silently, a receipt contradicts an earlier one, or a source no longer matches its pin.
        MediumDamaged: a medium is full, read-only, gone, or gives back other bytes than were written.
    """
    pins = [] if contents.metadata_only else chosen_pins(home, contents.names)
    sites = tuple(map(read_site_card, cards))
    if len({each.site for each in sites}) != len(sites):
        raise Usage("one site is named twice as a recipient")
    suite_of(sites)
    sources = sources_of(home, pins)
    asked = Asked(pins, sites, read_escrow_card(escrow) if escrow else None, contents.shape)
    with open_station(home, passphrase, "export") as station:
        require_root(station)
        named: dict[str, SiteCard | EscrowCard] = {card.site: card for card in sites}
        if asked.escrow is not None:
            named[ESCROW] = asked.escrow
        new = remember(station, named, now)
        asked = replace(asked, held=left_out(station, [card.site for card in sites], known, now))
        begun = unfinished_set(station, asked, way.paths, now)
        continued = begun is not None
        if begun is None:
            begun = _begin(station, asked, way, now)
        else:
            progress.say(f"set {begun.index.set_id} is unfinished; {'continuing it' if isinstance(way, Way) else 'sending it once more'}")
        kept = {digest: LocalBlobStore(home.blobs).path(digest) for digest in evidence_of(begun.releases)}
        if isinstance(way, Way):
            media = write_media(station, begun, way, sources | kept, now=now, progress=progress)
        else:
            media = send_set(station, begun, way, sources | kept, now=now, progress=progress)
        newest_root = fingerprint(station.log.roots()[-1])
    fingerprints = tuple((name, named[name].fingerprint) for name in new)
    return Exported(begun, tuple(media), sites, fingerprints, newest_root, continued)


def _begin(station: OpenStation, asked: Asked, way: Way | Link, now: datetime) -> BegunSet:
    """Look whether the media suffice; then number, sign, and note in the log what is to be written."""
    sizes = sizes_of(station.home, asked.pins)

    def plan(objects: Mapping[Digest, int]) -> tuple[Layout, list[Span]]:
        if isinstance(way, Link):
            return lay_out(sum(objects.values()), asked.shape, sys.maxsize), []
        layout = lay_out(sum(objects.values()), asked.shape, min(way.slots.capacities))
        return layout, spans_on(way.slots, layout, len(objects))

    plan(asked.carried(sizes))  # before anything is signed
    return begin_set(station, asked, sizes, plan, way.paths, now=now)


def spans_on(slots: Slots, layout: Layout, objects: int) -> list[Span]:
    """Return which parts go on which medium.

    Raises:
        MediumDamaged: the media don't suffice.
    """
    beside = _SPARE_BYTES + objects * _INDEX_BYTES_PER_OBJECT
    spans = span_media(layout.files, slots.capacities, beside=beside, endless=slots.ask is not None)
    if spans is None:
        needed, free = sum(layout.files) + beside, sum(slots.capacities)
        raise MediumDamaged(
            f"{', '.join(map(str, slots.paths))}: not enough space",
            why=f"the set needs {needed:,} bytes, {free:,} are free" + ("; a part goes on one medium as a whole" if needed <= free else ""),
            hint="use a larger medium, or several: --to DIR --to DIR; delete what is no longer needed there, or export fewer models by naming them\n"
            "airlock plan says how many media of which size it takes",
        )
    return spans
