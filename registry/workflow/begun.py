"""A set that was begun: signed, noted in the station's log, and on its way to its media, however many runs that takes."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from registry.content.digest import Digest, digest_of
from registry.content.pins import Pin
from registry.errors import Usage
from registry.media.index import Held, Index, parse_index
from registry.media.parity import group_parts
from registry.media.planner import Span
from registry.media.recipients import SET_KEY_BYTES, Recipient, wrap
from registry.media.seal import Seal
from registry.media.sets import PLAIN, Header, new_set_id, parse_header
from registry.media.suites import SUITES
from registry.store.medium import folder_on
from registry.store.station import StartedSet
from registry.trust.refresh import OfferedMetadata, expires_at
from registry.trust.roles import format_time
from registry.workflow.carried import Layout, Shape, evidence_of, objects_in_order
from registry.workflow.drafting import refuse_lacking, still_lacking
from registry.workflow.escrow import EscrowCard
from registry.workflow.offered import seal_of
from registry.workflow.pin import pinned_manifest
from registry.workflow.preparing import prepare
from registry.workflow.publication import PinnedRelease, newest_metadata, sign_metadata
from registry.workflow.signing import drafts_on
from registry.workflow.site_card import SiteCard
from registry.workflow.station import OpenStation

__all__ = ["Asked", "BegunSet", "begin_set", "suite_of", "unfinished_set"]


@dataclass(frozen=True, slots=True)
class Asked:
    """What an export is asked for: the pins, the sites and the escrow, in which shape; ``held`` is what every site has, by digest."""

    pins: Sequence[Pin]
    sites: Sequence[SiteCard]
    escrow: EscrowCard | None
    shape: Shape
    held: Mapping[Digest, Held] = field(default_factory=dict)

    def carried(self, objects: Mapping[Digest, int]) -> dict[Digest, int]:
        """Return those of ``objects`` that have to be carried, in their order."""
        return {digest: size for digest, size in objects.items() if not self._has(digest, size)}

    def left_out(self, objects: Mapping[Digest, int]) -> tuple[Held, ...]:
        """Return those of ``objects`` that every site has, by digest."""
        return tuple(self.held[digest] for digest, size in sorted(objects.items()) if self._has(digest, size))

    def _has(self, digest: Digest, size: int) -> bool:
        return digest in self.held and self.held[digest].size == size


@dataclass(frozen=True, slots=True)
class BegunSet:
    """A set on its way.

    ``spans`` are the parts of each medium, none where it is a stream; ``finished`` maps each medium that an earlier run finished to the digest of
    what its last parts hold of an object that goes on (None where none does).
    """

    index: Index
    header: bytes
    seal: Seal
    metadata: OfferedMetadata
    releases: tuple[PinnedRelease, ...]
    spans: tuple[Span, ...]
    finished: Mapping[int, Digest | None]


def begin_set(
    station: OpenStation,
    asked: Asked,
    sizes: Mapping[Digest, int],
    plan: Callable[[Mapping[Digest, int]], tuple[Layout, list[Span]]],
    media: Sequence[Path],
    *,
    now: datetime,
) -> BegunSet:
    """Number and sign what is asked for, and note it in the log.

    Args:
        station: whose set it is.
        asked: what goes in.
        sizes: the objects, in order; the evidence of new releases comes before them.
        plan: lays objects out in parts, and parts on media.
        media: where further signatures may lie; none for a set that is sent as a stream.
        now: aware, UTC.

    Raises:
        SignatureRefused: too few release signers have signed the list.
    """
    releases, (version, targets) = prepare(station, asked.pins, now, [draft for each in media for draft in drafts_on(each, "targets")])
    missing = still_lacking(station.log, "targets", targets)
    if missing:
        medium = media[0] if media else "MEDIUM"
        again = "then the same export again" if media else "airlock release prepare MEDIUM, which takes their signatures; then the same export again"
        raise refuse_lacking(
            station.home,
            "the list of releases is not signed by enough release signers",
            missing,
            f"airlock release prepare {medium}\nthe other signers run: airlock sign {medium} --key NAME\n{again}",
        )
    every = evidence_of(releases) | dict(sizes)
    objects, have = asked.carried(every), asked.left_out(every)
    layout, spans = plan(objects)
    set_id = new_set_id(int(now.timestamp() * 1000), secrets.token_bytes(10))
    set_key = secrets.token_bytes(SET_KEY_BYTES) if asked.shape.sealed else None
    requires = [name for name, needed in (("have", have), ("parity", layout.parity)) if needed]
    header = _header(station, asked, set_id, set_key, requires).to_bytes()
    with station.log.transaction():
        metadata = sign_metadata(station, version, targets, now)
        head = station.log.head()
        assert head is not None
        index = Index(
            set_id=set_id,
            header=digest_of(header),
            created=format_time(now),
            publisher=metadata.publisher,
            root=len(metadata.roots),
            sites=tuple(sorted(card.site for card in asked.sites)),
            statements=tuple(each.statement for each in releases),
            objects=objects_in_order(objects),
            part_size=layout.part_size,
            checkpoint=(head.seq, head.digest),
            extensions={"station": _station_recipient(station, asked)},
            have=have,
            parity=layout.parity,
        )
        payload = index.to_bytes()
        subject = {
            "set": set_id,
            "header": digest_of(header),
            "sites": list(index.sites),
            "index": digest_of(payload),
            "timestamp": digest_of(metadata.timestamp),
            "media": [[each.first, each.last] for each in spans],
        }
        station.log.append("set.start", subject, signer=station.keys["actor"], now=now, documents=[payload, header])
    return BegunSet(index, header, Seal(set_id, set_key), metadata, tuple(releases), tuple(spans), {})


def unfinished_set(station: OpenStation, asked: Asked, media: Sequence[Path], now: datetime) -> BegunSet | None:
    """Return the newest unfinished set that says what a new one would say, if one of its media is at hand or finished; else None.

    With no ``media`` a set that was begun as a stream: it is sent once more from its beginning, and whoever has parts of it takes the others.
    A set whose delivery window has ended is none: every site would refuse it, however long its media then took.
    """
    releases, newest = _numbered(station, asked.pins), newest_metadata(station)
    if releases is None or newest is None or now >= expires_at(newest):
        return None
    for started in station.log.unfinished_sets():
        if started.timestamp != digest_of(newest.timestamp):
            continue  # signed anew since then: whatever changed, a fresh set says it
        if bool(started.media) != bool(media):
            continue  # one of them is a stream, which has no media
        begun = _begun(station, started, releases, newest)
        at_hand = not media or any(folder_on(each, started.set_id) for each in media)
        if begun and (at_hand or begun.finished) and _says(station, begun, asked):
            return begun
    return None


def _begun(station: OpenStation, started: StartedSet, releases: Sequence[PinnedRelease], metadata: OfferedMetadata) -> BegunSet | None:
    index = parse_index(station.log.document(started.index), what=f"set {started.set_id}: index")
    header = station.log.document(started.header)
    seal = seal_of(parse_header(header, what="set.json"), station.identities)
    if seal is None:
        return None
    sizes = {number: seal.size(index.part_length(number)) for number in index.numbers}
    spans = tuple(
        Span(slot, first, last, sum(sizes[number] for number in range(first, last + 1))) for slot, (first, last) in enumerate(started.media)
    )
    return BegunSet(index, header, seal, metadata, tuple(releases), spans, started.finished)


def suite_of(sites: Sequence[SiteCard]) -> str:
    """Return the suite in which a set for these sites is sealed: one for all of them."""
    by_suite: dict[str, list[str]] = {}
    for card in sites:
        by_suite.setdefault(card.recipient.suite, []).append(card.site[:8])
    if len(by_suite) > 1:
        raise Usage(
            "these sites share no sealing suite",
            why="\n".join(f"{SUITES[suite].short}: site {', '.join(names)}" for suite, names in sorted(by_suite.items())),
            hint="export once per suite, each time with the site.pub of the sites that have it",
        )
    return next(iter(by_suite))


def _says(station: OpenStation, begun: BegunSet, asked: Asked) -> bool:
    """Tell whether a set is the one that is asked for."""
    index, shape = begun.index, asked.shape
    every = {each.digest: each.size for each in index.objects} | {each.digest: each.size for each in index.have}
    recipients = {each.key_id for each in _recipients(station, asked)} if shape.sealed else set()
    return (
        parse_header(begun.header, what="set.json").keys.keys() == recipients
        and index.statements == tuple(each.statement for each in begun.releases)
        and index.sites == tuple(sorted(card.site for card in asked.sites))
        and shape.part_size in (None, index.part_size)
        and index.have == asked.left_out(every)
        and index.parity == group_parts(index.parts, shape.parity)
    )


def _numbered(station: OpenStation, pins: Sequence[Pin]) -> list[PinnedRelease] | None:
    """Return the releases that the pins already are, or None if one of them never was one."""
    releases = []
    for pin in pins:
        numbered = station.log.release_of(pin.reference, pin.manifest)
        if numbered is None:
            return None
        _, manifest = pinned_manifest(station.home, pin)
        releases.append(PinnedRelease(pin, numbered, station.log.document(numbered.statement), manifest, new=False))
    return releases


def _header(station: OpenStation, asked: Asked, set_id: str, set_key: bytes | None, requires: Sequence[str]) -> Header:
    header = Header(set_id, {}, suite=PLAIN, requires=(PLAIN,))
    if set_key is not None:
        keys = {each.key_id: wrap(set_key, each, set_id=set_id) for each in _recipients(station, asked)}
        header = Header(set_id, keys, suite=suite_of(asked.sites))
    return replace(header, requires=tuple(sorted([*header.requires, *requires])))


def _recipients(station: OpenStation, asked: Asked) -> list[Recipient]:
    """Return to whom a set is sealed: the sites, this station, and the escrow if there is one."""
    suite = suite_of(asked.sites)
    recipients = [*(card.recipient for card in asked.sites), station.identity_in(suite).recipient]
    if asked.escrow is not None and suite not in asked.escrow.recipients:
        raise Usage(f"the escrow has no key in the suite of these sites, {suite}", hint="make a new escrow: airlock escrow new")
    return recipients if asked.escrow is None else [*recipients, asked.escrow.recipients[suite]]


def _station_recipient(station: OpenStation, asked: Asked) -> dict[str, str]:
    """Return to whom the sites seal what they send back."""
    suite = suite_of(asked.sites)
    return {"suite": suite, "public": base64.b64encode(station.identity_in(suite).recipient.public).decode("ascii")}
