"""Who holds which key, in words: a note that stays in this home, because neither log nor metadata may name people."""

from __future__ import annotations

from registry.content import canonical
from registry.errors import Usage
from registry.store.files import read_limited, replace_file
from registry.store.home import Home

__all__ = ["holder_of", "note_holder"]

_FILE_NAME = "holders.json"
_LIMIT = 1 << 20


def holder_of(home: Home, keyid: str) -> str:
    """Return what was noted of a key's holder, or an empty text."""
    return _read(home).get(keyid, "")


def note_holder(home: Home, keyid: str, holder: str) -> None:
    """Note who holds a key: a role or a team rather than a person's name, at most 80 printable characters."""
    if not holder.isprintable() or len(holder) > 80:
        raise Usage(f"{holder[:80]!r}: not a holder", why="expected up to 80 printable characters, such as 'pharmacy-ai'")
    replace_file(home.root / _FILE_NAME, canonical.dump({"v": 1, "holders": {**_read(home), keyid: holder}}), mode=0o600)


def _read(home: Home) -> dict[str, str]:
    path = home.root / _FILE_NAME
    try:
        holders: dict[str, str] = canonical.load(read_limited(path, _LIMIT, what=str(path)), what=str(path), limit=_LIMIT)["holders"]
    except FileNotFoundError:
        return {}
    return holders
