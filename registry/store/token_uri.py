"""``pkcs11:`` URIs: which key on which token (RFC 7512, the part that airlock uses).

::

    pkcs11:token=airlock;object=release?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/run/pin
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, unquote_to_bytes

from registry.errors import Usage

__all__ = ["SCHEME", "TokenUri", "parse_token_uri"]

SCHEME = "pkcs11:"
_PATH = frozenset({"token", "serial", "object", "id", "type"})
_QUERY = frozenset({"module-path", "pin-source"})
_VALUE = re.compile(r"(?:[A-Za-z0-9\-._~:\[\]@!$'()*+,=&/?|]|%[0-9A-Fa-f]{2})+\Z")
_EXAMPLE = "for example 'pkcs11:token=airlock;object=release?module-path=/usr/lib/softhsm/libsofthsm2.so'"


@dataclass(frozen=True, slots=True)
class TokenUri:
    """One key pair on one token.  ``None`` means any: of a token's label or serial number, of a key's label or id; a key has at least one of them."""

    module: Path
    token: str | None = None
    serial: str | None = None
    label: str | None = None
    id: bytes | None = None
    pin_file: Path | None = None


def parse_token_uri(text: str) -> TokenUri:
    """Return what ``text`` names.

    Raises:
        Usage: not such a URI, an attribute that airlock doesn't use or one given twice, a PIN inside it, no key or no module named.
    """
    path, _, query = text.removeprefix(SCHEME).partition("?")
    if not text.startswith(SCHEME):
        raise _odd(text, f"it doesn't begin with {SCHEME}")
    if re.search(r"(?:^|[;&?])pin-value=", text):
        # Not echoed: whoever reads the screen or the log must not learn the PIN from us.
        raise Usage("a PIN is never given in an argument", why="every user sees it in the process list", hint="use pin-source=file:PATH, or type it")
    found = {**_attributes(path, ";", _PATH, text), **_attributes(query, "&", _QUERY, text)}
    if found.get("type", "private") != "private":
        raise _odd(text, f"type={found['type']} is not a key that signs")
    if not {"object", "id"} & set(found):
        raise _odd(text, "it names no key: object=LABEL or id=%01")
    module = Path(unquote(found.get("module-path", "")))
    if not module.is_absolute():
        raise _odd(text, "it names no module-path=/… (the vendor's PKCS #11 library)")
    return TokenUri(
        module,
        token=_text(found, "token"),
        serial=_text(found, "serial"),
        label=_text(found, "object"),
        id=unquote_to_bytes(found["id"]) if "id" in found else None,
        pin_file=_pin_file(unquote(found["pin-source"]), text) if "pin-source" in found else None,
    )


def _attributes(text: str, separator: str, known: frozenset[str], whole: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in filter(None, text.split(separator)):
        name, _, value = part.partition("=")
        if name not in known:
            raise _odd(whole, f"airlock doesn't use the attribute {name[:40]!r}")
        if name in found or not _VALUE.match(value):
            raise _odd(whole, f"{name} is given twice, empty, or not percent-encoded")
        found[name] = value
    return found


def _text(found: dict[str, str], name: str) -> str | None:
    return unquote(found[name]) if name in found else None


def _pin_file(source: str, whole: str) -> Path:
    path = Path(source.removeprefix("file:").removeprefix("//"))
    if not source.startswith("file:") or not path.is_absolute():
        raise _odd(whole, "pin-source is not file:/PATH")  # a program (|PROGRAM) is never started
    return path


def _odd(text: str, why: str) -> Usage:
    return Usage(f"{text[:200]!r}: not a key on a token", why=why, hint=_EXAMPLE)
