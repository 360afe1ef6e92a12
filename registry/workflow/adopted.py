"""What a site adopted: files outside of the store whose digests are known; a note that stays in this home, because paths may name people."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from registry.content import canonical
from registry.content.digest import Digest, digest_of, parse_digest
from registry.errors import FormatRefused
from registry.store.files import read_limited, replace_file, storage_errors
from registry.store.home import Home

__all__ = ["ADOPTED_FILE", "AdoptedFile", "list_digest", "read_adopted", "write_adopted"]

ADOPTED_FILE = "adopted.json"
_LIMIT = 64 << 20


@dataclass(frozen=True, slots=True)
class AdoptedFile:
    """Where a blob lies, and by what a change of it would show: its size in bytes, and when it was last written (nanoseconds since 1970)."""

    path: Path
    size: int
    mtime_ns: int

    def is_unchanged(self) -> bool:
        """Tell whether the file looks as it did when it was hashed; only hashing it again would prove it."""
        try:
            status = os.lstat(self.path)
        except OSError:
            return False
        return stat.S_ISREG(status.st_mode) and (status.st_size, status.st_mtime_ns) == (self.size, self.mtime_ns)


def read_adopted(home: Home) -> dict[Digest, AdoptedFile]:
    """Return what was adopted, by digest.

    Raises:
        FormatRefused: somebody changed the note.
    """
    path = home.root / ADOPTED_FILE
    try:
        with storage_errors(f"the home {home.root}"):
            data = read_limited(path, _LIMIT, what=str(path)) if path.exists() else b""
        document = canonical.load(data, what=str(path), limit=_LIMIT) if data else {"files": {}}
        return {
            parse_digest(digest, what=str(path)): AdoptedFile(Path(each["path"]), int(each["size"]), int(each["written"]))
            for digest, each in document["files"].items()
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        raise FormatRefused(
            f"{path}: not a note of this version", hint=f"move it away, then: airlock adopt DIR (it is {ADOPTED_FILE} anew)"
        ) from None


def write_adopted(home: Home, files: Mapping[Digest, AdoptedFile]) -> None:
    """Replace the note.  Times are text: nanoseconds are beyond what every JSON reader agrees on."""
    members = {digest: {"path": str(each.path), "size": each.size, "written": str(each.mtime_ns)} for digest, each in files.items()}
    with storage_errors(f"the home {home.root}"):
        replace_file(home.root / ADOPTED_FILE, canonical.dump({"v": 1, "files": members}), mode=0o600)


def list_digest(files: Mapping[Digest, AdoptedFile]) -> Digest:
    """Return the digest of the sorted list of digests: what the log says of it, without a path."""
    return digest_of(canonical.dump(sorted(files)))
