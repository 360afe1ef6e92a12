"""Model files as they lie at a site that had models before: in an Ollama store, or anywhere on an old share.

Regular files only, and no link is followed.  A file that is called ``sha256-<64 hex>``, as Ollama calls its blobs, says what its digest should be.
Inside a directory only files that are called like models count: what else lies on a share is nobody's business, not even as a digest.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from registry.content.digest import Digest, from_hex

__all__ = ["FoundFile", "find_model_files", "open_unlinked"]

_BLOB = re.compile(r"sha256[-:]([0-9a-f]{64})\Z")  # Windows and newer Ollamas write a hyphen, old ones wrote a colon
_SUFFIXES = (".gguf", ".safetensors", ".bin")


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file that may hold a model's blob; ``claimed`` is the digest it is called by, None for any other name."""

    path: Path
    size: int
    claimed: Digest | None


def find_model_files(place: Path) -> Iterator[FoundFile]:
    """Yield the model files at ``place``: the file itself whatever it is called, or those in a directory and all that are below it.

    Raises:
        OSError: ``place`` isn't there, or a directory can't be read.
    """
    if not stat.S_ISDIR(place.lstat().st_mode):
        yield from _file(place)
        return
    for directory, folders, names in os.walk(place, onerror=_raise):
        if "blobs" in folders and "manifests" in folders:
            folders.remove("manifests")  # an Ollama store: what it says of names is not what we are looking for
        folders.sort()
        for name in sorted(names):
            if _BLOB.match(name) or name.lower().endswith(_SUFFIXES):
                yield from _file(Path(directory, name))


def open_unlinked(path: Path) -> FileIO:
    """Open a regular file for reading, unbuffered, and never through a link of this name.

    Raises:
        OSError: it isn't there, may not be read, or is no regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("not a regular file")
    return FileIO(descriptor, "rb")


def _file(path: Path) -> Iterator[FoundFile]:
    status = path.lstat()
    if stat.S_ISREG(status.st_mode) and status.st_size > 0:
        match = _BLOB.match(path.name)
        yield FoundFile(path, status.st_size, from_hex(match[1]) if match else None)


def _raise(error: OSError) -> None:
    raise error
