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
from registry.store.site import PublisherRecord
from registry.store.streamed import Inlet, StreamedSet, sets_at
from registry.trust.keys import short
from registry.trust.refresh import TrustedMetadata, adopt_publisher
from registry.trust.roles import format_time
from registry.workflow.actor import Credentials
from registry.workflow.offered import read_metadata
from registry.workflow.proposals import Described, propose
from registry.workflow.site import open_site

__all__ = ["Trusted", "clock_reset", "find_publisher", "parse_fingerprint", "trust_add", "trust_remove", "trust_replace"]

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


def trust_add(home: Home, medium: Path | Inlet, expected: str, namespaces: Sequence[str], credentials: Credentials, *, now: datetime) -> Trusted:
    """Trust the publisher of the set on ``medium`` whose chain of roots contains the fingerprint ``expected``.

    Args:
        home: the site's.
        medium: where a set of the publisher lies.
        expected: 64 hexadecimal digits, compared out of band.
        namespaces: repository patterns (``clinical/*``) that this publisher alone may use here; if empty, those it had before, else all of them.
        credentials: who acts.
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
    with open_site(home, credentials, "trust add") as site:
        trusted = _offered_with(medium, expected)
        known = site.log.publisher(trusted.publisher)
        if known is not None and known.replaced_by is not None:
            raise TrustRefused(
                f"publisher {short(known.publisher)} was replaced here by {short(known.replaced_by)}",
                why="whoever has its old keys could sign again whatever they like",
                hint="ask the publisher for a set by the new station",
            )
        if known is not None and known.trusted:
            if namespaces and known.namespaces != patterns:
                raise Usage(f"publisher {trusted.publisher[:8]} is trusted here already, for {', '.join(known.namespaces)}")
            return Trusted(trusted.publisher, known.namespaces, len(known.roots), new=False)
        if known is not None and not namespaces:
            patterns = known.namespaces  # trusted again, for no more than before
        _refuse_overlap(patterns, site.log.publishers())
        with site.log.transaction():
            subject = {"publisher": trusted.publisher, "namespaces": list(patterns), "roots": [digest_of(root) for root in trusted.roots]}
            site.log.append("trust.add", subject, signer=site.actor, now=now, documents=trusted.roots)
    return Trusted(trusted.publisher, patterns, len(trusted.roots), new=True)


def trust_remove(home: Home, begins: str, credentials: Credentials, *, now: datetime) -> PublisherRecord:
    """End trust in a publisher: nothing more of it is imported; what was imported stays until somebody withdraws it.

    Raises:
        NotFound: no publisher that is trusted begins so.
    """
    with open_site(home, credentials, "trust remove") as site:
        record = find_publisher([each for each in site.log.publishers() if each.trusted], begins)
        with site.log.transaction():
            site.log.append("trust.remove", {"publisher": record.publisher}, signer=site.actor, now=now)
    return record


def trust_replace(home: Home, begins: str, medium: Path, expected: str, credentials: Credentials, *, now: datetime) -> Described:
    """Propose that the publisher on ``medium`` takes the names of another, which lost its root keys and is trusted for nothing from then on.

    Raises:
        NotFound: no publisher begins so.
        TrustRefused: the fingerprint is of no root on the medium, or that publisher is known here already.
        PolicyRefused: only one person is enrolled.
    """
    with open_site(home, credentials, "trust replace") as site:
        old = find_publisher([each for each in site.log.publishers() if each.trusted], begins)
        trusted = _offered_with(medium, expected)
        if site.log.publisher(trusted.publisher) is not None:
            raise TrustRefused(
                f"publisher {short(trusted.publisher)} is known here already",
                why="only a new publisher can take another's names",
                hint="airlock trust list shows the publishers; a station that lost its root keys begins anew with airlock init",
            )
        subject = {"old": old.publisher, "publisher": trusted.publisher, "roots": [digest_of(root) for root in trusted.roots]}
        return propose(site, "trust.replace", subject, now=now, documents=trusted.roots)


def clock_reset(home: Home, credentials: Credentials, *, now: datetime) -> Described:
    """Propose to forget the newest time of issue that was accepted, before which this site's clock may not be.

    Raises:
        NotFound: nothing was accepted yet.
        PolicyRefused: only one person is enrolled.
    """
    with open_site(home, credentials, "clock reset") as site:
        floor = site.log.newest_issued()
        if floor is None:
            raise NotFound("there is nothing to reset", why="no set was accepted here since the last reset")
        return propose(site, "clock.reset", {"floor": format_time(floor)}, now=now)


def find_publisher(records: Sequence[PublisherRecord], begins: str) -> PublisherRecord:
    """Return the one publisher whose id begins so."""
    found = [each for each in records if begins and each.publisher.startswith(begins.lower())]
    if len(found) != 1:
        listed = ", ".join(short(each.publisher) for each in records)
        raise NotFound(
            f"{begins}: {'no publisher' if not found else 'more than one publisher'} here begins so",
            why=f"here are: {listed}" if listed else "nobody is trusted yet",
            hint="airlock trust list",
        )
    return found[0]


def _offered_with(medium: Path | Inlet, expected: str) -> TrustedMetadata:
    """Return the chain of roots on a medium that contains the fingerprint ``expected``."""
    folders = sets_at(medium)
    offers = {offered.publisher: offered for offered in map(read_metadata, reversed(folders))}
    for offered in offers.values():
        try:
            trusted = adopt_publisher(offered, expected)
        except TrustRefused:
            if offered is list(offers.values())[-1]:
                raise
            continue
        for stream in (each for each in folders if isinstance(each, StreamedSet)):
            stream.end(lambda _: None)  # nothing more of it is wanted, but whoever sends it must not think that it was refused
        return trusted
    raise NotFound(f"{medium}: there is no set on this medium")


def _refuse_overlap(patterns: Sequence[str], others: Sequence[PublisherRecord]) -> None:
    for other in (each for each in others if each.trusted):
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
