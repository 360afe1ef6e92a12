"""A publishing station at work: its home, its log and its keys."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from securesystemslib.signer import CryptoSigner

from registry.errors import FormatRefused, Usage
from registry.media.recipients import Identity, new_identity
from registry.store.home import STATION, Home
from registry.store.keystore import Keystore, create_keystore, open_keystore, read_public
from registry.store.station import Station
from registry.trust.keys import new_signer, private_from_json, private_to_json, public_from_json, public_to_json
from registry.trust.refresh import fingerprint
from registry.trust.roles import RoleKeys, new_root

__all__ = ["OpenStation", "Passphrase", "create_keys", "init_station", "open_keys", "open_station", "read_station"]

Passphrase = Callable[[], str]
"""Asks for the passphrase when it is needed, and not before."""

_KEYS = ("root", "release", "station", "actor")
_SEAL = "seal"


@dataclass(frozen=True, slots=True)
class OpenStation:
    """A station whose writer's lock is held and whose keystore is open.

    ``keys`` holds ``root``, ``release`` (TUF targets), ``station`` (TUF snapshot and timestamp, and the index) and ``actor`` (events).
    """

    home: Home
    log: Station
    keys: Mapping[str, CryptoSigner]
    identity: Identity


def create_keys(home: Home, passphrase: str, names: tuple[str, ...]) -> tuple[dict[str, CryptoSigner], Identity]:
    """Make fresh signing keys of these names and a fresh identity, and keep them in a new keystore."""
    keys = {name: new_signer() for name in names}
    identity = new_identity()
    private = {name: private_to_json(key) for name, key in keys.items()} | {_SEAL: base64.b64encode(identity.seed).decode("ascii")}
    public = {name: public_to_json(key.public_key) for name, key in keys.items()}
    recipient = base64.b64encode(identity.recipient.public).decode("ascii")
    create_keystore(home.root, passphrase, Keystore(private, {"keys": public, "recipient": recipient}))
    return keys, identity


def open_keys(home: Home, passphrase: str) -> tuple[dict[str, CryptoSigner], Identity]:
    """Open the home's keystore."""
    keystore = open_keystore(home.root, passphrase)
    try:
        public = {name: public_from_json(value, what=f"key {name}") for name, value in keystore.public["keys"].items()}
        keys = {name: private_from_json(keystore.private[name], key) for name, key in public.items()}
        return keys, Identity(base64.b64decode(keystore.private[_SEAL]))
    except (KeyError, TypeError, ValueError):
        raise FormatRefused(f"{home.root}: its keystore lacks a key", hint="restore keystore.json from its backup") from None


def init_station(home: Home, passphrase: str, now: datetime) -> str:
    """Create a station: keys, root of trust, log.  Return the root's fingerprint.

    Raises:
        Usage: there is a home already.
    """
    home.create()
    with home.locked("init"):
        if home.kind() is not None:
            raise Usage(
                f"{home.root}: there is an airlock home already",
                why="a second init would throw its keys away",
                hint="use it as it is, or choose another directory with --home DIR or AIRLOCK_HOME",
            )
        keys, _ = create_keys(home, passphrase, _KEYS)
        station = RoleKeys([keys["station"].public_key])
        roles = {
            "root": RoleKeys([keys["root"].public_key]),
            "targets": RoleKeys([keys["release"].public_key]),
            "snapshot": station,
            "timestamp": station,
        }
        root = new_root(1, roles, [keys["root"]], now)
        log = Station(home.database, create=True)
        with log.transaction():
            actor = public_to_json(keys["actor"].public_key)
            log.append("station.init", {"actor": actor, "publisher": fingerprint(root)}, signer=keys["actor"], now=now)
            signed = [{"role": "root", "version": 1, "digest": f"sha256:{fingerprint(root)}"}]
            log.append("metadata.sign", {"metadata": signed}, signer=keys["actor"], now=now, documents=[root])
        log.close()
        home.mark(STATION)
    return fingerprint(root)


@contextmanager
def open_station(home: Home, passphrase: Passphrase, command: str) -> Iterator[OpenStation]:
    """Hold the station for writing."""
    home.require(STATION)
    read_public(home.root)  # a missing keystore is said before anybody types a passphrase
    with home.locked(command):
        keys, identity = open_keys(home, passphrase())
        log = Station(home.database)
        try:
            home.sweep()
            yield OpenStation(home, log, keys, identity)
        finally:
            log.close()


@contextmanager
def read_station(home: Home) -> Iterator[Station]:
    """Open the station's log for reading."""
    home.require(STATION)
    log = Station(home.database)
    try:
        yield log
    finally:
        log.close()
