"""Drafting: metadata that a station writes, signs as far as it can, and publishes once enough signers have signed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from registry.content.digest import digest_of
from registry.errors import SignatureRefused
from registry.store.home import Home
from registry.store.station import Station
from registry.trust.drafts import Lacking, lacking, merge, sign_draft
from registry.trust.keys import short
from registry.trust.refresh import fingerprint
from registry.trust.roles import RoleKeys, roles_of
from registry.workflow.holders import holder_of
from registry.workflow.station import OpenStation

__all__ = [
    "demands",
    "incomplete_roles",
    "keep_draft",
    "publish_draft",
    "refuse_lacking",
    "root_fingerprint",
    "still_lacking",
    "with_local_signatures",
]

_SPOKEN = {"root": "root", "targets": "release", "snapshot": "station", "timestamp": "station"}


def demands(log: Station, role: str, draft: bytes) -> list[tuple[str, RoleKeys]]:
    """Return who must sign a draft: for a root both the roots before and after the change (TUF 1.0, section 5.3.4 and 5.3.5)."""
    roots = log.roots()
    if role == "root":
        after = [("root", roles_of(draft)["root"])]
        return after + ([("root before the change", roles_of(roots[-1])["root"])] if roots else [])
    return [(_SPOKEN[role], roles_of(roots[-1])[role])]


def with_local_signatures(station: OpenStation, role: str, draft: bytes, others: Iterable[bytes] = ()) -> bytes:
    """Return the draft with the signatures of every key of this station that may sign it, and of ``others``, drafts of the same content."""
    keys = {key.keyid: key for _, each in demands(station.log, role, draft) for key in each.keys}
    for other in others:
        draft = merge(draft, other, list(keys.values()))
    for signer in station.keys.values():
        if signer.public_key.keyid in keys:
            draft = sign_draft(draft, signer)
    return draft


def still_lacking(log: Station, role: str, draft: bytes) -> list[Lacking]:
    """Return every demand on a draft that is not met yet."""
    return [each for name, keys in demands(log, role, draft) if (each := lacking(draft, name, keys)).missing]


def keep_draft(station: OpenStation, role: str, version: int, draft: bytes, now: datetime) -> None:
    """Keep a draft, unless it is kept already.  Call it inside the log's transaction."""
    if station.log.draft(role) != (version, draft):
        subject = {"role": role, "version": version, "digest": digest_of(draft)}
        station.log.append("metadata.draft", subject, signer=station.keys["actor"], now=now, documents=[draft])


def publish_draft(station: OpenStation, role: str, version: int, draft: bytes, now: datetime) -> None:
    """Make a draft with enough signatures the role's metadata.  Call it inside the log's transaction."""
    subject = {"metadata": [{"role": role, "version": version, "digest": digest_of(draft)}]}
    station.log.append("metadata.sign", subject, signer=station.keys["actor"], now=now, documents=[draft])


def refuse_lacking(home: Home, what: str, missing: Iterable[Lacking], hint: str) -> SignatureRefused:
    """Return the refusal that says who must still sign."""
    lacks = list(missing)
    lines = [f"{each.role} asks for {each.needed} signature(s), found {len(each.have)}{_names(home, each)}" for each in lacks]
    return SignatureRefused(what, why="\n".join(lines), hint=hint, details={"missing": [_as_json(home, each) for each in lacks]})


def _names(home: Home, each: Lacking) -> str:
    if not each.could:
        return "; no other key speaks for it yet"
    return "; these may still sign: " + ", ".join(_name(home, keyid) for keyid in each.could)


def _name(home: Home, keyid: str) -> str:
    holder = holder_of(home, keyid)
    return f'{short(keyid)} ("{holder}")' if holder else short(keyid)


def _as_json(home: Home, each: Lacking) -> dict[str, Any]:
    could = [{"key": keyid, "holder": holder_of(home, keyid)} for keyid in each.could]
    return {"role": each.role, "needed": each.needed, "have": list(each.have), "missing": each.missing, "keys": could}


def root_fingerprint(roots: tuple[bytes, ...]) -> str:
    """Return the newest root's fingerprint, empty before there is one."""
    return fingerprint(roots[-1]) if roots else ""


def incomplete_roles(roles: Mapping[str, RoleKeys]) -> list[Lacking]:
    """Return the roles that have fewer keys than their threshold, as what they lack."""
    named = {_SPOKEN[role]: keys for role, keys in roles.items()}
    return [
        Lacking(name, keys.threshold, tuple(key.keyid for key in keys.keys), ()) for name, keys in named.items() if len(keys.keys) < keys.threshold
    ]
