"""Texts: small files that people wrote."""

from __future__ import annotations

from registry.errors import FormatRefused

__all__ = ["MAX_TEXT_BYTES", "parse_text"]

MAX_TEXT_BYTES = 1024 * 1024
"""The greatest length of a template, a system text, a licence, a file of parameters."""


def parse_text(data: bytes, *, what: str) -> str:
    """Return ``data`` as text.

    Raises:
        FormatRefused: empty, longer than :data:`MAX_TEXT_BYTES`, or not UTF-8.
    """
    if not 1 <= len(data) <= MAX_TEXT_BYTES:
        raise FormatRefused(f"{what}: {'too large' if data else 'empty'}", why=f"expected 1 to {MAX_TEXT_BYTES} bytes, found {len(data)}")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatRefused(f"{what}: not text", why=f"expected UTF-8, found {data[error.start : error.start + 8]!r} at byte {error.start}") from None
