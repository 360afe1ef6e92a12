"""The access journal on a disk that takes lines and can't keep them."""

import logging

import pytest

from registry.content.digest import digest_of
from registry.server.journal import Journal
from registry.server.metrics import JOURNAL_FAILURES, Tallies
from registry.store.access_journal import read_journal


def test_what_cannot_be_made_durable_stops_hand_outs_and_not_denials(disk, tmp_path, caplog):
    """The harm: the power fails, and what was handed out in the last minutes is on no record."""
    source = tmp_path / "source"
    state = disk.lying(tmp_path / "state", source, "fsync")
    tallies, clock = Tallies(0), [1_800_000_000.0]
    journal = Journal(state / "access.jsonl", now=lambda: clock[0], tally=tallies.row(0))

    def hand_out():
        journal.handed_out("manifest", node="gpu-01", peer="10.0.0.7", repository="library/gemma3", digest=digest_of(b"x"))

    hand_out()
    clock[0] += 3
    assert journal.lag() == 3
    journal.sync()
    assert (journal.lag(), journal.problem) == (0, "")
    hand_out()
    (source / "broken").touch()
    clock[0] += 5
    with caplog.at_level(logging.ERROR):
        journal.sync()
    assert "the access journal can't be made durable: Input/output error" in caplog.text
    assert (journal.lag(), journal.problem) == (5, "Input/output error")
    assert tallies.read(JOURNAL_FAILURES, ()) == [1]
    with pytest.raises(OSError, match="Input/output error"):
        hand_out()
    journal.denied("no", node="-", peer="10.0.0.8", repository="")
    (source / "broken").unlink()
    journal.sync()
    hand_out()
    # what the disk had refused was written once more: Linux believes such pages to be clean
    assert len((source / "access.jsonl").read_bytes().splitlines()) == 4
    clock[0] += 61  # a disk that says nothing at all
    with pytest.raises(OSError, match="the disk under it does not answer"):
        hand_out()
    journal.sync()
    hand_out()
    journal.close()
    assert [entry.members["verb"] for entry in read_journal(state / "access.jsonl")] == ["manifest", "manifest", "deny", "manifest", "manifest"]
