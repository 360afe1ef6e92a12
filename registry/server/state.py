"""The server's own directory: the only place it writes to.

``server.key`` holds the secrets behind tokens and links and survives a restart; ``access.jsonl`` is the journal (:mod:`registry.server.journal`);
``nonces.db`` remembers signatures that were used (:mod:`registry.server.nonces`).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from registry.errors import StoreFailed
from registry.store.access_journal import JOURNAL_NAME
from registry.store.files import storage_errors

__all__ = ["JOURNAL_NAME", "KEY_NAME", "NONCES_NAME", "state_directory"]

KEY_NAME = "server.key"
NONCES_NAME = "nonces.db"
_LOCK_NAME = "lock"


@contextmanager
def state_directory(path: Path) -> Iterator[Path]:
    """Make ``path`` if need be (mode 0700) and hold it against a second server while the block runs; the workers of one server share it.

    Raises:
        StoreFailed: this user can't write there, or another server does.
    """
    hint = "run the server as the user who owns this directory, or choose another one for its state"
    with storage_errors(f"the server's own directory {path}", hint=hint):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path / _LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreFailed(
                f"{path}: in use by another server",
                why="two servers can't write one journal",
                hint="stop the other one, or give this one a state directory; for more processes: airlock serve --workers N",
            ) from None
        yield path
    finally:
        os.close(lock)
