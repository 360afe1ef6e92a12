"""A medium as it lies in the slot: which sets are on it, and what in their folders may be opened.

Nothing outside of ``airlock/<set id>/`` is read.  Inside, only known names are opened; they must be regular files with one link and a bounded size,
compared without regard to ASCII letter case, because kiosks and FAT drivers change it.  Litter (``._*``, ``.DS_Store``, scanner reports) is listed,
never opened.  A medium is read-only here: reading never writes to it.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from registry.errors import AirlockError, FormatRefused, MediumDamaged, NotFound
from registry.media.index import MAX_INDEX_BYTES, MAX_PART_BYTES, MAX_PARTS
from registry.media.sets import FOLDER, MAX_HEADER_BYTES, SET_ID
from registry.media.stream import Source, sealed_size
from registry.store.files import TEMPORARY_PREFIX, fsync_directory, read_limited, replace_file, storage_errors
from registry.store.folders import make_unlinked
from registry.trust.refresh import CAPS, MAX_ROOTS

__all__ = ["OpenFile", "SetFolder", "SetWriter", "differs_from_sums", "find_sets", "folder_on", "limit_of"]

_HINTS = {"readme.txt": 64 << 10, "sha256sums": 2 << 20, "medium.json": 2 << 20}
_MAX_INDEX = sealed_size(2 * MAX_INDEX_BYTES)
_TOP = {"set.json": MAX_HEADER_BYTES, "index.sealed": _MAX_INDEX, "index.plain": _MAX_INDEX, **_HINTS}
_HEADER = "set.json"
_FOLDERS = ("metadata", "parts")
_PART = re.compile(r"[0-9]{8}\.(sealed|plain)\Z")
_ROOT = re.compile(r"[1-9][0-9]{0,3}\.root\.json\Z")


class OpenFile(Source, Protocol):
    """A file of a set, open for reading until the block ends."""

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None: ...

    def readable(self) -> bool:
        """Return True."""

    def readinto(self, into: bytearray | memoryview, /) -> int:
        """As :meth:`Source.readinto`."""


@dataclass(frozen=True, slots=True)
class SetFolder:
    """One set on one medium: the known files in it, by their canonical name, with path and size in bytes; and the litter beside them."""

    set_id: str
    path: Path
    files: dict[str, tuple[Path, int]]
    litter: tuple[str, ...] = field(default=())

    @property
    def roots(self) -> int:
        """How many root versions lie here, counted from 1 without a gap."""
        version = 0
        while f"metadata/{version + 1}.root.json" in self.files:
            version += 1
        return version

    def read(self, name: str, limit: int) -> bytes:
        """Return the content of a small file.

        Raises:
            FormatRefused: it is not there: the header, the index and the metadata belong to every medium.
            MediumDamaged: it can't be read.
        """
        if name.lower() not in self.files:
            raise FormatRefused(f"set {self.set_id}: {name} is missing", why=f"nothing of that name is in {self.path}", hint="copy the medium again")
        with storage_errors(f"the medium {self.path}", kind=MediumDamaged):
            return read_limited(self.files[name.lower()][0], limit, what=f"set {self.set_id}: {name}")

    def size(self, name: str) -> int | None:
        """Return how many bytes a file has, or None where it isn't there."""
        return self.files[name][1] if name in self.files else None

    def open(self, name: str) -> OpenFile:
        """Open a large file for reading, unbuffered; the caller wraps its reads in ``storage_errors``."""
        descriptor = os.open(self.files[name][0], os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        return FileIO(descriptor, "rb")


def find_sets(medium: Path) -> list[SetFolder]:
    """Return the sets on a medium, newest first by set id.

    Args:
        medium: the medium's root, its ``airlock`` folder, or one set's folder.

    Raises:
        NotFound: no such directory, or no set on it.
        FormatRefused: a set's folder holds links, devices, twins or oversized files.
        MediumDamaged: the medium can't be read.
    """
    with storage_errors(f"the medium {medium}", kind=MediumDamaged):
        if not medium.is_dir():
            raise NotFound(f"{medium}: not a directory", hint="name the directory where the medium is mounted, such as /media/usb")
        folders = sorted(_candidates(medium), key=lambda folder: folder.name.upper(), reverse=True)
        found = [_scan(folder) for folder in folders]
    if not found:
        raise NotFound(
            f"{medium}: there is no set on this medium", why=f"no folder {FOLDER}/<set id> in it", hint="is the right stick mounted there?"
        )
    return found


def folder_on(medium: Path, set_id: str) -> SetFolder | None:
    """Return the folder of one set on a medium, or None where it isn't there or can't be made sense of."""
    try:
        return next((each for each in find_sets(medium) if each.set_id == set_id), None)
    except AirlockError:
        return None


def limit_of(name: str) -> int:
    """Return the greatest size that is allowed for a known file, by its canonical name."""
    if name in _TOP:
        return _TOP[name]
    return sealed_size(MAX_PART_BYTES) if name.startswith("parts/") else CAPS[name.rpartition("/")[2].split(".")[-2]]


def differs_from_sums(folder: SetFolder, name: str) -> bool:
    """Tell whether a file's content isn't what ``SHA256SUMS`` beside it says: a hint for people, nobody decides by it."""
    try:
        lines = folder.read("SHA256SUMS", _HINTS["sha256sums"]).decode("ascii").splitlines()
        with folder.open(name) as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except (AirlockError, OSError, UnicodeDecodeError):
        return False
    return any(line.endswith(f"  {name}") and not line.startswith(found) for line in lines)


def _candidates(medium: Path) -> Iterator[Path]:
    if SET_ID.match(medium.name.upper()) and not medium.is_symlink():
        yield medium
        return
    top = medium
    if medium.name.lower() != FOLDER:
        named = [entry for entry in medium.iterdir() if entry.name.lower() == FOLDER]
        if len(named) > 1:
            raise FormatRefused(f"{medium}: more than one folder is called {FOLDER}", why="their names differ in letter case only")
        if not named or named[0].is_symlink() or not named[0].is_dir():
            return
        top = named[0]
    for entry in top.iterdir():
        if SET_ID.match(entry.name.upper()) and entry.is_dir():
            if entry.is_symlink():
                raise FormatRefused(
                    f"{entry}: is a link", why="a set is never reached through links", hint="ask for a fresh export on another medium"
                )
            yield entry


def _scan(folder: Path) -> SetFolder:
    files: dict[str, tuple[Path, int]] = {}
    litter: list[str] = []
    for name, entry in _entries(folder, "", litter):
        if name in _FOLDERS:
            files.update(_inner(entry, name, litter))
        else:
            files[name] = (entry, _size(entry, limit_of(name)))
    return SetFolder(folder.name.upper(), folder, files, tuple(sorted(litter)))


def _inner(folder: Path, name: str, litter: list[str]) -> Iterator[tuple[str, tuple[Path, int]]]:
    for known, entry in _entries(folder, f"{name}/", litter):
        yield known, (entry, _size(entry, limit_of(known)))


def _entries(folder: Path, prefix: str, litter: list[str]) -> Iterator[tuple[str, Path]]:
    """Yield the known names in a folder; refuse links and devices whatever they are called, and twins of known names."""
    seen: dict[str, str] = {}
    for entry in sorted(folder.iterdir()):
        mode = entry.lstat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise FormatRefused(
                f"{entry}: not a regular file", why="links, devices and pipes have no place in a set", hint="do not use this medium; keep it"
            )
        known = prefix + entry.name.lower()
        if not _is_known(known) or (known in _FOLDERS) != stat.S_ISDIR(mode):
            litter.append(prefix + entry.name)
            continue
        if known in seen:
            raise FormatRefused(f"{entry}: two files with one name", why=f"{seen[known]} and {entry.name} differ in letter case only")
        seen[known] = entry.name
        if len(seen) > MAX_PARTS + MAX_ROOTS:
            raise FormatRefused(f"{folder}: too many files")
        yield known, entry


def _is_known(name: str) -> bool:
    folder, slash, file = name.rpartition("/")
    if not slash:
        return name in _TOP or name in _FOLDERS
    if folder == "parts":
        return bool(_PART.match(file))
    return file in ("timestamp.json", "snapshot.json", "targets.json") or bool(_ROOT.match(file))


def _size(entry: Path, limit: int) -> int:
    status = entry.lstat()
    if status.st_nlink > 1:
        raise FormatRefused(
            f"{entry}: has several names", why="a hard link could stand for a file of this machine", hint="do not use this medium; keep it"
        )
    if status.st_size > limit:
        raise FormatRefused(f"{entry}: larger than any airlock writes", why=f"at most {limit} bytes are allowed, found {status.st_size}")
    return status.st_size


class SetWriter:
    """Writes one set's folder on a medium.  ``set.json`` comes last of the small files: a folder without it is no set yet."""

    def __init__(self, medium: Path, set_id: str) -> None:
        self.medium = medium
        # A kiosk that shouts may have left the folder in other letters; a second one beside it would be refused at import.
        named = [entry.name for entry in medium.iterdir() if entry.name.lower() == FOLDER] if medium.is_dir() else []
        self.path = medium / next(iter(named), FOLDER) / set_id

    def begin(self, small: dict[str, bytes]) -> None:
        """Write the small files (name below the set's folder to content), ``set.json`` last.

        Only files are renamed, never a folder: there are FAT drivers that lose what lies in a folder whose name changes.
        """
        make_unlinked(self.path.parent, self.path, *(self.path / name for name in _FOLDERS))
        self.sweep()
        for name, data in sorted(small.items(), key=lambda item: item[0] == _HEADER):
            replace_file(self.path / name, data)
        fsync_directory(self.medium)

    def begun(self) -> SetFolder | None:
        """Return the set's folder, swept of what an interrupted export left, or None where its small files are not all there yet."""
        found = folder_on(self.medium, self.path.name)
        if found is None or _HEADER not in found.files:
            return None
        self.sweep()
        return found

    def sweep(self) -> None:
        """Remove the temporary files that an interrupted export left in this set."""
        for leftover in (*self.path.glob(f"{TEMPORARY_PREFIX}*"), *self.path.glob(f"*/{TEMPORARY_PREFIX}*")):
            leftover.unlink()
