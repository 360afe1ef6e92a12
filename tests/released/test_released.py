"""Sets of every release import for ever, into a home of the same release, judged by the time they were made."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

RELEASED = sorted(path.parent for path in Path(__file__).parent.glob("*/expected.json"))
assert RELEASED, "no released set is kept here"


@pytest.fixture(params=RELEASED, ids=lambda path: path.name)
def released(request, make_world):
    """A copy of a released set and the site that it was made for, and what is expected of them."""
    world = make_world("empty")
    shutil.copytree(request.param, world.root, dirs_exist_ok=True)
    expected = json.loads((request.param / "expected.json").read_text())
    made = datetime.strptime(expected["made"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    return world, expected, made


def test_imports(released):
    world, expected, made = released
    assert world.fingerprint() == expected["fingerprint"]
    world.ok("in", "trust", "add", "usb", "--fingerprint", expected["fingerprint"])
    assert world.import_at(made + timedelta(days=91), "usb") is None
    rows = world.ok("in", "list", "--json").json
    assert sorted([row["name"], row["release"], row["manifest"]] for row in rows) == expected["releases"]
    world.ok("in", "approve", "library/tiny:1b")
    world.ok("in", "promote", "library/tiny:1b")
    world.ok("in", "check")


def test_expires(released):
    world, expected, made = released
    world.ok("in", "trust", "add", "usb", "--fingerprint", expected["fingerprint"])
    assert world.import_at(made + timedelta(days=93), "usb").exit_code == 3
