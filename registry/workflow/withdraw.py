"""Withdraw, outside: say of a release that it should no longer be used."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from registry.content.reference import Selector
from registry.errors import NotFound, PolicyRefused, Usage
from registry.store.home import Home
from registry.store.station import NumberedRelease
from registry.trust.withdrawal import MAX_REASON, Severity, Withdrawal
from registry.workflow.station import Passphrase, open_station

__all__ = ["withdraw_release"]


def withdraw_release(
    home: Home, selector: Selector, withdrawal: Withdrawal, passphrase: Passphrase, confirm: Callable[[NumberedRelease], None], *, now: datetime
) -> NumberedRelease:
    """Note the withdrawal of a release; it reaches sites with the next export, and the list that says it needs the release signers.

    Raises:
        NotFound: no such release was ever exported.
        PolicyRefused: several could be meant, or it is withdrawn already as severely.
    """
    if not withdrawal.why.strip() or not withdrawal.why.isprintable() or len(withdrawal.why) > MAX_REASON:
        raise Usage("a withdrawal says why", why=f"expected one sentence of at most {MAX_REASON} printable characters", hint="--why 'one sentence'")
    with open_station(home, passphrase, "withdraw") as station:
        found = [each for each in station.log.releases() if each.reference == selector.reference and selector.number in (None, each.number)]
        if not found:
            raise NotFound(f"{selector}: was never exported as a release", hint="airlock pins shows which release each pin is")
        known = station.log.withdrawals()
        standing = [each for each in found if each.statement not in known or known[each.statement].severity is not Severity.STOP]
        if not standing:
            raise PolicyRefused(f"{found[-1].reference}-r{found[-1].number}: withdrawn already", why=known[found[-1].statement].why)
        if len(standing) > 1:
            raise PolicyRefused(
                f"{selector}: several releases could be meant",
                why="\n".join(f"{each.reference}-r{each.number}  {each.manifest[:19]}…" for each in standing),
                hint="\n".join(f"airlock withdraw {each.reference}@{each.number} --why …" for each in standing),
            )
        release = standing[0]
        confirm(release)
        subject = {
            "repository": release.reference.repository,
            "tag": release.reference.tag,
            "number": release.number,
            "manifest": release.manifest,
            "statement": release.statement,
            "severity": str(withdrawal.severity),
            "why": withdrawal.why,
        }
        with station.log.transaction():
            station.log.append("release.withdraw", subject, signer=station.keys["actor"], now=now)
    return release
