"""The root of trust: which keys count, changed by a draft that enough root keys of both the old and the new root must sign."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from securesystemslib.signer import SSlibKey

from registry.errors import NotFound, Usage
from registry.store.home import Home
from registry.trust.drafts import Lacking
from registry.trust.refresh import fingerprint
from registry.trust.roles import RoleKeys, new_root, roles_of
from registry.workflow.drafting import incomplete_roles, keep_draft, publish_draft, refuse_lacking, still_lacking, with_local_signatures
from registry.workflow.holders import note_holder
from registry.workflow.signing import Request, drafts_on, write_request
from registry.workflow.station import OpenStation, Passphrase, open_station

__all__ = ["ROLE_NAMES", "RootState", "add_key", "remove_key", "root_state", "set_threshold", "sign_root"]

ROLE_NAMES = {"root": ("root",), "release": ("targets",), "station": ("snapshot", "timestamp")}
"""The roles as people name them, and the TUF roles each stands for."""

_Roles = dict[str, RoleKeys]


@dataclass(frozen=True, slots=True)
class RootState:
    """The newest root (version 0 and no fingerprint before the first), and the draft that would follow it, if there is one."""

    version: int
    fingerprint: str
    roles: _Roles
    draft_version: int | None
    missing: tuple[Lacking, ...]


def add_key(home: Home, key: SSlibKey, role: str, holder: str, passphrase: Passphrase, *, now: datetime) -> RootState:
    """Draft a root in which ``key`` also speaks for ``role`` (``root``, ``release`` or ``station``)."""

    def change(roles: _Roles) -> _Roles:
        if any(key.keyid == each.keyid for each in roles[ROLE_NAMES[role][0]].keys):
            raise Usage(f"key {key.keyid[:8]} speaks for {role} already")
        return {name: RoleKeys([*each.keys, key], each.threshold) if name in ROLE_NAMES[role] else each for name, each in roles.items()}

    if holder:
        note_holder(home, key.keyid, holder)
    return _change(home, change, passphrase, now)


def remove_key(home: Home, keyid: str, role: str, passphrase: Passphrase, *, now: datetime) -> RootState:
    """Draft a root in which the key whose id begins with ``keyid`` no longer speaks for ``role``.

    Raises:
        NotFound: no key of the role, or several, begin so.
        Usage: too few keys would be left for the threshold.
    """

    def change(roles: _Roles) -> _Roles:
        current = roles[ROLE_NAMES[role][0]]
        found = [each for each in current.keys if each.keyid.startswith(keyid.lower())]
        if len(found) != 1:
            listed = ", ".join(each.keyid[:8] for each in current.keys)
            raise NotFound(f"{keyid}: {'no' if not found else 'more than one'} key of {role} begins so", why=f"its keys are {listed}")
        left = [each for each in current.keys if each.keyid != found[0].keyid]
        if len(left) < current.threshold:
            raise Usage(
                f"{role} would have {len(left)} key(s) for a threshold of {current.threshold}",
                hint=f"first add another key, or lower the threshold: airlock root set-threshold {role}={len(left) or 1}",
            )
        return {name: RoleKeys(left, each.threshold) if name in ROLE_NAMES[role] else each for name, each in roles.items()}

    return _change(home, change, passphrase, now)


def set_threshold(home: Home, role: str, threshold: int, passphrase: Passphrase, *, now: datetime) -> RootState:
    """Draft a root in which ``threshold`` keys of ``role`` must sign."""

    def change(roles: _Roles) -> _Roles:
        if threshold > len(roles[ROLE_NAMES[role][0]].keys):
            raise Usage(
                f"{role} has {len(roles[ROLE_NAMES[role][0]].keys)} key(s), fewer than {threshold}",
                hint=f"first: airlock root add-key FILE --role {role}",
            )
        return {name: RoleKeys(each.keys, threshold) if name in ROLE_NAMES[role] else each for name, each in roles.items()}

    return _change(home, change, passphrase, now)


def sign_root(home: Home, medium: Path | None, passphrase: Passphrase, confirm: Callable[[], None], *, now: datetime) -> RootState:
    """Sign the draft with every key of this station that may, and publish it once enough have signed.

    With a ``medium``, signatures that lie there are taken over, and the draft is written there for signers elsewhere.

    Raises:
        NotFound: there is no draft.
        SignatureRefused: keys are missing from a role.
    """
    with open_station(home, passphrase, "root sign") as station:
        pending = station.log.draft("root")
        if pending is None:
            raise NotFound("no change of the root waits to be signed", hint="airlock root add-key, remove-key or set-threshold begin one")
        version, draft = pending
        incomplete = incomplete_roles(roles_of(draft))
        if incomplete:
            raise refuse_lacking(home, "the root can't be signed yet: keys are missing", incomplete, "airlock root add-key FILE --role ROLE")
        confirm()
        draft = with_local_signatures(station, "root", draft, drafts_on(medium, "root") if medium else ())
        missing = still_lacking(station.log, "root", draft)
        with station.log.transaction():
            keep_draft(station, "root", version, draft, now)
            if not missing:
                publish_draft(station, "root", version, draft, now)
        if medium is not None:
            earlier = station.log.roots() if missing else station.log.roots()[:-1]
            write_request(medium, Request("root", draft, earlier))
        return _state(station)


def root_state(station: OpenStation) -> RootState:
    """Return the newest root and the draft after it."""
    return _state(station)


def _change(home: Home, change: Callable[[_Roles], _Roles], passphrase: Passphrase, now: datetime) -> RootState:
    with open_station(home, passphrase, "root") as station:
        pending, roots = station.log.draft("root"), station.log.roots()
        roles = change(roles_of(pending[1] if pending else roots[-1]))
        # TUF root versions have no gaps (5.3.5), so a changed draft keeps its number; signatures given to the earlier one are void.
        version = len(roots) + 1
        draft = new_root(version, roles, [], now)
        with station.log.transaction():
            keep_draft(station, "root", version, draft, now)
        return _state(station)


def _state(station: OpenStation) -> RootState:
    roots, pending = station.log.roots(), station.log.draft("root")
    roles = roles_of(pending[1] if pending else roots[-1])
    missing = [*incomplete_roles(roles), *still_lacking(station.log, "root", pending[1])] if pending else []
    newest = fingerprint(roots[-1]) if roots else ""
    return RootState(len(roots), newest, roles, pending[0] if pending else None, tuple(missing))
