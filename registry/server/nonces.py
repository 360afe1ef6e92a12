"""Remembers which signatures were used, for all workers of one server and across a restart: each opens the door once."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from pathlib import Path

from registry.errors import StoreFailed

__all__ = ["Nonces"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS nonces (nonce TEXT PRIMARY KEY, expires INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_expiry ON nonces (expires);
"""


class Nonces:
    """One SQLite file, opened once by each worker.  It grows only with signatures of enrolled nodes, and forgets the expired ones."""

    def __init__(self, path: Path) -> None:
        """Open or create the file.

        Raises:
            StoreFailed: it can't be opened.
        """
        try:
            self._database = sqlite3.connect(path, timeout=5, isolation_level=None)
            self._database.execute("PRAGMA journal_mode = WAL").fetchone()
            self._database.execute("PRAGMA synchronous = NORMAL")  # kill -9 loses nothing; after a power cut the timestamps have run out
            self._database.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise StoreFailed(f"{path}: can't be used", why=str(error), hint=f"remove it while no server runs: rm {path}*") from error

    def use(self, nonce: str, *, expires: int, now: float) -> bool:
        """Remember ``nonce`` until ``expires`` (Unix seconds); tell whether this was its first use.

        Raises:
            StoreFailed: it can't be remembered; then it must not count.
        """
        try:
            self._database.execute("DELETE FROM nonces WHERE expires < ?", (int(now),))
            return self._database.execute("INSERT OR IGNORE INTO nonces VALUES (?, ?)", (nonce, expires)).rowcount == 1
        except sqlite3.Error as error:
            raise StoreFailed("the nonces can't be written down", why=str(error)) from error

    def close(self) -> None:
        """Close the file."""
        with suppress(sqlite3.Error):
            self._database.close()
