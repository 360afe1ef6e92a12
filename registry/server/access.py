"""Who may pull what: the one place that decides.

Every request below ``/v2/`` and every capability URL asks here, each time, so that a changed rule bites at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from registry.content.callers import EVERYONE, TEST, AccessRule
from registry.content.view import ServedState
from registry.server.reasons import Reason

__all__ = ["ANONYMOUS", "Access", "Allow", "Caller", "Deny"]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking: an enrolled node, the bearer of a token, or somebody unknown.

    ``id`` names it in tokens and links, and changes with its key; ``name`` is for people and the journal.  ``patterns`` are the repositories that
    a bearer's token was issued for, and None for a node, for which the site's rules speak.
    """

    id: str
    name: str
    groups: frozenset[str] = frozenset()
    patterns: tuple[str, ...] | None = None

    @property
    def known(self) -> bool:
        """Whether this is anybody at all."""
        return self.id != "-"


ANONYMOUS = Caller("-", "-")


@dataclass(frozen=True, slots=True)
class Allow:
    """The caller may have it."""


@dataclass(frozen=True, slots=True)
class Deny:
    """The caller may not have it; ``reason`` is a sentence for the caller and for the journal, ``kind`` the same in one word."""

    reason: str
    kind: Reason


@dataclass(frozen=True, slots=True)
class Access:
    """The rules in force.  ``anonymous_pull`` lets everybody who reaches the server pull what is served.

    Without ``rules`` every enrolled node may pull every promoted release.  As soon as there is one, only what some rule allows may be pulled: a
    repository that no rule names is open to no node.
    """

    anonymous_pull: bool
    rules: tuple[AccessRule, ...] = ()

    def decide(self, who: Caller, repository: str, state: ServedState | None) -> Allow | Deny:
        """Decide whether ``who`` may pull from ``repository`` a release in ``state``.

        ``repository`` is in lower case, or empty when the request names none.  ``state`` is None when no such release is served: somebody
        who may pull then learns that it doesn't exist, and nobody else does.
        """
        if self.anonymous_pull:
            return Allow()
        if not who.known:
            return Deny("this registry serves only nodes that it knows", Reason.CHALLENGED)
        if repository and not _matches(repository, self._patterns(who)):
            return Deny(f"{who.name} may not pull from {repository}; ask the registry's operator", Reason.NOT_ALLOWED)
        if state is ServedState.APPROVED and TEST not in who.groups:
            sentence = f"{who.name} may pull this release once it is promoted; until then only the group {TEST} may"
            return Deny(sentence, Reason.NOT_PROMOTED)
        return Allow()

    def _patterns(self, who: Caller) -> Iterable[str]:
        if who.patterns is not None:
            return who.patterns
        if not self.rules:
            return ("*/*",)
        return [rule.pattern for rule in self.rules if rule.group == EVERYONE or rule.group in who.groups]


def _matches(repository: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(repository, pattern) for pattern in patterns)
