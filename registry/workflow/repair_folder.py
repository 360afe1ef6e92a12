"""The set's folder on the medium that a repair goes to: a new one, or the very one whose parts are damaged."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from registry.content.digest import Digest, digest_of
from registry.errors import AirlockError, MediumDamaged, NotFound
from registry.media.index import Index
from registry.media.labels import default_label
from registry.media.seal import Seal
from registry.media.sets import parse_header
from registry.store.files import replace_file, storage_errors
from registry.store.medium import SetFolder, SetWriter, find_sets
from registry.trust.refresh import TrustedMetadata, refresh
from registry.workflow.medium_notes import read_medium_note
from registry.workflow.offered import read_index, read_metadata
from registry.workflow.slots import free_bytes

__all__ = ["RepairFolder", "find_folder"]

_SUMS = "SHA256SUMS"
_SUMS_BYTES = 2 << 20
_NOTES = ("readme.txt", "medium.json")
_SUMS_LINE = re.compile(r"([0-9a-f]{64})  ([a-z]+/?[0-9]*\.[a-z]+)")


@dataclass(frozen=True, slots=True)
class RepairFolder:
    """Where a repair goes: ``medium`` is the mounted directory, ``there`` what lies in the set's folder already, if it is one."""

    medium: Path
    set_id: str
    there: SetFolder | None

    @property
    def path(self) -> Path:
        """The set's folder."""
        return self.there.path if self.there is not None else SetWriter(self.medium, self.set_id).path

    def paths(self, names: Mapping[int, str]) -> dict[int, Path]:
        """Return where each part is written, by the name it has: over the one that is there, whatever letters a kiosk left it in."""
        files = self.there.files if self.there is not None else {}
        folder = next((path.parent for name, (path, _) in files.items() if name.startswith("parts/")), self.path / "parts")
        return {number: files[name][0] if name in files else folder / name.rpartition("/")[2] for number, name in names.items()}

    def refuse_full(self, files: Mapping[str, int], beside: int) -> None:
        """Return if files of these sizes, by name, and ``beside`` more bytes fit; those that are there are replaced one after another.

        Raises:
            MediumDamaged: they don't.
        """
        there = self.there.files if self.there is not None else {}
        replaced = [size for name, size in files.items() if name in there]
        needed = sum(size - (there[name][1] if name in there else 0) for name, size in files.items()) + max(replaced, default=0) + beside
        free = free_bytes(self.medium)
        if free < needed:
            raise MediumDamaged(
                f"{self.medium}: not enough space",
                why=f"the repair needs {needed:,} bytes, {free:,} are free",
                hint="delete what is no longer needed there, or take another medium",
            )

    def place(self, known: Sequence[tuple[int, str]], label: str) -> tuple[int, str]:
        """Return number and label of the medium: those of one of the set's ``known`` media that this is, or 0 and a label of its own."""
        note = read_medium_note(self.there) if self.there is not None else None
        if note is not None and (note.medium, note.label) in known and label in ("", note.label):
            return note.medium, note.label
        return 0, label or (note.label if note is not None else default_label(self.set_id, 0))

    def is_good(self, index: Index, header: bytes, seal: Seal, roots: tuple[bytes, ...], now: datetime) -> bool:
        """Tell whether a site would take the set from what is there, its parts aside."""
        if self.there is None:
            return False
        try:
            refreshed = refresh(TrustedMetadata(roots), read_metadata(self.there), now=now, floor=None)
            found = read_index(self.there, parse_header(header, what="set.json"), seal, *refreshed.keys("timestamp"))
            return self.there.read("set.json", len(header)) == header and found == index
        except AirlockError:
            return False

    def write_small(self, small: dict[str, bytes]) -> None:
        """Write everything but the parts anew; the header goes first and comes last, so that a stopped run is not taken for a whole one.

        One of the set's own media goes on saying which it is.
        """
        note = read_medium_note(self.there) if self.there is not None else None
        kept = {"sha256sums", *(_NOTES if note is not None and note.medium else ())}
        with storage_errors(f"the medium {self.medium}", kind=MediumDamaged):
            files = self.there.files if self.there is not None else {}
            old = [name for name in files if not name.startswith("parts/") and name not in kept]
            for name in sorted(old, key=lambda each: each != "set.json"):
                files[name][0].unlink()
            writer = SetWriter(self.medium, self.set_id)
            writer.path = self.path
            writer.begin({name: data for name, data in small.items() if name.lower() not in kept.intersection(files)})

    def sweep(self) -> None:
        """Remove the temporary files that an interrupted run left."""
        with storage_errors(f"the medium {self.medium}", kind=MediumDamaged):
            writer = SetWriter(self.medium, self.set_id)
            writer.path = self.path
            writer.sweep()

    def write_sums(self, written: Sequence[str], sums: Mapping[str, str], small: Sequence[str]) -> Digest | None:
        """Bring ``SHA256SUMS`` up to date and return its digest, None where there is none.

        Args:
            written: the names of the parts that were written.
            sums: SHA-256 in hexadecimal, by name, of those that were read back; none without read-back.
            small: the files that stand in it beside the parts.
        """
        with storage_errors(f"the medium {self.medium}", kind=MediumDamaged):
            path = self._named(_SUMS)
            before = {match[2]: match[1] for line in _lines(path) if (match := _SUMS_LINE.fullmatch(line))}
            now = {name: digest for name, digest in before.items() if name not in written} | dict(sums)
            if now:
                now |= {name: digest_of(self._named(name).read_bytes())[7:] for name in small}
            if not now:
                path.unlink(missing_ok=True)
                return None
            data = "".join(f"{digest}  {name}\n" for name, digest in sorted(now.items())).encode("ascii")
            if not path.exists() or path.read_bytes() != data:
                replace_file(path, data)
        return digest_of(data)

    def _named(self, name: str) -> Path:
        files = self.there.files if self.there is not None else {}
        found = files[name.lower()][0] if name.lower() in files else self.path / name
        return found if found.exists() else self.path / name


def find_folder(medium: Path, set_id: str) -> RepairFolder:
    """Return where a set's repair goes on a medium.

    Raises:
        FormatRefused: the medium holds what no set holds; a site would refuse it after the repair as well.
        MediumDamaged: it can't be read.
    """
    try:
        there = next((each for each in find_sets(medium) if each.set_id == set_id), None)
    except NotFound:
        there = None
    return RepairFolder(medium, set_id, there)


def _lines(path: Path) -> list[str]:
    if not path.exists() or path.stat().st_size > _SUMS_BYTES:
        return []
    return path.read_bytes().decode("ascii", errors="replace").splitlines()
