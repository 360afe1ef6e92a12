"""A withdrawn release stands again in a newer list: somebody brings a dangerous model back."""

import pytest

from registry.content.digest import digest_of
from registry.errors import FormatRefused, TrustRefused
from registry.trust.keys import new_signer
from registry.trust.refresh import OfferedMetadata, adopt_publisher, fingerprint, refresh
from registry.trust.roles import RoleKeys, new_root, new_snapshot, new_targets, new_timestamp
from registry.trust.withdrawal import Severity, Withdrawal

STATEMENT = digest_of(b"a statement")
STOP, LATER = Withdrawal(Severity.STOP, "Unsafe."), Withdrawal(Severity.NO_NEW_PROMOTION, "Old.")


@pytest.fixture
def lists(now):
    """Return a function: version and withdrawal to offered metadata."""
    signer = new_signer()
    root = new_root(1, dict.fromkeys(("root", "targets", "snapshot", "timestamp"), RoleKeys([signer.public_key])), [signer], now)

    def offer(version, withdrawal):
        targets = new_targets(version, {STATEMENT: 10}, [signer], now, {STATEMENT: withdrawal} if withdrawal else None)
        snapshot = new_snapshot(version, targets, [signer], now)
        return OfferedMetadata((root,), new_timestamp(version, snapshot, [signer], now), snapshot, targets)

    return offer


def step(lists, now, before, after):
    first = lists(1, before)
    trusted = refresh(adopt_publisher(first, fingerprint(first.roots[0])), first, now=now, floor=None).trusted
    return refresh(trusted, lists(2, after), now=now, floor=None)


@pytest.mark.parametrize(("before", "after"), [(STOP, None), (LATER, None), (STOP, LATER)])
def test_refused(lists, now, before, after):
    with pytest.raises(TrustRefused, match="vanished from the publisher's list"):
        step(lists, now, before, after)


@pytest.mark.parametrize(("before", "after"), [(None, STOP), (LATER, STOP), (STOP, STOP), (LATER, LATER)])
def test_it_may_only_become_more_urgent(lists, now, before, after):
    assert step(lists, now, before, after).targets.targets


def test_unknown_severity(lists, now):
    class Odd:
        severity = "whenever"

        def as_custom(self):
            return {"withdrawn": {"severity": "whenever", "why": "x"}}

    with pytest.raises(FormatRefused, match="update airlock|withdrawn in a way"):
        step(lists, now, None, Odd())
