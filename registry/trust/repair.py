"""Repair requests: which parts of a set a site asks for again, signed by the site.

A site is the key it signs with, and that key stands in the request: a request shows by itself which site it is of, and the reader decides whether it
knows that site.  The schema is fixed: a set id and the numbers of parts, which lie in clear on every medium anyway; no names, no people, no hosts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from securesystemslib.signer import Signer, SSlibKey

from registry.content import canonical
from registry.errors import FormatRefused
from registry.trust.envelope import REPAIR_TYPE, envelop, open_self_signed
from registry.trust.keys import public_from_json, public_to_json

__all__ = ["MAX_REPAIR_BYTES", "RepairRequest", "open_repair", "parse_repair", "sign_repair"]

MAX_REPAIR_BYTES = 128 << 10
"""The whole file: 10,000 numbers of parts, the most that a set has, come to 65,000 bytes in base64."""
_MAX_NUMBER = 10_000
_SET_ID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}\Z")
_TIME = re.compile(r"20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]Z\Z")


@dataclass(frozen=True, slots=True)
class RepairRequest:
    """What a site asks for: ``parts`` of a set by number, in order, at least one; ``made`` is a UTC time."""

    receipt_key: SSlibKey
    set_id: str
    made: str
    parts: tuple[int, ...]

    @property
    def site(self) -> str:
        """The site's id: the key id of its receipt key."""
        return self.receipt_key.keyid

    def to_bytes(self) -> bytes:
        """Return the canonical payload bytes."""
        return canonical.dump(
            {
                "v": 1,
                "site": self.site,
                "receipt_key": public_to_json(self.receipt_key),
                "set": self.set_id,
                "made": self.made,
                "parts": list(self.parts),
            }
        )


def sign_repair(request: RepairRequest, signer: Signer) -> bytes:
    """Return the envelope around ``request``, signed by the site's receipt key."""
    return envelop(request.to_bytes(), REPAIR_TYPE, [signer])


def open_repair(envelope: bytes, *, what: str) -> RepairRequest:
    """Return the request in ``envelope``, signed by the very key that names its site; whether that site is known is the caller's matter.

    Raises:
        FormatRefused: not a repair request of this version, or in another spelling.
        SignatureRefused: not signed by the site that it names.
    """
    return parse_repair(open_self_signed(envelope, REPAIR_TYPE, what=what, limit=MAX_REPAIR_BYTES), what=what)


def parse_repair(data: bytes, *, what: str) -> RepairRequest:
    """Return the request whose payload is ``data``.

    Raises:
        FormatRefused: anything that :meth:`RepairRequest.to_bytes` would not write.
    """
    document = canonical.load(data, what=what, limit=MAX_REPAIR_BYTES)
    try:
        request = RepairRequest(
            receipt_key=public_from_json(document["receipt_key"], what=what),
            set_id=_form(document["set"], _SET_ID, what),
            made=_form(document["made"], _TIME, what),
            parts=tuple(document["parts"]),
        )
    except (KeyError, TypeError):
        raise _refuse(what, "a member is missing or has another type") from None
    numbers = request.parts
    if not numbers or any(type(each) is not int or not 1 <= each <= _MAX_NUMBER for each in numbers):
        raise _refuse(what, f"its parts are not numbers from 1 to {_MAX_NUMBER:,}")
    if list(numbers) != sorted(set(numbers)):
        raise _refuse(what, "its parts are out of order, or one is named twice")
    if request.to_bytes() != data:
        raise _refuse(what, "its site is not the key it names, or it has members that this airlock doesn't know")
    return request


def _form(value: Any, form: re.Pattern[str], what: str) -> str:
    if not isinstance(value, str) or not form.match(value):
        raise _refuse(what, f"found {str(value)[:80]!r} where something else is expected")
    return value


def _refuse(what: str, why: str) -> FormatRefused:
    hint = "ask the site for a fresh one: airlock repair-request --to MEDIUM; update airlock here if the site's is newer"
    return FormatRefused(f"{what}: not a repair request of this version", why=why, hint=hint)
