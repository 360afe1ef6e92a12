"""The keystore: every private key of a home in one file, opened by one passphrase.

``keystore.json`` is canonical JSON.  The private half is sealed with AES-256-GCM under a key that Argon2id derives from the passphrase (RFC 9106,
64 MiB, 3 passes, 4 lanes); the public half stands beside it in clear, so that showing things never asks for the passphrase, and is bound to
the private half as associated data, so that nobody can swap it unnoticed.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from registry.content import canonical
from registry.errors import FormatRefused, NotFound, Refused
from registry.store.files import read_limited, replace_file

__all__ = ["FILE_NAME", "Keystore", "create_keystore", "open_keystore", "read_public"]

FILE_NAME = "keystore.json"
_MEMORY_KIB = 64 * 1024
_PASSES = 3
_LANES = 4
_LIMIT = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Keystore:
    """An opened keystore: ``private`` maps a key's name to its secret text, ``public`` to whatever may be shown of it."""

    private: Mapping[str, str]
    public: Mapping[str, Any]


def create_keystore(home: Path, passphrase: str, keystore: Keystore) -> None:
    """Write ``keystore`` to ``home``, replacing what was there in one step; the file is readable by its owner alone."""
    public = canonical.dump(dict(keystore.public))
    salt, nonce = secrets.token_bytes(16), secrets.token_bytes(12)
    kdf = {"name": "argon2id", "memory_kib": _MEMORY_KIB, "passes": _PASSES, "lanes": _LANES, "salt": _b64(salt)}
    sealed = AESGCM(_derive(passphrase, kdf)).encrypt(nonce, canonical.dump(dict(keystore.private)), public)
    document = {"v": 1, "kdf": kdf, "nonce": _b64(nonce), "public": dict(keystore.public), "sealed": _b64(sealed)}
    replace_file(home / FILE_NAME, canonical.dump(document), mode=0o600)


def read_public(home: Path) -> Mapping[str, Any]:
    """Return the public half, without a passphrase and without proof that nobody changed it."""
    public = _read(home)["public"]
    if not isinstance(public, dict):
        raise FormatRefused(f"{home / FILE_NAME}: not a keystore of this version")
    return public


def open_keystore(home: Path, passphrase: str) -> Keystore:
    """Return both halves.

    Raises:
        Refused: wrong passphrase, or the file was changed; nobody can tell which.
    """
    document = _read(home)
    try:
        key = _derive(passphrase, document["kdf"])
        plain = AESGCM(key).decrypt(base64.b64decode(document["nonce"]), base64.b64decode(document["sealed"]), canonical.dump(document["public"]))
    except InvalidTag:
        raise Refused(
            f"{home / FILE_NAME}: can't be opened",
            why="the passphrase is wrong, or the file was changed",
            hint="check the passphrase (of a file, the first line counts); if the file is damaged, restore it from its backup",
        ) from None
    except (KeyError, TypeError, ValueError):
        raise FormatRefused(f"{home / FILE_NAME}: not a keystore of this version") from None
    return Keystore(private=canonical.load(plain, what="keystore", limit=_LIMIT), public=document["public"])


def _read(home: Path) -> dict[str, Any]:
    path = home / FILE_NAME
    try:
        data = read_limited(path, _LIMIT, what=str(path))
    except FileNotFoundError:
        raise NotFound(f"{path}: there is no keystore", hint="restore it from its backup; without it this home can't sign or unseal") from None
    document = canonical.load(data, what=str(path), limit=_LIMIT)
    if not isinstance(document, dict) or set(document) != {"v", "kdf", "nonce", "public", "sealed"} or document["v"] != 1:
        raise FormatRefused(f"{path}: not a keystore of this version")
    return document


def _derive(passphrase: str, kdf: Mapping[str, Any]) -> bytes:
    # The file is trusted no further than its tag, so its cost parameters must be the ones we write: no downgrade, no 1 TiB of memory.
    if (kdf["name"], kdf["memory_kib"], kdf["passes"], kdf["lanes"]) != ("argon2id", _MEMORY_KIB, _PASSES, _LANES):
        raise ValueError("unknown key derivation")
    return Argon2id(salt=base64.b64decode(kdf["salt"]), length=32, iterations=_PASSES, lanes=_LANES, memory_cost=_MEMORY_KIB).derive(
        passphrase.encode("utf-8")
    )


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
