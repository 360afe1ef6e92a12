"""Who may ask a site's server for models: nodes, bearer tokens, and the rules about them, as the published view says it.

::

    "nodes":[{"certificate":"","groups":["test"],"key":"ssh-ed25519 AAAA…","name":"gpu-01"},…],
    "rules":[{"group":"clinic","pattern":"clinical/*"},…],
    "tokens":[{"digest":"sha256:…","expires":1790000000,"groups":[],"name":"ci","patterns":["library/*"]},…]
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, TypeVar

from registry.content.canonical import MAX_INTEGER, Json
from registry.content.digest import Digest, parse_digest
from registry.errors import FormatRefused

__all__ = [
    "EVERYONE",
    "TEST",
    "AccessRule",
    "KnownNode",
    "KnownToken",
    "key_bytes",
    "key_fingerprint",
    "parse_certificate_name",
    "parse_label",
    "parse_node_key",
    "parse_nodes",
    "parse_pattern",
    "parse_rules",
    "parse_tokens",
]

_T = TypeVar("_T")

TEST = "test"
"""The group that may also pull what is approved and not promoted."""
EVERYONE = "everyone"
"""The group to which every enrolled node belongs without being told."""

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,58}[a-z0-9])?\Z")
_PATTERN = re.compile(r"[a-z0-9_*?-]{1,80}/[a-z0-9_.*?-]{1,80}\Z")
_CERTIFICATE = re.compile(r"[a-z0-9_-](?:[a-z0-9._-]{0,251}[a-z0-9_-])?\Z")
_KEY = re.compile(r"(?:ssh-ed25519[ \t]+)(?P<wire>[A-Za-z0-9+/]{68})(?:[ \t].*)?\Z")
_WIRE_PREFIX = b"\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20"  # RFC 4253, section 6.6, with RFC 8709's name: two length-prefixed strings
_WIRE_BYTES = len(_WIRE_PREFIX) + 32


@dataclass(frozen=True, slots=True)
class KnownNode:
    """One enrolled node: its name, its Ollama's public key and the name in its client certificate (one of the two may be empty), its groups."""

    name: str
    key: str
    certificate: str
    groups: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the entry of the view."""
        return {"name": self.name, "key": self.key, "certificate": self.certificate, "groups": list(self.groups)}


@dataclass(frozen=True, slots=True, order=True)
class AccessRule:
    """Nodes of ``group`` may pull from repositories that ``pattern`` (``clinical/*``) matches."""

    group: str
    pattern: str

    def as_json(self) -> dict[str, Any]:
        """Return the entry of the view."""
        return {"group": self.group, "pattern": self.pattern}


@dataclass(frozen=True, slots=True)
class KnownToken:
    """One bearer token: its label, the digest of its text, the repository patterns it is good for, until when (Unix seconds), its groups."""

    name: str
    digest: Digest
    patterns: tuple[str, ...]
    expires: int
    groups: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the entry of the view."""
        return {
            "name": self.name,
            "digest": self.digest,
            "patterns": list(self.patterns),
            "expires": self.expires,
            "groups": list(self.groups),
        }


def parse_label(text: object, *, what: str) -> str:
    """Return ``text`` as the name of a node, a group or a token: 1 to 60 of ``a-z``, ``0-9`` and ``-``, with no ``-`` at its ends.

    Raises:
        FormatRefused: anything else.
    """
    if isinstance(text, str) and _LABEL.match(text):
        return text
    raise FormatRefused(
        f"{what}: {str(text)[:80]!r} can't be its name",
        why="expected 1 to 60 lower-case letters, digits and '-', as in a host name",
        hint="for example gpu-01; never the name of a person: names enter the log",
    )


def parse_pattern(text: object, *, what: str) -> str:
    """Return ``text`` as a repository pattern: ``namespace/model`` in lower case, in which ``*`` and ``?`` stand for any.

    Raises:
        FormatRefused: anything else.
    """
    if isinstance(text, str) and _PATTERN.match(text):
        return text
    raise FormatRefused(
        f"{what}: {str(text)[:80]!r} is not a repository pattern", why="expected namespace/model with * and ?", hint="for example 'clinical/*'"
    )


def parse_certificate_name(text: object, *, what: str) -> str:
    """Return ``text`` as the DNS name in a client certificate, lower case.

    Raises:
        FormatRefused: not a host name in lower case.
    """
    if isinstance(text, str) and _CERTIFICATE.match(text) and ".." not in text:
        return text
    raise FormatRefused(f"{what}: {str(text)[:80]!r} is not a host name in lower case")


def parse_node_key(text: object, *, what: str) -> str:
    """Return the public key in ``text`` as ``ssh-ed25519 BASE64``, without its comment.

    Raises:
        FormatRefused: not an OpenSSH Ed25519 public key of 32 bytes in its one wire form.
    """
    match = _KEY.match(text.strip()) if isinstance(text, str) else None
    try:
        wire = base64.b64decode(match["wire"], validate=True) if match else b""
    except binascii.Error:
        wire = b""
    if len(wire) != _WIRE_BYTES or not wire.startswith(_WIRE_PREFIX):
        raise FormatRefused(
            f"{what}: not an Ed25519 public key as OpenSSH writes it",
            why="expected ssh-ed25519 and 68 characters of base64",
            hint="on the node: cat /usr/share/ollama/.ollama/id_ed25519.pub (or ~/.ollama/id_ed25519.pub)",
        )
    return f"ssh-ed25519 {base64.b64encode(wire).decode('ascii')}"


def key_bytes(key: str) -> bytes:
    """Return the 32 bytes of a key that :func:`parse_node_key` returned."""
    return base64.b64decode(key.partition(" ")[2])[-32:]


def key_fingerprint(key: str) -> str:
    """Return the fingerprint of a parsed key as ``ssh-keygen -l`` prints it: ``SHA256:`` and 43 characters."""
    return "SHA256:" + base64.b64encode(sha256(base64.b64decode(key.partition(" ")[2])).digest()).decode("ascii").rstrip("=")


def parse_nodes(entries: Json, what: str) -> tuple[KnownNode, ...]:
    """Return the nodes of a view: sorted by name, each name, key and certificate once.

    Raises:
        FormatRefused: anything else.
    """
    nodes = _entries(entries, what, "node", {"name", "key", "certificate", "groups"}, _node)
    _refuse_twins([each.name for each in nodes], f"{what}: nodes", in_order=True)
    _refuse_twins([each.key for each in nodes if each.key], f"{what}: keys of nodes")
    _refuse_twins([each.certificate for each in nodes if each.certificate], f"{what}: certificates of nodes")
    return nodes


def parse_rules(entries: Json, what: str) -> tuple[AccessRule, ...]:
    """Return the access rules of a view, sorted.

    Raises:
        FormatRefused: anything else.
    """
    rules = _entries(entries, what, "rule", {"group", "pattern"}, _rule)
    _refuse_twins([f"{each.group}\0{each.pattern}" for each in rules], f"{what}: rules", in_order=True)
    return rules


def parse_tokens(entries: Json, what: str) -> tuple[KnownToken, ...]:
    """Return the bearer tokens of a view, sorted by name.

    Raises:
        FormatRefused: anything else.
    """
    tokens = _entries(entries, what, "token", {"name", "digest", "patterns", "expires", "groups"}, _token)
    _refuse_twins([each.name for each in tokens], f"{what}: tokens", in_order=True)
    _refuse_twins([each.digest for each in tokens], f"{what}: digests of tokens")
    return tokens


def _node(entry: dict[str, Json], what: str) -> KnownNode:
    key = parse_node_key(entry["key"], what=what) if entry["key"] else ""
    certificate = parse_certificate_name(entry["certificate"], what=what) if entry["certificate"] else ""
    if key != entry["key"] or certificate != entry["certificate"] or not (key or certificate):
        raise FormatRefused(f"{what}: has neither a key nor a certificate, or one in another spelling")
    return KnownNode(parse_label(entry["name"], what=what), key, certificate, _groups(entry["groups"], what))


def _rule(entry: dict[str, Json], what: str) -> AccessRule:
    return AccessRule(parse_label(entry["group"], what=what), parse_pattern(entry["pattern"], what=what))


def _token(entry: dict[str, Json], what: str) -> KnownToken:
    patterns, expires = entry["patterns"], entry["expires"]
    if not isinstance(patterns, list) or not patterns or type(expires) is not int or not 0 < expires <= MAX_INTEGER:
        raise FormatRefused(f"{what}: has no patterns, or no expiry")
    parsed = tuple(parse_pattern(each, what=what) for each in patterns)
    _refuse_twins(parsed, f"{what}: patterns", in_order=True)
    name, digest = parse_label(entry["name"], what=what), parse_digest(entry["digest"], what=what)
    return KnownToken(name, digest, parsed, expires, _groups(entry["groups"], what))


def _groups(value: Json, what: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise FormatRefused(f"{what}: groups is not a list")
    groups = tuple(parse_label(each, what=what) for each in value)
    _refuse_twins(groups, f"{what}: groups", in_order=True)
    return groups


def _entries(entries: Json, what: str, kind: str, members: set[str], parse: Callable[[dict[str, Json], str], _T]) -> tuple[_T, ...]:
    if not isinstance(entries, list):
        raise FormatRefused(f"{what}: {kind}s is not a list")
    found = []
    for position, entry in enumerate(entries, 1):
        if not isinstance(entry, dict) or entry.keys() != members:
            raise FormatRefused(f"{what}: {kind} {position}: expected exactly the members {', '.join(sorted(members))}")
        found.append(parse(entry, f"{what}: {kind} {position}"))
    return tuple(found)


def _refuse_twins(names: Iterable[str], what: str, *, in_order: bool = False) -> None:
    found = list(names)
    if len(set(found)) != len(found) or (in_order and sorted(found) != found):
        raise FormatRefused(f"{what} are not sorted, or one stands there twice" if in_order else f"{what}: one stands there twice")
