"""Reads the server's access journal: what the server writes line by line, and others only read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry.content import canonical
from registry.content.digest import Digest, digest_of
from registry.errors import FormatRefused, NotFound, StoreFailed
from registry.store.files import storage_errors

__all__ = ["FIRST", "JOURNAL_NAME", "LONGEST_LINE", "Entry", "read_journal"]

JOURNAL_NAME = "access.jsonl"
FIRST = Digest("sha256:" + "0" * 64)
"""What the first line names as the one before it."""
LONGEST_LINE = 4096


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: its number, its digest, and what it says."""

    seq: int
    digest: Digest
    members: Mapping[str, Any]


def read_journal(path: Path) -> Iterator[Entry]:
    """Yield the whole lines of the journal at ``path``, each checked against the one before it.

    Raises:
        NotFound: there is no journal.
        StoreFailed: it can't be read, or a line was changed, removed or added by somebody else than a server.
    """
    hint = "keep the file for whoever looks into it; the server can begin a new one when it is moved away"
    previous, number = FIRST, 0
    if not path.exists():
        raise NotFound(f"{path}: there is no access journal", hint="name the server's directory with --state DIR; airlock serve makes one")
    with storage_errors(f"the access journal {path}", hint="run this as a user who may read it"), path.open("rb") as stream:
        # One that is being written has no line end yet; what comes after this size is for the next reader.
        size = os.fstat(stream.fileno()).st_size
        while stream.tell() < size:
            line = stream.readline(LONGEST_LINE + 1)
            if not line.endswith(b"\n") and stream.tell() >= size:
                return
            try:
                members = canonical.load(line.removesuffix(b"\n"), what=f"line {number + 1}", limit=LONGEST_LINE)
            except FormatRefused as refusal:
                raise StoreFailed(f"the access journal {path} is damaged", why=str(refusal), hint=hint) from None
            if not isinstance(members, dict) or members.get("seq") != number + 1 or members.get("prev") != previous:
                raise StoreFailed(
                    f"the access journal {path} is damaged",
                    why=f"line {number + 1} does not follow the one before it: the file was cut or rewritten there",
                    hint=hint,
                )
            number, previous = number + 1, digest_of(line.removesuffix(b"\n"))
            yield Entry(number, previous, members)
