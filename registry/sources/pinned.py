"""What a source gives when a model is pinned."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from registry.content.digest import Digest, from_hex

__all__ = ["Options", "Pinned", "Progress", "hash_stream", "open_regular"]

Progress = Callable[[int], None]
"""Called with the number of bytes read since the call before."""

_CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Options:
    """Files whose texts become layers of a model made from a GGUF file."""

    template: Path | None = None
    system: Path | None = None
    parameters: Path | None = None
    licenses: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Pinned:
    """A model whose every blob was there, whole and with the right digest.

    ``manifest_bytes`` are canonical; ``newline_dropped`` says that the source had one newline after them.  Every blob of the manifest is
    either in ``small`` (the config, texts) or in ``blobs`` (where it lies).  ``source`` is the text by which
    :func:`registry.sources.pinning.locate` finds the large blobs again; whoever reads them then hashes them again.
    """

    manifest_bytes: bytes
    newline_dropped: bool
    small: Mapping[Digest, bytes]
    blobs: Mapping[Digest, Path]
    source: str


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading; links are followed.

    Raises:
        OSError: it isn't there, may not be read, or is no regular file; each source words that for the place where it lies.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not make us wait
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def hash_stream(file: BufferedReader, progress: Progress) -> tuple[Digest, int]:
    """Return the digest and the length in bytes of what ``file`` holds from its beginning."""
    sha256 = hashlib.sha256()
    size = 0
    buffer = memoryview(bytearray(_CHUNK))
    file.seek(0)
    while count := file.readinto(buffer):
        sha256.update(buffer[:count])
        size += count
        progress(count)
    return from_hex(sha256.hexdigest()), size
