"""Import: from a medium into quarantine, in the order of verification of ``docs/explanation/trust.md``.

Nothing later runs if something earlier fails.  Commit A makes newer metadata take effect before any part is opened; commit B makes each release
visible, alone, so that one bad model doesn't hold back nineteen good ones.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from registry.content.digest import Digest, digest_of
from registry.errors import AirlockError, MediumDamaged, OlderRefused, RecipientRefused, Refused, StoreFailed
from registry.media.index import Index
from registry.store.files import storage_errors
from registry.store.home import Home
from registry.store.medium import SetFolder
from registry.store.releases import WITHDRAWN, CatalogRelease
from registry.store.streamed import Inlet, StreamedSet, sets_at
from registry.trust.refresh import Age, Refreshed, TrustedMetadata, refresh
from registry.trust.roles import format_time, target_path
from registry.trust.verifier import VerifiedRelease
from registry.trust.withdrawal import withdrawals_in
from registry.workflow.actor import Credentials
from registry.workflow.arrivals import Arrivals, Expected
from registry.workflow.bases import Bases, Checked
from registry.workflow.evidence import check_evidence
from registry.workflow.incomplete import broken_off, incomplete
from registry.workflow.judging import (
    ArrivingSet,
    compare_object_map,
    first_readable,
    is_here,
    newest_first,
    trusted_publisher,
    unseal,
    verify_statements,
)
from registry.workflow.medium_notes import MediumNote, read_medium_note
from registry.workflow.offered import read_metadata
from registry.workflow.overtaken import forget_overtaken
from registry.workflow.progress import Progress
from registry.workflow.receive import Receiver
from registry.workflow.site import OpenSite, open_site, publish
from registry.workflow.stations import remember_station
from registry.workflow.structure import check_structure

__all__ = ["Imported", "SetOutcome", "import_media"]


_MILD = (OlderRefused, RecipientRefused)


@dataclass(slots=True)
class SetOutcome:
    """What became of one set: the releases that are new in quarantine, those that were there already, those withdrawn, those refused."""

    set_id: str
    publisher: str = ""
    age: str = ""
    new: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    withdrawn: list[CatalogRelease] = field(default_factory=list)
    litter: tuple[str, ...] = ()
    healed: list[int] = field(default_factory=list)
    lacks_base: bool = False
    media: list[MediumNote] = field(default_factory=list)
    received: int = 0
    milliseconds: int = 0
    problem: AirlockError | None = None
    refused: list[AirlockError] = field(default_factory=list)

    def problems(self) -> list[AirlockError]:
        """Return every refusal, those of single releases first."""
        return [*self.refused, *([self.problem] if self.problem else [])]


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of every set on the media."""

    sets: tuple[SetOutcome, ...]

    def problem(self) -> AirlockError | None:
        """Return the error the command ends with: the gravest, or none.

        An older set that adds nothing is an error only if nothing on the media was of use; so is a set sealed to other sites.
        """
        grave = [each for outcome in self.sets for each in outcome.problems() if not isinstance(each, _MILD)]
        return next(iter(grave), next((each for _, each in self.passed_over()), None))

    def passed_over(self) -> list[tuple[SetOutcome, AirlockError]]:
        """Return the older sets and those of other sites, where nothing else on the media was of use; beside a good set they are no event."""
        if any(outcome.problem is None for outcome in self.sets):
            return []
        return [(outcome, each) for outcome in self.sets for each in outcome.problems() if isinstance(each, _MILD)]


