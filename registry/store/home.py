"""A home: the directory in which a station, a site or a signer keeps everything it owns."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from registry.content import canonical
from registry.errors import FormatRefused, NotFound, StoreFailed, Usage
from registry.store.files import read_limited, replace_file, storage_errors, sweep_temporaries

__all__ = ["ESCROW", "SIGNER", "SITE", "STATION", "Home"]

STATION = "station"
SITE = "site"
SIGNER = "signer"
ESCROW = "escrow"
_MARK = "home.json"
_INIT = {STATION: "airlock init", SITE: "airlock site init", SIGNER: "airlock key new NAME", ESCROW: "airlock escrow new"}
_PLACE = {STATION: "a publishing station (outside)", SITE: "a site registry (inside)", SIGNER: "a signer (outside)", ESCROW: "an escrow"}


class Home:
    """The directory of one station, one site or one signer.  No file in it holds an absolute path: a copy at rest works elsewhere."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def blobs(self) -> Path:
        """Where the blobs lie."""
        return self.root / "blobs"

    @property
    def database(self) -> Path:
        """The writer's database; nobody else opens it."""
        return self.root / "airlock.db"

    @property
    def incoming(self) -> Path:
        """Blobs that are not whole yet."""
        return self.root / "incoming"

    @property
    def view(self) -> Path:
        """The published view."""
        return self.root / "published" / "view.json"

    @property
    def sheets(self) -> Path:
        """The transfer sheets of the media that a station wrote."""
        return self.root / "sheets"

    def kind(self) -> str | None:
        """Return ``station``, ``site``, ``signer``, or None where there is no home yet."""
        try:
            document = canonical.load(read_limited(self.root / _MARK, 4096, what=_MARK), what=_MARK, limit=4096)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not isinstance(document, dict) or document.get("v") != 1 or document.get("kind") not in _INIT:
            raise FormatRefused(f"{self.root / _MARK}: not a home of this version", hint="use the airlock that made it")
        return str(document["kind"])

    def require(self, kind: str) -> None:
        """Return if this is a home of ``kind``, or say how to get one."""
        found = self.kind()
        if found is None:
            raise NotFound(
                f"{self.root}: there is no airlock home",
                hint=f"create one: {_INIT[kind]}\nor name the right one with --home DIR or AIRLOCK_HOME",
            )
        if found != kind:
            raise Usage(
                f"{self.root}: is the home of {_PLACE[found]}",
                why=f"this command belongs to {_PLACE[kind]}",
                hint="name the other home with --home DIR or AIRLOCK_HOME",
            )

    def sweep(self) -> None:
        """Remove the temporary files that an interrupted writer left; the caller holds the lock."""
        with storage_errors(f"the home {self.root}"):
            for directory in (self.root, self.incoming, self.view.parent, self.sheets, *self.blobs.glob("sha256/*")):
                sweep_temporaries(directory)

    def create(self) -> None:
        """Make the directory, readable by its owner; a home comes to be only by :meth:`mark`."""
        with storage_errors(f"the home {self.root}"):
            self.root.mkdir(mode=0o755, parents=True, exist_ok=True)

    def mark(self, kind: str) -> None:
        """Make the directory a home of ``kind``: the last step of ``init``."""
        replace_file(self.root / _MARK, canonical.dump({"v": 1, "kind": kind}))

    @contextmanager
    def locked(self, command: str) -> Iterator[None]:
        """Hold the writer's lock; the kernel gives it back however the process ends.

        Raises:
            StoreFailed: another process holds it; the message says which.
        """
        with storage_errors(f"the home {self.root}"):
            descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "r+b", buffering=0) as stream:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StoreFailed(
                    f"{self.root}: another command is writing",
                    why=_holder(stream.read(4096)),
                    hint="wait until it has ended, then run the same command again",
                ) from None
            with suppress(OSError):  # a full disk can't note who holds the lock; it is held all the same, and the sweep may make room
                stream.truncate(0)
                stream.write(json.dumps({"pid": os.getpid(), "command": command, "since": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}).encode())
            yield


def _holder(data: bytes) -> str:
    try:
        holder = json.loads(data)
        return f"airlock {holder['command']} (process {holder['pid']}) since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        return "another airlock process"
