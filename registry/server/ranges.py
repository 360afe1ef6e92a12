"""Which bytes of a blob a request asks for (RFC 9110, sections 13 and 14)."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Span", "matches", "select"]

_SINGLE = re.compile(r"bytes=[ \t]*(?P<first>[0-9]*)-(?P<last>[0-9]*)[ \t]*\Z", re.IGNORECASE)
_BEYOND = 10**18  # more bytes than any blob has


@dataclass(frozen=True, slots=True)
class Span:
    """``count`` bytes from ``offset`` of something that is ``total`` bytes long; ``partial`` when the answer is 206."""

    offset: int
    count: int
    total: int
    partial: bool

    @property
    def content_range(self) -> str:
        """The value of ``Content-Range``."""
        return f"bytes {self.offset}-{self.offset + self.count - 1}/{self.total}"


def select(range_header: str | None, if_range: str | None, *, etag: str, total: int) -> Span | None:
    """Return what to send of ``total`` bytes, or None when the range can't be satisfied (416).

    A header that isn't one well-formed range of bytes is ignored, as section 14.2 allows: several ranges in one request buy a client nothing
    and an attacker a lot.  So is a range whose ``If-Range`` names another entity (section 13.1.5).
    """
    whole = Span(0, total, total, partial=False)
    if range_header is None or (if_range is not None and if_range.strip() != etag):
        return whole
    match = _SINGLE.match(range_header.strip())
    if match is None or match["first"] == match["last"] == "":
        return whole
    if not match["first"]:  # the last N bytes
        count = min(_number(match["last"]), total)
        return Span(total - count, count, total, partial=True) if count else None
    first = _number(match["first"])
    last = min(_number(match["last"]), total - 1) if match["last"] else total - 1
    if match["last"] and _number(match["last"]) < first:
        return whole  # section 14.1.1: an invalid range, not an unsatisfiable one
    return Span(first, last - first + 1, total, partial=True) if first < total else None


def matches(if_none_match: str | None, etag: str) -> bool:
    """Tell whether ``If-None-Match`` names ``etag`` (weak comparison, section 13.1.2), so that 304 is the answer."""
    if if_none_match is None:
        return False
    candidates = [candidate.strip().removeprefix("W/") for candidate in if_none_match.split(",")]
    return etag in candidates or candidates == ["*"]


def _number(digits: str) -> int:
    digits = digits.lstrip("0") or "0"
    return int(digits) if len(digits) <= 18 else _BEYOND
