"""Why something was refused, in one word: for counting.  People read sentences, which stand where the refusal is made."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Reason"]


class Reason(StrEnum):
    """The words, from a fixed list: nothing that a client sends becomes one."""

    CHALLENGED = "challenged"
    """Nobody known, told where a token is to be had: how every pull of Ollama begins."""
    NOT_ALLOWED = "not_allowed"
    NOT_PROMOTED = "not_promoted"
    WITHDRAWN = "withdrawn"
    BAD_LINK = "bad_link"
    ENDED_LINK = "ended_link"
    OTHER_HOST = "other_host"
    NOT_A_READ = "not_a_read"
    NO_TOKEN_NEEDED = "no_token_needed"  # noqa: S105 - no secret
    UNKNOWN_KEY = "unknown_key"
    BAD_SIGNATURE = "bad_signature"
    CLOCK = "clock"
    REPLAYED = "replayed"
    BAD_TOKEN = "bad_token"  # noqa: S105 - no secret
    TOO_MANY = "too_many_downloads"
    MALFORMED = "malformed"
