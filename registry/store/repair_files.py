"""Where repair requests lie on a medium: ``airlock/repairs/<set id>-<first 8 of the site id>.request``, beside the sets and never inside one.

The names say nothing that anybody trusts.  A newer request for the same set takes the place of the one before.
"""

from __future__ import annotations

import re
import stat
from pathlib import Path

from registry.errors import MediumDamaged, NotFound, Usage
from registry.media.sets import FOLDER
from registry.store.files import read_limited, replace_file, storage_errors
from registry.store.folders import named_folder, own_folder
from registry.trust.repair import MAX_REPAIR_BYTES

__all__ = ["read_repair", "write_repair"]

_REPAIRS = "repairs"
_NAME = re.compile(r"[0-7][0-9a-z]{25}-[0-9a-f]{8}\.request\Z")
_SHOWN = 20


def write_repair(to: Path, set_id: str, site: str, data: bytes) -> Path:
    """Write a request to a medium, or to a file of any name; return where it is.

    Raises:
        NotFound: neither a directory nor a file's name in one.
        FormatRefused: the medium's folders are links, or there are twins.
        MediumDamaged: it can't be written.
    """
    with storage_errors(f"the medium {to}", kind=MediumDamaged):
        if not to.is_dir() and not to.parent.is_dir():
            hint = "name the directory where the medium is mounted, or a file in a directory that is there"
            raise NotFound(f"{to}: no such directory", hint=hint)
        path = own_folder(to, _REPAIRS) / f"{set_id}-{site[:8]}.request" if to.is_dir() else to
        replace_file(path, data)
    return path


def read_repair(path: Path) -> tuple[Path, bytes]:
    """Return the one request at ``path``, a file or a medium, and where it is.

    Raises:
        NotFound: nothing there, or no request on the medium.
        Usage: several requests are on the medium.
        FormatRefused: the medium's folders are links, or there are twins.
        MediumDamaged: larger than any request, or it can't be read.
    """
    with storage_errors(f"the medium {path}", kind=MediumDamaged):
        file = _only_one(path) if path.is_dir() else path
        if not file.exists():
            raise NotFound(f"{file}: there is no such file or directory", hint="name a repair request, or the directory where the medium is mounted")
        return file, read_limited(file, MAX_REPAIR_BYTES, what=str(file))


def _only_one(medium: Path) -> Path:
    top = named_folder(medium, FOLDER)
    folder = named_folder(top, _REPAIRS) if top is not None else None
    named = [entry for entry in folder.iterdir() if _NAME.match(entry.name.lower())] if folder is not None else []
    found = sorted(entry for entry in named if stat.S_ISREG(entry.lstat().st_mode))
    if not found:
        raise NotFound(
            f"{medium}: there is no repair request on this medium",
            why=f"no file {FOLDER}/{_REPAIRS}/….request in it",
            hint="at the site: airlock repair-request --to MEDIUM",
        )
    if len(found) > 1:
        hint = "\n".join(f"--repair {each}" for each in found[:_SHOWN])
        raise Usage(f"{medium}: several repair requests are on this medium", why="each is answered with a command of its own", hint=hint)
    return found[0]
