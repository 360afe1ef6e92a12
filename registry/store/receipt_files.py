"""Where receipts lie on a medium: ``airlock/receipts/<first 8 of the site id>-<time>.receipt``, beside the sets and never inside one.

Names are compared without regard to ASCII letter case, because kiosks and FAT drivers change it, and say nothing that anybody trusts.
"""

from __future__ import annotations

import re
import stat
from datetime import datetime
from pathlib import Path

from registry.errors import FormatRefused, NotFound, Usage
from registry.media.sets import FOLDER
from registry.store.folders import named_folder, own_folder

__all__ = ["find_receipts", "new_receipt_path"]

_RECEIPTS = "receipts"
_NAME = re.compile(r"[0-9a-f]{8}-[0-9]{8}t[0-9]{6}z\.receipt\Z")
_MAX_FILES = 1000


def new_receipt_path(to: Path, site: str, now: datetime) -> Path:
    """Return where a receipt that goes to ``to`` is written; the folders for it are there then.

    Raises:
        NotFound: neither a directory nor a file's name in one.
        Usage: something else than a file has that name.
        FormatRefused: the medium's folders are links, or there are twins.
        OSError: as the operating system says.
    """
    if to.is_dir():
        return own_folder(to, _RECEIPTS) / f"{site[:8]}-{now.strftime('%Y%m%dT%H%M%SZ')}.receipt"
    if not to.parent.is_dir():
        raise NotFound(f"{to}: no such directory", hint="name the directory where the medium is mounted, or a file in a directory that is there")
    if to.exists() and not to.is_file():
        raise Usage(f"{to}: not a regular file", hint="name the directory where the medium is mounted, such as /media/usb")
    return to


def find_receipts(path: Path) -> list[Path]:
    """Return the receipt files at ``path``, newest first by name: the file itself, or those on a medium.

    Args:
        path: a file, a medium's root, or its ``airlock`` or ``receipts`` folder.

    Raises:
        NotFound: nothing there, or no receipt on the medium.
        FormatRefused: more files than any airlock writes, links, or twins.
        OSError: as the operating system says.
    """
    if not path.is_dir():
        if not path.exists():
            raise NotFound(f"{path}: there is no such file or directory", hint="name a receipt, or the directory where the medium is mounted")
        return [path]
    folder = _receipts_folder(path)
    named = [entry for entry in folder.iterdir() if _NAME.match(entry.name.lower())] if folder is not None else []
    found = sorted((entry for entry in named if stat.S_ISREG(entry.lstat().st_mode)), key=lambda entry: entry.name.lower()[9:], reverse=True)
    if len(found) > _MAX_FILES:
        raise FormatRefused(f"{path}: too many receipts", why=f"at most {_MAX_FILES} are read, found {len(found)}", hint="name one of them")
    if not found:
        raise NotFound(
            f"{path}: there is no receipt on this medium",
            why=f"no file {FOLDER}/{_RECEIPTS}/….receipt in it",
            hint="at the site: airlock receipt --to MEDIUM",
        )
    return found


def _receipts_folder(path: Path) -> Path | None:
    if path.name.lower() == _RECEIPTS:
        return path
    top = named_folder(path, FOLDER) or (path if path.name.lower() == FOLDER else None)
    return named_folder(top, _RECEIPTS) if top is not None else None
