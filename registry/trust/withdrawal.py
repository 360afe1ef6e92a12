"""Withdrawals: what a publisher says of a release that should no longer be used.

A withdrawal stands in the targets metadata, at the statement it concerns (TUF 1.0, section 4.5, ``custom``), so that it takes effect with the
metadata, before any part of a set is opened.  It travels in clear: its sentence must not name the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tuf.api.metadata import TargetFile

from registry.errors import FormatRefused

__all__ = ["MAX_REASON", "Severity", "Withdrawal", "withdrawal_of", "withdrawals_in"]

MAX_REASON = 400


class Severity(StrEnum):
    """``stop`` ends serving at once; ``no-new-promotion`` waits for a person."""

    STOP = "stop"
    NO_NEW_PROMOTION = "no-new-promotion"


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """Why a release was withdrawn, in one sentence of at most 400 printable characters, and how urgent that is."""

    severity: Severity
    why: str

    def as_custom(self) -> dict[str, Any]:
        """Return the target's ``custom`` member."""
        return {"withdrawn": {"severity": str(self.severity), "why": self.why}}


def withdrawal_of(target: TargetFile) -> Withdrawal | None:
    """Return the withdrawal of a statement, or None where it stands.

    Raises:
        FormatRefused: the target has members that airlock doesn't write.
    """
    if not target.unrecognized_fields:
        return None
    custom = target.custom
    withdrawn = custom.get("withdrawn") if isinstance(custom, dict) else None
    if set(target.unrecognized_fields) != {"custom"} or not isinstance(withdrawn, dict) or set(custom) != {"withdrawn"}:
        raise FormatRefused(f"targets.json: {target.path[:12]}… has members that airlock doesn't know", hint="update airlock on this machine first")
    severity, why = withdrawn.get("severity"), withdrawn.get("why")
    if set(withdrawn) != {"severity", "why"} or severity not in list(Severity) or not isinstance(why, str) or not why.isprintable() or not why:
        raise FormatRefused(
            f"targets.json: {target.path[:12]}… is withdrawn in a way that airlock doesn't know", hint="update airlock on this machine first"
        )
    return Withdrawal(Severity(severity), why[:MAX_REASON])


def withdrawals_in(targets: Mapping[str, TargetFile]) -> dict[str, Withdrawal]:
    """Return every withdrawal in a list, by TUF target path."""
    return {path: found for path, target in targets.items() if (found := withdrawal_of(target)) is not None}
