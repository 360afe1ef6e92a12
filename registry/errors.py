"""Every deliberate error of airlock, with the exit code it ends the command with.

::

    AirlockError              1   anything else
    ├── Usage                 2   the command as typed can't be carried out
    ├── Refused               3   trust, policy or structure says no
    │   ├── FormatRefused         bytes are not what they claim to be (JSON, GGUF, manifest, index …)
    │   ├── SignatureRefused      not signed by whom it must be
    │   ├── TrustRefused          unknown publisher, wrong fingerprint, rolled back or expired metadata
    │   ├── RecipientRefused      sealed, but not to us
    │   └── PolicyRefused         allowed by nobody who may allow it
    ├── OlderRefused          4   older than what is trusted here, and adds nothing
    ├── MediumDamaged         5   a part or a medium is missing, cut, edited, full or unreadable
    ├── NotFound              6   no such name, digest, home or set
    ├── StoreFailed           7   our own store, database or keystore: full, locked, damaged
    └── Interrupted         130   somebody pressed Ctrl-C

An error says four things, in this order: *what* happened to which thing, *why* (expected, found), the *hint* with the next command, and
what did **not** happen (``unchanged``).  The command line prints one line for each.
"""

from __future__ import annotations

from typing import Any, ClassVar

__all__ = [
    "AirlockError",
    "FormatRefused",
    "Interrupted",
    "MediumDamaged",
    "NotFound",
    "OlderRefused",
    "PolicyRefused",
    "RecipientRefused",
    "Refused",
    "SignatureRefused",
    "StoreFailed",
    "TrustRefused",
    "Usage",
]


class AirlockError(Exception):
    """A deliberate refusal or failure, worded for the person at the keyboard.

    ``what`` is one line without a full stop; ``why`` and ``hint`` are a line, several lines, or empty; ``unchanged`` says what did not
    happen and is filled in at the top when the place that raised could not know; ``details`` are more members for ``--json``.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, why: str = "", hint: str = "", unchanged: str = "", details: dict[str, Any] | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.hint = hint
        self.unchanged = unchanged
        self.details = details or {}

    def __str__(self) -> str:
        return f"{self.what}: {self.why}" if self.why else self.what

    def as_json(self) -> dict[str, object]:
        """Return the error as the ``error`` object of ``--json`` output: ``kind``, ``exit_code``, ``what``, ``why``, ``hint``, ``unchanged``."""
        return {
            "kind": type(self).__name__,
            "exit_code": self.exit_code,
            "what": self.what,
            "why": self.why,
            "hint": self.hint,
            "unchanged": self.unchanged,
            **self.details,
        }


class Usage(AirlockError):
    """The command as typed can't be carried out."""

    exit_code = 2


class Refused(AirlockError):
    """Trust, policy or structure says no."""

    exit_code = 3


class FormatRefused(Refused):
    """Bytes are not what they claim to be."""


class SignatureRefused(Refused):
    """Not signed by whom it must be signed."""


class TrustRefused(Refused):
    """An unknown publisher, a wrong fingerprint, rolled back, mixed or expired metadata."""


class RecipientRefused(Refused):
    """Sealed, but not to a key that is held here."""


class PolicyRefused(Refused):
    """The state of the release, or the policy, does not allow this step."""


class OlderRefused(AirlockError):
    """Older than what is trusted here, and adds nothing."""

    exit_code = 4


class MediumDamaged(AirlockError):
    """A part or a medium is missing, cut, edited, full or unreadable."""

    exit_code = 5


class NotFound(AirlockError):
    """No such name, digest, home or set."""

    exit_code = 6


class StoreFailed(AirlockError):
    """Our own store, database or keystore is full, locked or damaged."""

    exit_code = 7


class Interrupted(AirlockError):
    """Somebody asked the command to stop."""

    exit_code = 130
