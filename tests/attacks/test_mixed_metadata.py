"""Snapshot, timestamp and targets of two exports put together: each is signed, together they were never issued."""

import itertools

import pytest

ROLES = ("timestamp", "snapshot", "targets")


@pytest.mark.parametrize("taken", [each for count in (1, 2) for each in itertools.combinations(ROLES, count)], ids="+".join)
def test_older_files_in_a_newer_set(offered, refuses, taken):
    for role in taken:
        old = (offered.folder("usb") / f"metadata/{role}.json").read_bytes()
        (offered.folder("stick") / f"metadata/{role}.json").write_bytes(old)
    refuses(offered, "stick", code=3, error=r"(snapshot|targets)\.json: does not belong to the other metadata", hint="ask the publisher by phone")


def test_a_newer_set_with_all_its_older_metadata(offered, refuses):
    """A whole older trio is just old: the new statements are not in the newest list that is trusted here."""
    for role in ROLES:
        old = (offered.folder("usb") / f"metadata/{role}.json").read_bytes()
        (offered.folder("stick") / f"metadata/{role}.json").write_bytes(old)
    refuses(offered, "stick", code=3, error="statement [0-9a-f]{12}…: not in the publisher's signed list")
