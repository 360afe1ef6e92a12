"""The two ends of a one-way link: a pipe, a file or a tape that a stream is written to or read from, once, from its beginning to its end."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from io import FileIO

from registry.errors import MediumDamaged
from registry.store.files import storage_errors

__all__ = ["keep", "link_errors", "open_link"]

_PIPE_BYTES = 1 << 20  # a segment; a pipe's usual 64 KiB cost sixteen times as many turns of reader and writer
_NOTHING_KEPT = (errno.EINVAL, errno.ENOTSUP, errno.EROFS)
"""What fsync says of a pipe, a socket and some devices."""


def open_link(descriptor: int, mode: str) -> FileIO:
    """Return one end of a link, unbuffered; ``mode`` is ``rb`` or ``wb``.  It takes over the descriptor."""
    os.set_blocking(descriptor, True)  # whoever shares the pipe may have wished otherwise
    with contextlib.suppress(OSError):  # not a pipe, or above what this user may ask for
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return FileIO(descriptor, mode)


def keep(link: FileIO) -> None:
    """Make what was written durable where the link leads into a file."""
    try:
        os.fsync(link.fileno())
    except OSError as error:
        if error.errno not in _NOTHING_KEPT:
            raise


@contextlib.contextmanager
def link_errors() -> Iterator[None]:
    """Turn what the system says while a stream is written into an error for people."""
    with storage_errors("the stream", kind=MediumDamaged, hint="run the same command again; it sends the whole set once more"):
        try:
            yield
        except BrokenPipeError as gone:
            raise MediumDamaged(
                "the stream was cut: whoever read it has gone",
                why="the other end of the pipe is closed",
                hint="look what the other end says, then run the same command again; it sends the whole set once more",
            ) from gone
