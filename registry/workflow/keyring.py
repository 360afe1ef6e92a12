"""The keys of one home: made, imported, listed, shown."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner, Signer, SSlibKey

from registry.content import canonical
from registry.errors import FormatRefused, NotFound, Usage
from registry.store.files import read_limited
from registry.store.home import SIGNER, Home
from registry.store.keystore import FILE_NAME, Keystore, create_keystore, open_keystore, read_public
from registry.store.tokens import AskPin, open_token_signer
from registry.trust.keys import new_signer, private_from_json, private_to_json, public_from_json, public_to_json
from registry.workflow.holders import holder_of, note_holder

__all__ = ["ListedKey", "import_key", "list_keys", "new_key", "open_key", "open_signer", "parse_public_key", "write_public_key"]

_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}\Z")
_LIMIT = 64 << 10


@dataclass(frozen=True, slots=True)
class ListedKey:
    """One signing key of a home: its name there, its public half, and what was noted of its holder."""

    name: str
    public: SSlibKey
    holder: str


def list_keys(home: Home) -> list[ListedKey]:
    """Return the signing keys of a home, without a passphrase."""
    if home.kind() is None:
        raise NotFound(f"{home.root}: there is no airlock home", hint="airlock key new NAME makes one for a signer")
    keys = {name: public_from_json(value, what=f"key {name}") for name, value in read_public(home.root)["keys"].items()}
    return [ListedKey(name, key, holder_of(home, key.keyid)) for name, key in keys.items()]


def new_key(home: Home, name: str, algorithm: str, passphrase: str, holder: str) -> ListedKey:
    """Make a key and keep it; on a machine without a home this makes the home of a signer.

    Raises:
        Usage: the name is taken or not a name.
    """
    return _add(home, name, new_signer(algorithm), passphrase, holder)


def import_key(home: Home, name: str, pem: Path, passphrase: str, holder: str, *, pem_passphrase: str) -> ListedKey:
    """Take a private key over from a PEM file (PKCS #8, encrypted or not), and keep it sealed.

    Raises:
        FormatRefused: not a private key, a wrong passphrase, or an algorithm that airlock doesn't use.
    """
    try:
        data = read_limited(pem, _LIMIT, what=str(pem))
    except FileNotFoundError:
        raise NotFound(f"{pem}: is not there") from None
    try:
        signer = CryptoSigner(load_pem_private_key(data, pem_passphrase.encode() or None))
    except (ValueError, TypeError) as error:
        raise FormatRefused(
            f"{pem}: not a private key that can be opened", why=str(error), hint="give its passphrase with --pem-passphrase-file"
        ) from None
    public_from_json(public_to_json(signer.public_key), what=str(pem))
    return _add(home, name, signer, passphrase, holder)


def open_key(home: Home, name: str, passphrase: str) -> CryptoSigner:
    """Return one signing key of a home, opened."""
    keystore = open_keystore(home.root, passphrase)
    if name not in keystore.public["keys"] or name not in keystore.private:
        raise NotFound(f"{name}: no key of that name here", hint="airlock key list shows them")
    return private_from_json(keystore.private[name], public_from_json(keystore.public["keys"][name], what=f"key {name}"))


def open_signer(home: Home, name: str, passphrase: Callable[[], str], pin: AskPin) -> Signer:
    """Return a key to sign with: one of this home's keystore by name, or one on a token by its ``pkcs11:`` URI.

    On a machine without a home, a token's key makes one for its signer: what was signed there must be remembered.
    """
    if not name.startswith("pkcs11:"):
        return open_key(home, name, passphrase())
    signer = open_token_signer(name, pin)
    home.create()
    if home.kind() is None:
        home.mark(SIGNER)
    return signer


def write_public_key(key: SSlibKey) -> bytes:
    """Return the file in which a public key is carried to the station."""
    return canonical.dump({"v": 1, "key": public_to_json(key)})


def parse_public_key(path: Path) -> SSlibKey:
    """Return the public key in a file that :func:`write_public_key` wrote."""
    try:
        data = read_limited(path, _LIMIT, what=str(path))
    except FileNotFoundError:
        raise NotFound(f"{path}: is not there", hint="the signer makes it: airlock key show NAME --to FILE") from None
    document = canonical.load(data, what=str(path), limit=_LIMIT)
    if not isinstance(document, dict) or set(document) != {"v", "key"} or document["v"] != 1:
        raise FormatRefused(f"{path}: not a public key of airlock", hint="the signer makes it: airlock key show NAME --to FILE")
    return public_from_json(document["key"], what=str(path))


def _add(home: Home, name: str, signer: CryptoSigner, passphrase: str, holder: str) -> ListedKey:
    if not _NAME.match(name):
        raise Usage(f"{name!r}: not a key's name", why="expected up to 40 lower-case letters, digits and '-', beginning with a letter")
    home.create()
    with home.locked("key new"):
        private: dict[str, str] = {}
        public: dict[str, Any] = {"keys": {}}
        if (home.root / FILE_NAME).exists():
            keystore = open_keystore(home.root, passphrase)
            private, public = dict(keystore.private), dict(keystore.public)
        if name in public["keys"] or name in private:
            raise Usage(f"{name}: there is a key of that name already", hint="airlock key list shows them; choose another name")
        private[name] = private_to_json(signer)
        public["keys"] = {**public["keys"], name: public_to_json(signer.public_key)}
        create_keystore(home.root, passphrase, Keystore(private, public))
        if holder:
            note_holder(home, signer.public_key.keyid, holder)
        if home.kind() is None:
            home.mark(SIGNER)
    return ListedKey(name, signer.public_key, holder)