def import_media(home: Home, media: Sequence[Path | Inlet], credentials: Credentials, *, now: datetime, progress: Progress) -> Imported:
    """Import every set on ``media`` that is sealed to this site, newest first; an inlet brings one.

    Raises:
        NotFound: a medium is not there or holds no set.
        FormatRefused: a folder on a medium holds what no set holds.
        StoreFailed: our own disk; nothing else is tried after that.
    """
    with open_site(home, credentials, "import", unlock=True) as site:
        folders: dict[str, list[SetFolder]] = {}
        for medium in media:
            for folder in _scan(site, medium, now):
                folders.setdefault(folder.set_id, []).append(folder)
        bases = Bases(site, progress)
        outcomes: dict[str, SetOutcome] = {}
        for set_id in sorted(folders, reverse=True):
            outcomes[set_id] = _import_one(site, folders[set_id], bases, now, progress)
        # The newest metadata come first, and what a set left out lies in an older one: perhaps on the same medium.
        for set_id in sorted(set_id for set_id, outcome in outcomes.items() if outcome.lacks_base and len(outcomes) > 1):
            outcomes[set_id] = _again(outcomes[set_id], _import_one(site, folders[set_id], bases, now, progress))
        for outcome in outcomes.values():
            for problem in outcome.problems():
                if not isinstance(problem, _MILD):
                    _record_refusal(site, outcome, problem, now)
        imported = Imported(tuple(outcomes.values()))
        for outcome, problem in imported.passed_over():
            _record_refusal(site, outcome, problem, now)
        forget_overtaken(home, site.log)
        publish(home, site.log)
    return imported


def _import_one(site: OpenSite, folders: list[SetFolder], bases: Bases, now: datetime, progress: Progress) -> SetOutcome:
    outcome = SetOutcome(folders[0].set_id, litter=tuple(name for folder in folders for name in folder.litter))
    try:
        _import_set(site, folders, bases, outcome, now=now, progress=progress)
    except StoreFailed:
        raise
    except AirlockError as refusal:
        outcome.problem = refusal
    outcome.problem = _ended(folders, outcome.problem, progress)
    _note_media(site, outcome, now)
    return outcome


def _again(first: SetOutcome, second: SetOutcome) -> SetOutcome:
    """Return what became of a set that was tried twice."""
    present = [name for name in second.present if name not in first.new]
    return replace(second, age=first.age, withdrawn=first.withdrawn, new=[*first.new, *second.new], present=present)


def _ended(folders: list[SetFolder], problem: AirlockError | None, progress: Progress) -> AirlockError | None:
    """Read a stream to its end, unless it was refused; return what is wrong with the set, with how the stream is broken before all else."""
    for stream in (each for each in folders if isinstance(each, StreamedSet)):
        if problem is None or isinstance(problem, MediumDamaged):
            with progress.task("reading on to the end", 0) as advance:
                broken = stream.end(advance)
            problem = broken_off(broken, problem) if broken else problem
    return problem


def _scan(site: OpenSite, medium: Path | Inlet, now: datetime) -> list[SetFolder]:
    """Step 1: names, kinds and sizes, before a byte is parsed."""
    try:
        return sets_at(medium)
    except Refused as refusal:
        # A medium's path may name a person (/media/alice/STICK); the log names none.
        what = refusal.what.replace(str(medium), "medium")
        _record_refusal(site, SetOutcome(""), type(refusal)(what), now)
        publish(site.home, site.log)
        raise


