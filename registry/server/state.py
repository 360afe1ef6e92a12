"""The server's own directory: the only place it writes to.

``server.key`` holds the secret behind capability URLs and survives a restart; ``access.jsonl`` is the journal (:mod:`registry.server.journal`).
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from registry.content import canonical
from registry.errors import FormatRefused, StoreFailed
from registry.store.files import read_limited, replace_file, storage_errors

__all__ = ["JOURNAL_NAME", "KEY_NAME", "load_secret", "state_directory"]

JOURNAL_NAME = "access.jsonl"
KEY_NAME = "server.key"
_LOCK_NAME = "lock"
_SECRET = re.compile(r"[0-9a-f]{64}\Z")


@contextmanager
def state_directory(path: Path) -> Iterator[Path]:
    """Make ``path`` if need be (mode 0700) and hold it against a second server while the block runs.

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
                hint="stop the other one, or give this one a state directory",
            ) from None
        yield path
    finally:
        os.close(lock)


def load_secret(directory: Path) -> bytes:
    """Return the 32 secret bytes in ``directory``, made at the first start.  Call it only inside :func:`state_directory`.

    Raises:
        StoreFailed: unreadable, or not what this module wrote.
    """
    path = directory / KEY_NAME
    with storage_errors(f"the server's secret {path}", hint="run the server as the user who owns it"):
        if not path.exists():
            replace_file(path, canonical.dump({"v": 1, "secret": secrets.token_hex(32)}), mode=0o600)
        data = read_limited(path, 4096, what=str(path))
    try:
        document = canonical.load(data, what=str(path), limit=4096)
    except FormatRefused as refusal:
        raise _damaged(path, refusal.why) from None
    if not isinstance(document, dict) or document.keys() != {"v", "secret"} or document["v"] != 1 or not _SECRET.match(str(document["secret"])):
        raise _damaged(path, "expected version 1 with 64 hexadecimal digits")
    return bytes.fromhex(document["secret"])


def _damaged(path: Path, why: str) -> StoreFailed:
    return StoreFailed(f"{path}: not the server's secret", why=why, hint="remove it; running pulls then have to start again")
