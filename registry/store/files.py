"""The only module that renames and fsyncs: nothing is visible before it is whole.

Every write goes to a temporary name in the same directory, is fsync'ed, renamed over the final name, and the directory is fsync'ed, so that
kill -9 or a power cut leaves either the old bytes or the new ones.  Temporary names begin with ``.airlock-`` and are swept by the next writer.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from registry.errors import AirlockError, MediumDamaged, StoreFailed

__all__ = [
    "TEMPORARY_PREFIX",
    "AtomicFile",
    "drop_cache",
    "fsync_directory",
    "new_file",
    "read_limited",
    "replace_file",
    "storage_errors",
    "sweep_temporaries",
    "write_all",
    "write_steadily",
]

TEMPORARY_PREFIX = ".airlock-"
_STRETCH = 16 << 20
_NO_MODES = (errno.EPERM, errno.ENOSYS, errno.ENOTSUP)
"""What FAT, exFAT and their FUSE programs say when they are asked for a mode they can't keep."""


class AtomicFile:
    """A file being written under a temporary name; :meth:`commit` makes it visible, anything else makes it vanish.

    ``stream`` is unbuffered and open for reading and writing.
    """

    def __init__(self, path: Path, *, mode: int) -> None:
        self.path = path
        self._temporary = path.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}")
        descriptor = os.open(self._temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            os.fchmod(descriptor, mode)  # the umask must not decide who may read the store
        except OSError as error:
            if error.errno not in _NO_MODES:
                os.close(descriptor)
                self._temporary.unlink()
                raise
        self.stream: IO[bytes] = os.fdopen(descriptor, "r+b", buffering=0)

    def commit(self) -> None:
        """Fsync, rename to the final name, fsync the directory."""
        os.fsync(self.stream.fileno())
        self.stream.close()
        os.replace(self._temporary, self.path)  # noqa: PTH105 - the pair of this module's fsyncs
        fsync_directory(self.path.parent)

    def discard(self) -> None:
        """Close and remove what was written; harmless after :meth:`commit`."""
        self.stream.close()
        self._temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def new_file(path: Path, *, mode: int = 0o644) -> Iterator[IO[bytes]]:
    """Yield a stream whose bytes appear at ``path`` when the block ends well, and never when it doesn't."""
    file = AtomicFile(path, mode=mode)
    try:
        yield file.stream
        file.commit()
    finally:
        file.discard()


def replace_file(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace the content of ``path`` by ``data`` in one step."""
    with new_file(path, mode=mode) as stream:
        write_all(stream, data)


def write_all(stream: IO[bytes], data: bytes | memoryview) -> None:
    """Write all of ``data`` to an unbuffered stream, which may take less at a time."""
    view = memoryview(data)
    while view:
        view = view[stream.write(view) :]


def fsync_directory(directory: Path) -> None:
    """Make the names in ``directory`` durable; file systems that can't fsync a directory are left to themselves."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def drop_cache(descriptor: int) -> None:
    """Ask the kernel to forget the cached pages of a file, so that the next read comes from the device (posix_fadvise(2))."""
    with contextlib.suppress(OSError):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def write_steadily(descriptor: int, offset: int, length: int) -> None:
    """Once ``length`` bytes were written at ``offset``: have the kernel write each full 16 MiB to the device, so that fsync finds little left.

    Linux begins to write dirty pages when it is told that they are not needed (posix_fadvise(2), mm/fadvise.c); it forgets only those that are
    clean already.  On ext4 2 GiB took 1.5 s instead of 2.5.
    """
    first, last = offset // _STRETCH, (offset + length) // _STRETCH
    if last > first:
        with contextlib.suppress(OSError):
            os.posix_fadvise(descriptor, first * _STRETCH, (last - first) * _STRETCH, os.POSIX_FADV_DONTNEED)


def read_limited(path: Path, limit: int, *, what: str) -> bytes:
    """Return the whole content of the regular file at ``path``.

    Raises:
        MediumDamaged: longer than ``limit`` bytes, or a link or device instead of a file.  The rest of the file is never read.
        OSError: as the operating system says.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise MediumDamaged(f"{what}: not a regular file", why="a link, a device or a pipe lies in its place")
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise MediumDamaged(f"{what}: larger than any airlock writes", why=f"at most {limit} bytes are allowed")
    return data


def sweep_temporaries(directory: Path) -> int:
    """Remove what an interrupted writer left in ``directory``; return how many files that were.  Call it only while holding the writer's lock."""
    left = [entry for entry in directory.glob(f"{TEMPORARY_PREFIX}*") if entry.is_file() and not entry.is_symlink()]
    for entry in left:
        entry.unlink(missing_ok=True)
    return len(left)


@contextlib.contextmanager
def storage_errors(what: str, *, kind: type[AirlockError] = StoreFailed, hint: str = "") -> Iterator[None]:
    """Turn what a disk says into an error for people.

    Args:
        what: the thing being read or written, such as ``the medium /media/usb``.
        kind: :class:`StoreFailed` for our own disk, :class:`MediumDamaged` for a medium.
        hint: the next command; a full disk adds its own.
    """
    try:
        yield
    except OSError as error:
        reason = {
            errno.ENOSPC: "no space is left",
            errno.EDQUOT: "the disk quota is used up",
            errno.EROFS: "it is mounted read-only",
            errno.EACCES: "this user may not do that",
            errno.EPERM: "this user may not do that",
            errno.EIO: "the device reports an input/output error",
            errno.ENODEV: "the device is gone",
            errno.ENXIO: "the device is gone",
            errno.ENOTCONN: "the device is gone",
            errno.EFBIG: "the file system can't hold a file of that size",
            errno.ENOENT: "it is not there",
        }.get(error.errno or 0, os.strerror(error.errno) if error.errno else str(error))
        where = f" ({error.filename})" if error.filename else ""
        verb = "can't be read" if kind is MediumDamaged and error.errno in (errno.EIO, errno.ENOENT, errno.EACCES) else "can't be used"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            verb, hint = "is full", hint or "free some space and run the same command again; it continues where it stopped"
        raise kind(f"{what} {verb}", why=f"{reason}{where}", hint=hint) from error