def _import_set(site: OpenSite, folders: list[SetFolder], bases: Bases, outcome: SetOutcome, *, now: datetime, progress: Progress) -> None:
    """Take steps 2 to 9 for one set; step 1 was done when the media were scanned."""
    folders = newest_first(folders)
    offered = first_readable(folders, read_metadata)
    outcome.publisher = offered.publisher
    record = trusted_publisher(site, folders, offered)
    # Steps 2 and 3: time, then TUF on copies of what is trusted; commit A.
    before = site.log.trusted_metadata(record)
    refreshed = refresh(before, offered, now=now, floor=site.log.newest_issued())
    outcome.age = refreshed.age.value
    epoch = site.log.epoch()
    if refreshed.age is Age.NEWER or (refreshed.age is Age.SAME and epoch is not None):
        outcome.withdrawn = _accept_metadata(site, before, refreshed, outcome.set_id, now)
    # Step 4: header, set key, index.
    arriving = unseal(site, folders, refreshed)
    header, index = arriving.header, arriving.index
    remember_station(site, index, now)
    # Step 5: every statement, and the object map.
    releases, outcome.refused = verify_statements(site, index, refreshed, record.namespaces)
    compare_object_map(index)
    outcome.media = [note for each in folders if (note := read_medium_note(each)) is not None]
    wanted = [each for each in releases if not is_here(site, each)]
    outcome.present = [each.release.name for each in releases if each not in wanted]
    checked = bases.check(index, wanted)
    outcome.refused += checked.refused
    outcome.lacks_base = bool(checked.refused)
    if checked.releases:
        _receive(site, arriving, checked, outcome, now=now, progress=progress)
    elif refreshed.age is Age.OLDER and not outcome.refused:
        raise OlderRefused(
            f"set {outcome.set_id}: older than what is trusted here, and adds nothing",
            why=f"issued {format_time(refreshed.issued)}; every release in it that still stands is here already",
            hint="ask the publisher for the newest export",
        )
    Arrivals(site.home.incoming, index.set_id).forget()
    if not outcome.refused and site.log.completed_sets().get(index.set_id) != digest_of(header.to_bytes()):
        with site.log.transaction():
            subject = {"set": index.set_id, "publisher": index.publisher, "header": digest_of(header.to_bytes())}
            measured = {"received": outcome.received, "milliseconds": outcome.milliseconds}
            site.log.append("set.complete", subject | measured, signer=site.actor, now=now)


def _accept_metadata(site: OpenSite, before: TrustedMetadata, refreshed: Refreshed, set_id: str, now: datetime) -> list[CatalogRelease]:
    """Commit A: newer metadata and the withdrawals they carry take effect now, so that a damaged part can't hold them back.

    Return the releases here that were withdrawn by it, as they were before.
    """
    trusted = refreshed.trusted
    new_roots = trusted.roots[len(before.roots) :]
    rest = {"timestamp": trusted.timestamp, "snapshot": trusted.snapshot, "targets": trusted.targets}
    documents = [*new_roots, *(data for data in rest.values() if data is not None)]
    subject = {
        "publisher": trusted.publisher,
        "set": set_id,
        "issued": format_time(refreshed.issued),
        "new_roots": [digest_of(root) for root in new_roots],
        **{name: digest_of(data) for name, data in rest.items() if data is not None},
    }
    with site.log.transaction():
        site.log.append("metadata.accept", subject, signer=site.actor, now=now, documents=documents)
        withdrawn = []
        said = withdrawals_in(refreshed.targets.targets)
        for release in site.log.releases():
            withdrawal = said.get(target_path(release.statement))
            if release.publisher == trusted.publisher and withdrawal is not None and release.withdrawal != withdrawal and release.state != WITHDRAWN:
                what = {**release.subject(), "severity": str(withdrawal.severity), "why": withdrawal.why}
                site.log.append("release.withdraw", what, signer=site.actor, now=now)
                withdrawn.append(replace(release, withdrawal=withdrawal))
    publish(site.home, site.log)
    return withdrawn


def _receive(
    site: OpenSite,
    arriving: ArrivingSet,
    checked: Checked,
    outcome: SetOutcome,
    *,
    now: datetime,
    progress: Progress,
) -> None:
    """Steps 6 to 9: parts into blobs, and each release into quarantine as soon as it is whole."""
    folders, index = arriving.folders, arriving.index
    receiver = Receiver(site.home.incoming, site.blobs, index, arriving.seal)
    _refuse_full(site.home, receiver.bytes_to_come)
    expected = _expected(receiver, index, outcome.media, checked.releases)
    receiver.arrivals.expect(expected)
    waiting = list(checked.releases)
    brought: set[Digest] = set(checked.copied)  # by this run, and no accepted release is made of it yet

    def settle() -> None:
        for each in list(waiting):
            if all(site.blobs.holds(blob.digest, blob.size) for blob in each.release.carried):
                waiting.remove(each)
                if _quarantine(site, each, index.set_id, outcome, now):
                    brought.difference_update(blob.digest for blob in each.release.carried)

    def settled(digest: Digest) -> None:
        brought.add(digest)
        settle()

    settle()
    began, outcome.received = time.monotonic(), receiver.bytes_to_open
    receiver.receive(folders, progress, settled)
    outcome.milliseconds = int((time.monotonic() - began) * 1000)
    outcome.refused.extend(receiver.refused.values())
    outcome.healed = receiver.healed
    if receiver.missing:
        receiver.arrivals.expect(_expected(receiver, index, outcome.media, waiting))
        raise incomplete(receiver, index, expected)
    for digest in brought:
        site.blobs.remove(digest)  # of refused releases only: nothing of them stays


