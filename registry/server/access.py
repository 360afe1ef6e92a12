"""Who may pull what: the one place that decides.

Every request below ``/v2/`` and every capability URL asks here, each time, so that a changed rule bites at once.
"""

from __future__ import annotations

from dataclasses import dataclass

from registry.content.view import ServedState

__all__ = ["ANONYMOUS", "Access", "Allow", "Caller", "Deny"]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking: the name of a node, or ``-`` for somebody unknown."""

    node: str


ANONYMOUS = Caller("-")


@dataclass(frozen=True, slots=True)
class Allow:
    """The caller may have it."""


@dataclass(frozen=True, slots=True)
class Deny:
    """The caller may not have it; ``reason`` is a sentence for the caller and for the journal."""

    reason: str


@dataclass(frozen=True, slots=True)
class Access:
    """The rules in force.  ``anonymous_pull`` lets everybody who reaches the server pull what is served."""

    anonymous_pull: bool

    def decide(self, who: Caller, repository: str, state: ServedState | None) -> Allow | Deny:
        """Decide whether ``who`` may pull from ``repository`` a release in ``state``.

        ``repository`` is in lower case, or empty when the request names none.  ``state`` is None when no such release is served: somebody
        who may pull then learns that it doesn't exist, and nobody else does.
        """
        del who, repository, state  # nothing but the open door can be configured so far
        if self.anonymous_pull:
            return Allow()
        return Deny("this registry serves only nodes that it knows")
