"""Asking for a repair: a site names the parts of an unfinished set that it needs again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from registry.content.digest import digest_of
from registry.errors import NotFound, Usage
from registry.store.home import SITE, Home
from registry.store.repair_files import write_repair
from registry.trust.repair import RepairRequest, sign_repair
from registry.trust.roles import format_time
from registry.workflow.actor import Credentials
from registry.workflow.arrivals import Expected, arriving_sets
from registry.workflow.incomplete import missing_media
from registry.workflow.site import open_site, read_site

__all__ = ["AskedRepair", "ask_repair"]


@dataclass(frozen=True, slots=True)
class AskedRepair:
    """What was asked for: parts of a set, those of them that were damaged, and where the request is, None where there is nothing to ask for.

    ``later`` are media, in words, that were not read here yet, and the parts on them that are left to them.
    """

    set_id: str
    path: Path | None = None
    parts: tuple[int, ...] = ()
    damaged: tuple[int, ...] = ()
    later: tuple[tuple[str, tuple[int, ...]], ...] = ()


def ask_repair(home: Home, set_id: str, to: Path, credentials: Credentials, *, everything: bool, now: datetime) -> AskedRepair:
    """Write a request for the parts that an unfinished set lacks.

    Args:
        home: the site's.
        set_id: the set; empty where only one is unfinished.
        to: a medium, or a file.
        credentials: who asks.
        everything: also ask for parts on media that were not read here yet.
        now: aware, UTC.

    Raises:
        NotFound: no such set is unfinished here.
        Usage: several are, and none is named.
        MediumDamaged: the medium can't be written.
    """
    home.require(SITE)
    unfinished = {each.set_id: each for each in arriving_sets(home.incoming)}
    if set_id and set_id not in unfinished:
        with read_site(home) as log:
            if set_id in log.completed_sets():
                return AskedRepair(set_id)
    expected = _chosen(unfinished, set_id)
    later = () if everything else _later(expected)
    left = {number for _, numbers in later for number in numbers}
    parts = tuple(number for number in expected.needed if number not in left)
    damaged = tuple(sorted(set(expected.damaged).intersection(parts)))
    if not parts:
        return AskedRepair(expected.set_id, later=later)
    with open_site(home, credentials, "repair-request", unlock=True) as site:
        key = site.keys["receipt"]
        data = sign_repair(RepairRequest(key.public_key, expected.set_id, format_time(now), parts), key)
        with site.log.transaction():
            subject = {"set": expected.set_id, "parts": len(parts), "request": digest_of(data)}
            site.log.append("repair.request", subject, signer=site.actor, now=now)
            path = write_repair(to, expected.set_id, site.site, data)  # before the commit: what the log names can be sent
    return AskedRepair(expected.set_id, path, parts, damaged, later)


def _chosen(unfinished: dict[str, Expected], set_id: str) -> Expected:
    if set_id in unfinished:
        return unfinished[set_id]
    if not unfinished:
        raise NotFound("no set is unfinished here", why="there is nothing to ask for", hint="airlock import MEDIUM says what is missing or damaged")
    if set_id:
        raise NotFound(f"set {set_id}: is not unfinished here", why=f"unfinished: {', '.join(unfinished)}", hint="airlock import MEDIUM")
    if len(unfinished) > 1:
        hint = "\n".join(f"airlock repair-request {each} --to MEDIUM" for each in unfinished)
        raise Usage("several sets are unfinished here", why="each is asked for with a command of its own", hint=hint)
    return next(iter(unfinished.values()))


def _later(expected: Expected) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Return the media that were not at hand yet, as far as those that were hinted, and the parts that are to come with them."""
    unread = {medium for medium in range(1, len(expected.media) + 1) if medium not in expected.seen}
    waiting: Sequence[int] = [number for number in expected.needed if number not in expected.damaged and _medium_of(expected, number) in unread]
    return tuple((name, tuple(numbers)) for name, numbers in missing_media(expected, waiting))


def _medium_of(expected: Expected, number: int) -> int:
    return next((medium for medium, (_, first, last) in enumerate(expected.media, 1) if first <= number <= last), 0)