def _expected(receiver: Receiver, index: Index, notes: Sequence[MediumNote], waiting: Sequence[VerifiedRelease]) -> Expected:
    """Return what ``import --status`` is to know of a set, with what its media hint about each other."""
    labels = {note.medium: note.label for note in notes if note.medium}  # a repair is none of the set's media
    spans = max((note.spans for note in notes), key=len, default=())
    return Expected(
        set_id=index.set_id,
        publisher=index.publisher,
        parts=index.parts,
        parity=len(index.numbers) - index.parts,
        releases=tuple(each.release.name for each in waiting),
        needed=tuple(receiver.missing),
        damaged={number: f"{damage.what}: {damage.why}" for number, damage in receiver.damaged.items()},
        media=tuple((labels.get(medium, ""), first, last) for medium, (first, last) in enumerate(spans, 1)),
        seen=tuple(sorted(labels)),
    )


def _note_media(site: OpenSite, outcome: SetOutcome, now: datetime) -> None:
    """Put on record which media of a set were at hand, as they call themselves; each once."""
    known = {(each.set_id, each.number, each.label) for each in site.log.media()}
    new = {(outcome.set_id, note.medium, note.label): note for note in outcome.media}
    with site.log.transaction():
        for note in (note for key, note in new.items() if key not in known):
            subject = {"set": outcome.set_id, "medium": note.medium, "media": len(note.spans), "label": note.label}
            site.log.append("medium.read", subject, signer=site.actor, now=now)


def _quarantine(site: OpenSite, verified: VerifiedRelease, set_id: str, outcome: SetOutcome, now: datetime) -> bool:
    """Step 7, structure; step 9, commit B: the release becomes visible, whole, in quarantine.  Return False where it is refused."""
    release = verified.release
    try:
        check_structure(site.blobs, release)
        check_evidence(site.blobs, release)
    except StoreFailed:
        raise
    except AirlockError as refusal:
        outcome.refused.append(refusal)
        return False
    subject = {
        "publisher": release.publisher,
        "repository": release.reference.repository,
        "tag": release.reference.tag,
        "number": release.number,
        "manifest": release.manifest.digest,
        "statement": verified.digest,
        "set": set_id,
    }
    # Another publisher, whose names this one took over, brought the same bytes under the same name and number: now this one answers for them.
    known = site.log.release_of(release.reference, release.number)
    with site.log.transaction():
        if known is None:
            site.log.append("release.quarantine", subject, signer=site.actor, now=now, documents=[verified.statement])
        elif known.publisher != release.publisher:  # otherwise it was here already, and blobs that were lost are back
            site.log.append("release.adopt", subject | {"before": known.publisher}, signer=site.actor, now=now, documents=[verified.statement])
    (outcome.present if known else outcome.new).append(release.name)
    return True


def _record_refusal(site: OpenSite, outcome: SetOutcome, refusal: AirlockError, now: datetime) -> None:
    subject = {"set": outcome.set_id, "publisher": outcome.publisher, "kind": type(refusal).__name__, "what": refusal.what[:500]}
    with site.log.transaction():
        site.log.append("set.refuse", subject, signer=site.actor, now=now)


def _refuse_full(home: Home, needed: int) -> None:
    with storage_errors(f"the store {home.root}"):
        status = os.statvfs(home.root)
    free = status.f_bavail * status.f_frsize
    if free < needed:
        raise StoreFailed(
            f"the store {home.root}: not enough space",
            why=f"{needed:,} bytes are to come, {free:,} are free",
            hint="free some space, then run the same command again; it continues where it stopped",
        )
