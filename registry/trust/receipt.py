"""Receipts: what a site says it holds, signed by the site.

A site is the key it signs receipts with, and that key stands in the receipt: a receipt shows by itself which site it is of, and the reader decides
whether it knows that site.  The schema is fixed: digests, numbers, times and set ids, no names, no people, no hosts, no free text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from securesystemslib.signer import Signer, SSlibKey

from registry.content import canonical
from registry.content.digest import Digest, parse_digest
from registry.errors import FormatRefused
from registry.trust.envelope import RECEIPT_TYPE, envelop, open_self_signed
from registry.trust.keys import public_from_json, public_to_json

__all__ = [
    "MAX_RECEIPT_BYTES",
    "CompletedSet",
    "Holding",
    "PublisherState",
    "Receipt",
    "open_receipt",
    "parse_receipt",
    "sign_receipt",
]

MAX_RECEIPT_BYTES = 64 << 20
MAX_ENVELOPE_BYTES = 2 * MAX_RECEIPT_BYTES  # base64 and the signature around the payload
_HEX64 = re.compile(r"[0-9a-f]{64}\Z")
_SET_ID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}\Z")
_TIME = re.compile(r"20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]Z\Z")


@dataclass(frozen=True, slots=True)
class PublisherState:
    """The metadata that the site trusts of one publisher: its newest versions, None where none has come yet; ``issued`` is the newest accepted."""

    publisher: str
    root: int
    timestamp: int | None
    snapshot: int | None
    targets: int | None
    issued: str | None


@dataclass(frozen=True, slots=True)
class CompletedSet:
    """A set of which nothing is missing, and the digest of its header."""

    set_id: str
    header: Digest


@dataclass(frozen=True, slots=True)
class Holding:
    """A blob the site holds whole; ``set_id`` is the set that brought it, None for one that came by no set and is only at hand there."""

    digest: Digest
    size: int
    set_id: str | None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a site says.

    ``checkpoint`` is the sequence number and digest of the newest event of its log, ``made`` a UTC time, ``newest_set`` the highest set id of which
    anything was taken in.
    """

    site: str
    receipt_key: SSlibKey
    made: str
    checkpoint: tuple[int, Digest]
    publishers: tuple[PublisherState, ...]
    sets: tuple[CompletedSet, ...]
    newest_set: str | None
    holds: tuple[Holding, ...]

    def to_bytes(self) -> bytes:
        """Return the canonical payload bytes; publishers stand by id, sets by id, blobs by digest."""
        return canonical.dump(
            {
                "v": 1,
                "site": self.site,
                "receipt_key": public_to_json(self.receipt_key),
                "made": self.made,
                "checkpoint": {"digest": self.checkpoint[1], "sequence": self.checkpoint[0]},
                "publishers": [_publisher_members(each) for each in sorted(self.publishers, key=lambda each: each.publisher)],
                "sets": [{"header": each.header, "set": each.set_id} for each in sorted(self.sets, key=lambda each: each.set_id)],
                "newest_set": self.newest_set,
                "holds": [
                    {"digest": each.digest, "set": each.set_id, "size": each.size} for each in sorted(self.holds, key=lambda each: each.digest)
                ],
            }
        )


def sign_receipt(receipt: Receipt, signer: Signer) -> bytes:
    """Return the envelope around ``receipt``, signed by the site's receipt key."""
    return envelop(receipt.to_bytes(), RECEIPT_TYPE, [signer])


def open_receipt(envelope: bytes, *, what: str) -> Receipt:
    """Return the receipt in ``envelope``, signed by the very key that names its site; whether that site is known is the caller's matter.

    Raises:
        FormatRefused: not a receipt of this version, or in another spelling.
        SignatureRefused: not signed by the site that it names.
    """
    return parse_receipt(open_self_signed(envelope, RECEIPT_TYPE, what=what, limit=MAX_ENVELOPE_BYTES), what=what)


def parse_receipt(data: bytes, *, what: str) -> Receipt:
    """Return the receipt whose payload is ``data``.

    Raises:
        FormatRefused: anything that :meth:`Receipt.to_bytes` would not write.
    """
    document = canonical.load(data, what=what, limit=MAX_RECEIPT_BYTES)
    try:
        receipt = Receipt(
            site=_form(document["site"], _HEX64, what),
            receipt_key=public_from_json(document["receipt_key"], what=what),
            made=_form(document["made"], _TIME, what),
            checkpoint=(_whole(document["checkpoint"]["sequence"], what), parse_digest(document["checkpoint"]["digest"], what=what)),
            publishers=tuple(_publisher(each, what) for each in document["publishers"]),
            sets=tuple(CompletedSet(_form(each["set"], _SET_ID, what), parse_digest(each["header"], what=what)) for each in document["sets"]),
            newest_set=_optional(document["newest_set"], what),
            holds=tuple(_holding(each, what) for each in document["holds"]),
        )
    except (KeyError, TypeError, AttributeError):
        raise _not_a_receipt(what, "a member is missing or has another type") from None
    if receipt.site != receipt.receipt_key.keyid:
        raise _not_a_receipt(what, "its site is not the key it names")
    _refuse_twice((each.publisher for each in receipt.publishers), what)
    _refuse_twice((each.set_id for each in receipt.sets), what)
    _refuse_twice((each.digest for each in receipt.holds), what)
    if receipt.to_bytes() != data:
        raise _not_a_receipt(what, "it has members that this airlock doesn't know, or is out of order", hint="update airlock on this machine first")
    return receipt


def _publisher_members(each: PublisherState) -> dict[str, Any]:
    versions = {"root": each.root, "snapshot": each.snapshot, "targets": each.targets, "timestamp": each.timestamp}
    return {"issued": each.issued, "publisher": each.publisher, **versions}


def _publisher(value: Any, what: str) -> PublisherState:
    timestamp, snapshot, targets = (None if value[name] is None else _whole(value[name], what) for name in ("timestamp", "snapshot", "targets"))
    issued = None if value["issued"] is None else _form(value["issued"], _TIME, what)
    return PublisherState(_form(value["publisher"], _HEX64, what), _whole(value["root"], what), timestamp, snapshot, targets, issued)


def _holding(value: Any, what: str) -> Holding:
    return Holding(parse_digest(value["digest"], what=what), _whole(value["size"], what), _optional(value["set"], what))


def _optional(value: Any, what: str) -> str | None:
    return None if value is None else _form(value, _SET_ID, what)


def _form(value: Any, form: re.Pattern[str], what: str) -> str:
    if not isinstance(value, str) or not form.match(value):
        raise _not_a_receipt(what, f"found {str(value)[:80]!r} where something else is expected")
    return value


def _whole(value: Any, what: str) -> int:
    if type(value) is not int or value < 1:
        raise _not_a_receipt(what, f"expected a whole number above 0, found {str(value)[:20]}")
    return value


def _refuse_twice(names: Iterable[str], what: str) -> None:
    listed = list(names)
    if len(set(listed)) != len(listed):
        raise _not_a_receipt(what, "it names something twice")


def _not_a_receipt(what: str, why: str, hint: str = "ask the site for a fresh one: airlock receipt --to MEDIUM") -> FormatRefused:
    return FormatRefused(f"{what}: not a receipt of this version", why=why, hint=hint)
