"""A publishing station at work: its home, its log and its keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from securesystemslib.signer import CryptoSigner

from registry.errors import FormatRefused, SignatureRefused, Usage
from registry.media.recipients import SUITE_XWING, Identity, new_identity
from registry.media.suites import SUITES
from registry.store.home import STATION, Home
from registry.store.keystore import Keystore, create_keystore, open_keystore, read_public
from registry.store.station import Station
from registry.trust.keys import new_signer, private_from_json, private_to_json, public_from_json, public_to_json
from registry.trust.refresh import fingerprint
from registry.trust.roles import RoleKeys, new_root, roles_of
from registry.workflow.identities import identities_in, with_identities

__all__ = ["OMS_KEY", "OpenStation", "Passphrase", "create_keys", "init_station", "open_keys", "open_station", "read_station"]

Passphrase = Callable[[], str]
"""Asks for the passphrase when it is needed, and not before."""

_KEYS = ("root", "release", "station", "actor")
OMS_KEY = "oms"
"""The name of the key that signs models for other verifiers; those take no Ed25519 (``docs/adr/0006-oms-key.md``)."""


@dataclass(frozen=True, slots=True)
class OpenStation:
    """A station whose writer's lock is held and whose keystore is open.

    ``keys`` holds ``actor`` (events) and whichever keys of the roles are kept here: ``root``, ``release`` (TUF targets), ``station`` (TUF snapshot
    and timestamp, and the index), ``oms`` (models, for OMS verifiers), and others of other names.
    """

    home: Home
    log: Station
    keys: Mapping[str, CryptoSigner]
    identities: tuple[Identity, ...]

    @property
    def identity(self) -> Identity:
        """The station's own identity in the default suite."""
        return self.identity_in(SUITE_XWING)

    def identity_in(self, suite: str) -> Identity:
        """Return the station's own identity in ``suite``: a station is a recipient of every set it makes."""
        return next(each for each in self.identities if each.suite == suite)

    def signers_of(self, role: str) -> list[CryptoSigner]:
        """Return the keys kept here that speak for a role of the newest root.

        Raises:
            SignatureRefused: fewer than the role asks for.
        """
        wanted = roles_of(self.log.roots()[-1])[role]
        keyids = {key.keyid for key in wanted.keys}
        signers = [signer for signer in self.keys.values() if signer.public_key.keyid in keyids]
        if len(signers) < wanted.threshold:
            raise SignatureRefused(
                f"this station can't sign {role}.json",
                why=f"the newest root asks for {wanted.threshold} key(s) of this station, {len(signers)} are in its keystore",
                hint="airlock key list shows the keys here; airlock root add-key and airlock root sign change the root",
            )
        return signers


def create_keys(home: Home, passphrase: str, names: tuple[str, ...], suites: Iterable[str]) -> tuple[dict[str, CryptoSigner], tuple[Identity, ...]]:
    """Make fresh signing keys of these names and a fresh identity in each suite, and keep them in a new keystore."""
    keys = {name: new_signer("ecdsa-p384" if name == OMS_KEY else "ed25519") for name in names}
    identities = tuple(new_identity(suite) for suite in suites)
    private = {name: private_to_json(key) for name, key in keys.items()}
    public = {name: public_to_json(key.public_key) for name, key in keys.items()}
    create_keystore(home.root, passphrase, with_identities(Keystore(private, {"keys": public}), identities))
    return keys, identities


def open_keys(home: Home, passphrase: str) -> tuple[dict[str, CryptoSigner], tuple[Identity, ...]]:
    """Open the home's keystore."""
    keystore = open_keystore(home.root, passphrase)
    try:
        public = {name: public_from_json(value, what=f"key {name}") for name, value in keystore.public["keys"].items()}
        keys = {name: private_from_json(keystore.private[name], key) for name, key in public.items()}
        return keys, identities_in(keystore)
    except (KeyError, TypeError, ValueError):
        raise FormatRefused(f"{home.root}: its keystore lacks a key", hint="restore keystore.json from its backup") from None


def init_station(home: Home, passphrase: str, thresholds: Mapping[str, int], now: datetime, *, keys_here: bool, first_number: int = 1) -> str:
    """Create a station: keys, log, and the root of trust once every role has the keys it asks for.

    Args:
        home: where.
        passphrase: protects every private key.
        thresholds: how many of ``root`` and ``release`` must sign; 1 where nothing is said.
        now: aware, UTC.
        keys_here: make all the keys that the thresholds ask for, on this machine.
        first_number: the number of the first release in each repository: above those of a station whose place this one takes.

    Returns:
        The root's fingerprint, or an empty text while keys are missing.

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
        names = {role: [role, *(f"{role}-{number}" for number in range(2, thresholds.get(role, 1) + 1) if keys_here)] for role in ("root", "release")}
        keys, _ = create_keys(home, passphrase, (*names["root"], *names["release"], "station", OMS_KEY, "actor"), SUITES)
        public = {role: RoleKeys([keys[name].public_key for name in names[role]], thresholds.get(role, 1)) for role in names}
        station = RoleKeys([keys["station"].public_key])
        roles = {"root": public["root"], "targets": public["release"], "snapshot": station, "timestamp": station}
        complete = all(len(role.keys) >= role.threshold for role in roles.values())
        root = new_root(1, roles, [keys[name] for name in names["root"]] if complete else [], now)
        log = Station(home.database, create=True)
        with log.transaction():
            began = {"actor": public_to_json(keys["actor"].public_key), "first_number": first_number}
            log.append("station.init", began, signer=keys["actor"], now=now)
            written = {"role": "root", "version": 1, "digest": f"sha256:{fingerprint(root)}"}
            verb, subject = ("metadata.sign", {"metadata": [written]}) if complete else ("metadata.draft", written)
            log.append(verb, subject, signer=keys["actor"], now=now, documents=[root])
        log.close()
        home.mark(STATION)
    return fingerprint(root) if complete else ""


@contextmanager
def open_station(home: Home, passphrase: Passphrase, command: str) -> Iterator[OpenStation]:
    """Hold the station for writing."""
    home.require(STATION)
    read_public(home.root)  # a missing keystore is said before anybody types a passphrase
    with home.locked(command):
        phrase = passphrase()
        keys, identities = open_keys(home, phrase)
        identities += _add_identities(home, phrase, [suite for suite in SUITES if all(each.suite != suite for each in identities)])
        log = Station(home.database)
        try:
            home.sweep()
            yield OpenStation(home, log, keys, identities)
        finally:
            log.close()


def _add_identities(home: Home, passphrase: str, suites: Sequence[str]) -> tuple[Identity, ...]:
    """Add identities to a station that was made before these suites were known, and return them."""
    added = tuple(new_identity(suite) for suite in suites)
    if added:
        create_keystore(home.root, passphrase, with_identities(open_keystore(home.root, passphrase), added))
    return added


@contextmanager
def read_station(home: Home) -> Iterator[Station]:
    """Open the station's log for reading."""
    home.require(STATION)
    log = Station(home.database)
    try:
        yield log
    finally:
        log.close()
