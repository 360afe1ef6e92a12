"""Who acts at a site: the person at the keyboard, by a key of their own or by the one that the site's keystore holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from securesystemslib.signer import Signer

from registry.errors import NotFound, Usage
from registry.store.home import Home
from registry.store.tokens import AskPin, open_token_signer
from registry.workflow.keyring import list_keys, open_key
from registry.workflow.station import Passphrase

__all__ = ["Credentials", "own_key"]


@dataclass(frozen=True, slots=True)
class Credentials:
    """How a site is opened: ``passphrase`` asks for that of the site's keystore, ``own`` opens the key of the person, if they have one."""

    passphrase: Passphrase
    own: Callable[[], Signer] | None = None


def own_key(where: str, passphrase: Passphrase, pin: AskPin) -> Callable[[], Signer]:
    """Return what opens the key that ``where`` names: ``DIR``, a signer's home with one key, ``DIR:NAME``, or the ``pkcs11:`` URI of one on a token.

    Raises:
        NotFound: no home there, or no key of that name.
        Usage: several keys, and none named.
    """
    if where.startswith("pkcs11:"):
        return lambda: open_token_signer(where, pin)
    path, colon, name = where.rpartition(":")
    if not colon or Path(where).is_dir():
        path, name = where, ""
    home = Home(Path(path).expanduser())
    names = [key.name for key in list_keys(home)]
    if not name and len(names) != 1:
        raise Usage(f"{path}: holds {len(names)} keys", why=f"they are {', '.join(names)}", hint=f"name yours: --actor {path}:{names[0]}")
    if name and name not in names:
        raise NotFound(f"{path}: has no key {name}", why=f"its keys are {', '.join(names)}")
    return lambda: open_key(home, name or names[0], passphrase())
