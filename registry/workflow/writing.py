"""Writing: a set that was begun goes on its media, one after another, each read back and noted in the log when it is finished."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from registry.content.digest import Digest, digest_of
from registry.errors import MediumDamaged
from registry.media.labels import default_label, parse_medium_label
from registry.media.planner import Span
from registry.media.seal import Seal
from registry.media.sets import metadata_names
from registry.store.files import replace_file, storage_errors
from registry.store.medium import SetWriter
from registry.trust.envelope import INDEX_TYPE, envelop
from registry.trust.refresh import OfferedMetadata
from registry.workflow.begun import BegunSet
from registry.workflow.lanes import write_parts
from registry.workflow.medium_notes import medium_json, readme
from registry.workflow.parts import Parts
from registry.workflow.progress import Advance, Progress
from registry.workflow.sheets import sheet_for, write_sheets
from registry.workflow.slots import Slots
from registry.workflow.station import OpenStation

__all__ = ["Way", "WrittenMedium", "metadata_files", "write_media"]


@dataclass(frozen=True, slots=True)
class Way:
    """How a set goes: on which media, with which labels, read back or not."""

    slots: Slots
    labels: Sequence[str] = ()
    read_back: bool = True

    @property
    def paths(self) -> list[Path]:
        """Where the media are mounted."""
        return self.slots.paths

    def __post_init__(self) -> None:
        for label in self.labels:
            parse_medium_label(label, what="--label")


@dataclass(frozen=True, slots=True)
class WrittenMedium:
    """One medium of a set: its number, its label, the set's folder on it (None where an earlier run wrote it, or a stream), its parts."""

    medium: int
    label: str
    folder: Path | None
    span: Span


def write_media(
    station: OpenStation, begun: BegunSet, way: Way, sources: Mapping[Digest, Path], *, now: datetime, progress: Progress
) -> list[WrittenMedium]:
    """Write every medium that is not finished yet, in order, and note each in the log; with the last of them the set is finished.

    Raises:
        MediumDamaged: a medium is missing, full, read-only, gone, or gives back other bytes than were written.
        TrustRefused: a source no longer holds what was pinned.
    """
    with Parts(begun.index, begun.seal, sources) as parts, _overall(begun, progress) as overall:
        writer = _Writer(station, begun, way, parts, now, progress, overall)
        return [writer.continue_after(medium) if medium in begun.finished else writer.write(medium) for medium in range(1, len(begun.spans) + 1)]


@contextmanager
def _overall(begun: BegunSet, progress: Progress) -> Iterator[Advance]:
    """Show the whole set where it has several media; each of them has a task of its own."""
    if len(begun.spans) == 1:
        yield lambda _: None
    else:
        with progress.task(f"set {begun.index.set_id}", sum(map(begun.index.part_length, begun.index.numbers))) as advance:
            yield advance


