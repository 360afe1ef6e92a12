"""Approve, promote, roll back, withdraw: the steps of a release inside, each a person's act."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from registry.content.reference import Selector
from registry.errors import NotFound, PolicyRefused, Usage
from registry.store.home import Home
from registry.store.releases import APPROVED, PROMOTED, QUARANTINE, WITHDRAWN, CatalogRelease
from registry.trust.withdrawal import Severity
from registry.workflow.actor import Credentials
from registry.workflow.site import OpenSite, open_site, publish

__all__ = ["Moved", "approve", "promote", "rollback", "withdraw"]


@dataclass(frozen=True, slots=True)
class Moved:
    """What a step did: the release, the state it has now, the release it replaced; ``changed`` is False where nothing was left to do."""

    release: CatalogRelease
    state: str
    replaced: CatalogRelease | None = None
    changed: bool = True


Confirm = Callable[[Moved], None]
"""Asks the person before the step is taken; raises if they say no."""


def approve(home: Home, selector: Selector, credentials: Credentials, confirm: Confirm, *, now: datetime) -> Moved:
    """Move a release from quarantine to approved.

    Raises:
        NotFound: no such release here.
        PolicyRefused: several wait; the message lists them.
    """
    with open_site(home, credentials, "approve") as site:
        candidates = _candidates(site, selector)
        waiting = [each for each in candidates if each.state == QUARANTINE]
        if not waiting:
            return Moved(candidates[-1], candidates[-1].state, changed=False)
        move = Moved(_only(waiting, selector, "approve"), APPROVED)
        return _take(site, "release.approve", move, confirm, now)


def promote(home: Home, selector: Selector, credentials: Credentials, confirm: Confirm, *, now: datetime) -> Moved:
    """Let the plain tag serve an approved release.  Without a number, the one that is newer than what the tag serves now.

    Raises:
        NotFound: no such release here.
        PolicyRefused: it is still in quarantine, or several could be meant; the message lists them.
    """
    with open_site(home, credentials, "promote") as site:
        candidates = _candidates(site, selector)
        current = _current(site, selector)
        if selector.number is None:
            newest = current.number if current else 0
            ready = [each for each in candidates if each.state == APPROVED and each.number > newest]
        else:
            ready = [each for each in candidates if each.state == APPROVED]
        if not ready:
            waiting = [each for each in candidates if each.state == QUARANTINE]
            if waiting:
                raise PolicyRefused(
                    f"{waiting[-1].name}: not approved yet",
                    why="a release in quarantine can't be promoted",
                    hint=f"airlock approve {waiting[-1].reference}@{waiting[-1].number}",
                )
            if current is None or (selector.number is not None and selector.number != current.number):
                _refuse_withdrawn(candidates[-1])
                raise PolicyRefused(f"{candidates[-1].name}: can't be promoted", why=f"its state is {candidates[-1].state}")
            return Moved(current, PROMOTED, changed=False)
        move = Moved(_only(ready, selector, "promote"), PROMOTED, current)
        return _take(site, "release.promote", move, confirm, now)


def rollback(home: Home, selector: Selector, credentials: Credentials, confirm: Confirm, *, now: datetime) -> Moved:
    """Let the plain tag serve what it served before its newest promotion, or the approved release that is named by number.

    Raises:
        NotFound: no such release here.
        PolicyRefused: the tag serves nothing, or nothing was served before.
    """
    with open_site(home, credentials, "rollback") as site:
        candidates = _candidates(site, selector)
        current = _current(site, selector)
        if current is None:
            raise PolicyRefused(
                f"{selector.reference}: nothing is promoted", why="there is nothing to roll back", hint=f"airlock show {selector.reference}"
            )
        if selector.number == current.number:
            return Moved(current, PROMOTED, changed=False)
        number = selector.number or current.supersedes
        if number is None:
            raise PolicyRefused(
                f"{selector.reference}: nothing was served before {current.name}",
                why="its promotion replaced no other release",
                hint=f"to choose an approved release by number: airlock rollback {selector.reference}@N; airlock list shows them",
            )
        earlier = [each for each in (candidates if selector.number else site.log.releases_of(selector.reference)) if each.number == number]
        if not earlier or earlier[0].state != APPROVED:
            state = earlier[0].state if earlier else "not here"
            raise PolicyRefused(
                f"{selector.reference}-r{number}: can't be served", why=f"its state is {state}", hint=f"airlock show {selector.reference}"
            )
        return _take(site, "release.rollback", Moved(earlier[0], PROMOTED, current), confirm, now)


def withdraw(home: Home, selector: Selector, why: str, credentials: Credentials, confirm: Confirm, *, now: datetime) -> Moved:
    """Stop serving a release here, for ever: on this site's own judgement, or as the act that a publisher's withdrawal waits for.

    Raises:
        NotFound: no such release here.
        PolicyRefused: several could be meant; the message lists them.
    """
    with open_site(home, credentials, "withdraw") as site:
        candidates = _candidates(site, selector)
        standing = [each for each in candidates if each.state != WITHDRAWN]
        if not standing:
            return Moved(candidates[-1], WITHDRAWN, changed=False)
        release = _only(standing, selector, "withdraw")
        said = release.withdrawal.why if release.withdrawal and not why else why
        if not said:
            raise Usage("a withdrawal says why", hint=f"airlock withdraw {release.reference}@{release.number} --why 'one sentence'")
        move = Moved(release, WITHDRAWN)
        confirm(move)
        with site.log.transaction():
            subject = {**release.subject(), "severity": str(Severity.STOP), "why": said}
            site.log.append("release.withdraw", subject, signer=site.actor, now=now)
        publish(site.home, site.log)
        return move


def _refuse_withdrawn(release: CatalogRelease) -> None:
    if release.withdrawal is not None:
        raise PolicyRefused(
            f"{release.name}: withdrawn by its publisher ({release.withdrawal.severity})",
            why=release.withdrawal.why,
            hint=f"choose another release; to stop serving this one: airlock withdraw {release.reference}@{release.number}",
        )


def _take(site: OpenSite, verb: str, move: Moved, confirm: Confirm, now: datetime) -> Moved:
    _refuse_withdrawn(move.release)
    confirm(move)
    with site.log.transaction():
        site.log.append(verb, move.release.subject(), signer=site.actor, now=now)
    publish(site.home, site.log)
    return move


def _candidates(site: OpenSite, selector: Selector) -> list[CatalogRelease]:
    found = [each for each in site.log.releases_of(selector.reference) if selector.number in (None, each.number)]
    if not found:
        here = sorted({str(each.reference) for each in site.log.releases()})
        raise NotFound(
            f"{selector}: no such release here",
            why=f"here are: {', '.join(here[:10])}" if here else "nothing was imported yet",
            hint="airlock list shows every release; names look like library/gemma3:270m or library/gemma3:270m-r2",
        )
    return found


def _current(site: OpenSite, selector: Selector) -> CatalogRelease | None:
    return next((each for each in site.log.releases_of(selector.reference) if each.state == PROMOTED), None)


def _only(candidates: Sequence[CatalogRelease], selector: Selector, verb: str) -> CatalogRelease:
    if len(candidates) > 1:
        raise PolicyRefused(
            f"{selector}: several releases could be meant",
            why="\n".join(f"{each.name}  {each.state}  {each.manifest[:19]}…" for each in candidates),
            hint="\n".join(f"airlock {verb} {each.reference}@{each.number}" for each in candidates),
        )
    return candidates[0]
