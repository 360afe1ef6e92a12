"""A publisher in memory: signs whatever a test asks for, knows every key it ever had."""

from datetime import UTC, datetime, timedelta

import pytest

from registry.content.digest import digest_of
from registry.trust.keys import new_signer
from registry.trust.refresh import OfferedMetadata
from registry.trust.roles import RoleKeys, new_root, new_snapshot, new_targets, new_timestamp

ROLES = ("root", "targets", "snapshot", "timestamp")


class Publisher:
    """``keys`` by role, ``versions`` by role, the chain of ``roots``; ``now`` is what its clock says."""

    def __init__(self):
        self.now = datetime(2026, 11, 21, 12, tzinfo=UTC)
        self.keys = {role: [new_signer()] for role in ROLES}
        self.threshold = dict.fromkeys(ROLES, 1)
        self.versions = dict.fromkeys(ROLES[1:], 0)
        self.statements = {}
        self.roots = []
        self.sign_root()

    def rotate(self, *roles):
        """Give roles new keys; the new root is signed by the old root keys and the new ones."""
        old = self.keys["root"]
        for role in roles:
            self.keys[role] = [new_signer() for _ in self.keys[role]]
        self.sign_root(extra=old)

    def sign_root(self, extra=()):
        held = {role: RoleKeys([each.public_key for each in keys], self.threshold[role]) for role, keys in self.keys.items()}
        signers = {each.public_key.keyid: each for each in (*self.keys["root"], *extra)}
        self.roots.append(new_root(len(self.roots) + 1, held, signers.values(), self.now))

    def state(self, text):
        """Add a statement to the list."""
        data = text.encode()
        self.statements[digest_of(data)] = len(data)

    def publish(self, **versions):
        """Sign everything again, an hour later, with the next versions or with these."""
        self.now += timedelta(hours=1)
        for role in self.versions:
            self.versions[role] = versions.get(role, self.versions[role] + 1)
        targets = new_targets(self.versions["targets"], self.statements, self.keys["targets"], self.now)
        snapshot = new_snapshot(self.versions["snapshot"], targets, self.keys["snapshot"], self.now)
        timestamp = new_timestamp(self.versions["timestamp"], snapshot, self.keys["timestamp"], self.now)
        return OfferedMetadata(tuple(self.roots), timestamp, snapshot, targets)


@pytest.fixture
def publisher():
    """A fresh publisher with one statement."""
    made = Publisher()
    made.state("first")
    return made