@dataclass(frozen=True, slots=True)
class _Writer:
    station: OpenStation
    begun: BegunSet
    way: Way
    parts: Parts
    now: datetime
    progress: Progress
    overall: Advance

    def continue_after(self, medium: int) -> WrittenMedium:
        """Pass over a medium that an earlier run finished, unless what it took was not what is pinned."""
        span = self.begun.spans[medium - 1]
        if not self.parts.pass_over(span.last, self.begun.finished[medium]):
            self.progress.say(f"medium {medium} of {len(self.begun.spans)} holds other bytes than the pinned ones; writing it again")
            return self.write(medium, again=True)
        self.overall(self._size(span))
        written = [each for each in self.station.log.media() if (each.set_id, each.number) == (self.begun.index.set_id, medium)]
        return WrittenMedium(medium, max(written, key=lambda each: each.seq).label, None, span)

    def write(self, medium: int, *, again: bool = False) -> WrittenMedium:
        span, count = self.begun.spans[medium - 1], len(self.begun.spans)
        path = self.way.slots.find(self.begun.index.set_id, medium, span)
        began = time.monotonic()
        folder = self._prepare_folder(path, medium)
        if again:
            self.parts.remove(folder, span.numbers)
        which = f"medium {medium} of {count}, " if count > 1 else ""
        with self.progress.task(f"{which}writing", self._size(span)) as advance:

            def advance_both(length: int) -> None:
                advance(length)
                self.overall(length)

            write_parts(self.parts, folder, span.numbers, advance_both)
        digest = None
        if self.way.read_back:
            with self.progress.task(f"{which}reading back", self._size(span)) as advance:
                sums = self.parts.read_back(folder, span.numbers, advance)
            digest = _write_sums(folder, self.begun.seal, sums)
        self._note(medium, int((time.monotonic() - began) * 1000), digest)
        if count > 1:
            self.progress.say(f"medium {medium} of {count} is finished: label {self._label(medium)}, in {path}")
        return WrittenMedium(medium, self._label(medium), folder, span)

    def _size(self, span: Span) -> int:
        return sum(map(self.begun.index.part_length, span.numbers))

    def _label(self, medium: int) -> str:
        labels = self.way.labels
        return labels[medium - 1] if medium <= len(labels) else default_label(self.begun.index.set_id, medium)

    def _prepare_folder(self, path: Path, medium: int) -> Path:
        """Return the set's folder on a medium, with everything in it but the parts."""
        begun = self.begun
        writer = SetWriter(path, begun.index.set_id)
        note = medium_json(begun.seal, medium, self._label(medium), begun.spans)
        with storage_errors(f"the medium {path}", kind=MediumDamaged):
            if (there := writer.begun()) is not None:
                replace_file(there.path / "medium.json", note)  # it may be called otherwise now; log, sheet and medium say the same
                return there.path
            index = envelop(begun.index.to_bytes(), INDEX_TYPE, [self.station.keys["station"]])
            writer.begin(
                {
                    "README.txt": readme(begun.index, begun.seal, medium, begun.spans),
                    "set.json": begun.header,
                    "medium.json": note,
                    begun.seal.index_name: begun.seal.index_file(index),
                    **metadata_files(begun.metadata),
                }
            )
        return writer.path

    def _note(self, medium: int, milliseconds: int, sums: Digest | None) -> None:
        """Put a finished medium on record; its transfer sheet is there before the log says so."""
        span = self.begun.spans[medium - 1]
        subject = {
            "set": self.begun.index.set_id,
            "medium": medium,
            "media": len(self.begun.spans),
            "label": self._label(medium),
            "first": span.first if span.numbers else 0,
            "last": span.last,
            "size": span.size,
            "read_back": self.way.read_back,
            "milliseconds": milliseconds,
            "passed": self.parts.passed(span.last),
            **({"sums": sums} if sums else {}),
        }
        log, signer = self.station.log, self.station.keys["actor"]
        with log.transaction():
            log.append("medium.write", subject, signer=signer, now=self.now)
            if medium == len(self.begun.spans):
                log.append("set.finish", {"set": self.begun.index.set_id}, signer=signer, now=self.now)
            write_sheets(self.station.home, [sheet_for(log, self.begun.index.set_id, medium)])


def metadata_files(metadata: OfferedMetadata) -> dict[str, bytes]:
    """Return the metadata of a set as files: name below the set's folder to content, in the order of verification."""
    names = metadata_names(len(metadata.roots))
    return dict(zip(names, (*metadata.roots, metadata.timestamp, metadata.snapshot, metadata.targets), strict=True))


def _write_sums(folder: Path, seal: Seal, sums: dict[str, str]) -> Digest:
    """Write ``SHA256SUMS`` and return its digest: once it is there, somebody has seen that the medium holds what was written."""
    with storage_errors(f"the medium {folder}", kind=MediumDamaged):
        sums |= {name: digest_of((folder / name).read_bytes())[7:] for name in (seal.index_name, "set.json")}
        lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))
        replace_file(folder / "SHA256SUMS", lines.encode("ascii"))
    return digest_of(lines.encode("ascii"))
