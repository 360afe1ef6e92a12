"""Trust: which publishers this site believes, and for which names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from registry.content.digest import digest_of
from registry.errors import NotFound, TrustRefused, Usage
from registry.store.home import Home
from registry.store.medium import find_sets
from registry.store.site import PublisherRecord
from registry.trust.refresh import adopt_publisher
from registry.workflow.offered import read_metadata
from registry.workflow.site import open_site
from registry.workflow.station import Passphrase

__all__ = ["Trusted", "parse_fingerprint", "trust_add"]

_PATTERN = re.compile(r"[a-z0-9_*?][a-z0-9_*?-]*/[a-z0-9_*?][a-z0-9_*?.-]*\Z")


@dataclass(frozen=True, slots=True)
class Trusted:
    """A publisher that is trusted now; ``new`` is False where it was already."""

    publisher: str
    namespaces: tuple[str, ...]
    root: int
    new: bool


def parse_fingerprint(text: str) -> str:
    """Return a fingerprint as 64 lower-case digits, whatever its letter case and grouping.

    Raises:
        Usage: not 64 hexadecimal digits.
    """
    digits = re.sub(r"[\s:.…_-]", "", text.lower().removeprefix("sha256:"))
    if not re.match(r"[0-9a-f]{64}\Z", digits):
        raise Usage(
            f"{text!r}: not a fingerprint",
            why=f"a fingerprint has 64 hexadecimal digits, this one has {len(digits)}",
            hint="the publisher reads it from: airlock inspect MEDIUM (on their side), or from airlock init",
        )
    return digits


def trust_add(home: Home, medium: Path, expected: str, namespaces: Sequence[str], passphrase: Passphrase, *, now: datetime) -> Trusted:
    """Trust the publisher of the set on ``medium`` whose chain of roots contains the fingerprint ``expected``.

    Args:
        home: the site's.
        medium: where a set of the publisher lies.
        expected: 64 hexadecimal digits, compared out of band.
        namespaces: repository patterns (``clinical/*``) that this publisher alone may use here; all of them if empty.
        passphrase: opens the keystore.
        now: aware, UTC.

    Raises:
        TrustRefused: the fingerprint is of no root on the medium, or the patterns overlap with another publisher's.
    """
    patterns = tuple(namespaces) or ("*/*",)
    for pattern in patterns:
        if not _PATTERN.match(pattern):
            raise Usage(
                f"{pattern!r}: not a repository pattern", why="expected namespace/model with * and ?", hint="for example --namespace 'clinical/*'"
            )
    with open_site(home, passphrase, "trust add") as site:
        offers = {offered.publisher: offered for offered in (read_metadata(folder) for folder in reversed(find_sets(medium)))}
        trusted = None
        for offered in offers.values():
            try:
                trusted = adopt_publisher(offered, expected)
                break
            except TrustRefused:
                if offered is list(offers.values())[-1]:
                    raise
        if trusted is None:
            raise NotFound(f"{medium}: there is no set on this medium")
        known = site.log.publisher(trusted.publisher)
        if known is not None:
            if namespaces and known.namespaces != patterns:
                raise Usage(f"publisher {trusted.publisher[:8]} is trusted here already, for {', '.join(known.namespaces)}")
            return Trusted(trusted.publisher, known.namespaces, len(known.roots), new=False)
        _refuse_overlap(patterns, site.log.publishers())
        with site.log.transaction():
            subject = {"publisher": trusted.publisher, "namespaces": list(patterns), "roots": [digest_of(root) for root in trusted.roots]}
            site.log.append("trust.add", subject, signer=site.actor, now=now, documents=trusted.roots)
    return Trusted(trusted.publisher, patterns, len(trusted.roots), new=True)


def _refuse_overlap(patterns: Sequence[str], others: Sequence[PublisherRecord]) -> None:
    for other in others:
        for ours in patterns:
            for theirs in other.namespaces:
                if _may_overlap(ours, theirs):
                    raise TrustRefused(
                        f"the names {ours} are not free",
                        why=f"publisher {other.publisher[:8]} is trusted for {theirs}; two publishers can't share a name",
                        hint="give each publisher patterns of its own: airlock trust add … --namespace 'clinical/*'",
                    )


def _may_overlap(one: str, other: str) -> bool:
    """Tell whether some name could match both patterns: part by part, with wildcards on either side."""
    return all(_parts_overlap(left, right) for left, right in zip(one.split("/"), other.split("/"), strict=True))


def _parts_overlap(one: str, other: str) -> bool:
    if not one or not other:
        return not (one + other).strip("*")
    if one[0] == "*" or other[0] == "*":
        star, rest = (one, other) if one[0] == "*" else (other, one)
        return any(_parts_overlap(star[1:], rest[skip:]) for skip in range(len(rest) + 1))
    return (one[0] == other[0] or "?" in (one[0], other[0])) and _parts_overlap(one[1:], other[1:])
