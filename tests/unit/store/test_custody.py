"""Media in the projection: events that break its rules can't be written, and an older one never undoes what is known."""

import contextlib
from datetime import UTC, datetime

import pytest

from registry.content.digest import digest_of
from registry.errors import AirlockError
from registry.store.home import Home
from registry.workflow.actor import Credentials
from registry.workflow.site import open_site, read_site
from registry.workflow.station import open_station, read_station

SET = "01KBCDEFGH0123456789XTY0EW"


@contextlib.contextmanager
def log_of(world, place):
    home = Home(world.path(place))
    if place == "out":
        with open_station(home, lambda: world.passphrase, "test") as station:
            yield station.log, station.keys["actor"]
    else:
        with open_site(home, Credentials(lambda: world.passphrase), "test") as site:
            yield site.log, site.actor


def append(world, place, *events):
    with log_of(world, place) as (log, signer):
        for verb, subject in events:
            with log.transaction():
                log.append(verb, subject, signer=signer, now=datetime.now(UTC))
        assert list(log.problems()) == []
        return [each for each in log.media() if each.set_id in (SET, "")]  # the world's own set was exported, too


WRITE = {"set": SET, "medium": 1, "media": 2, "label": "A", "first": 1, "last": 3, "size": 99, "read_back": True}
READ = {"set": SET, "medium": 1, "media": 2, "label": "A"}
RECEIVE = {"set": SET, "label": "A", "serial": "", "note": ""}


@pytest.mark.parametrize(
    ("place", "verb", "subject"),
    [
        ("out", "medium.write", {**WRITE, "label": "../a"}),
        ("out", "medium.write", {**WRITE, "sums": "sha256:x"}),
        ("out", "medium.receive", {**RECEIVE, "label": "a b"}),
        ("out", "medium.receive", {**RECEIVE, "serial": "a b"}),
        ("out", "medium.receive", {**RECEIVE, "note": "courier"}),
        ("out", "medium.retire", {"set": SET, "label": "A", "method": "burn"}),
        ("in", "medium.read", {**READ, "label": 7}),
        ("in", "medium.receive", {**RECEIVE, "set": "", "label": ""}),
        ("in", "medium.retire", {"set": "", "label": "A", "method": ""}),
    ],
)
def test_events_that_break_the_rules(exported, place, verb, subject):
    before = exported.events(place)
    with pytest.raises(AirlockError) as refusal:
        append(exported, place, (verb, subject))
    assert refusal.value.exit_code == 3
    assert exported.events(place) == before


def test_what_a_station_knows_of_a_medium(exported):
    sums = digest_of(b"sums")
    [medium] = append(exported, "out", ("medium.write", {**WRITE, "sums": sums}))
    assert (medium.set_id, medium.number, medium.media, medium.label, medium.first, medium.last, medium.size) == (SET, 1, 2, "A", 1, 3, 99)
    assert (medium.read_back, medium.sums, medium.state, medium.serial, medium.read) == (True, sums, "written", "", None)
    [medium] = append(exported, "out", ("medium.receive", {**RECEIVE, "serial": "S1"}), ("medium.receive", RECEIVE))
    assert (medium.state, medium.serial, len(medium.hand_overs)) == ("handed over", "S1", 2)
    [medium] = append(exported, "out", ("medium.write", {**WRITE, "last": 4, "read_back": False}))
    assert (medium.state, medium.serial, medium.last, medium.read_back, medium.sums) == ("written", "S1", 4, False, "")


def test_one_label_on_two_shares_of_a_set(exported):
    """They are on one stick, so they change hands together."""
    media = append(exported, "out", ("medium.write", WRITE), ("medium.write", {**WRITE, "medium": 2}), ("medium.receive", RECEIVE))
    assert [(medium.number, medium.state) for medium in media] == [(1, "handed over"), (2, "handed over")]
    media = append(exported, "out", ("medium.retire", {"set": SET, "label": "A", "method": "reuse"}))
    assert {medium.state for medium in media} == {"retired"}


def test_what_came_in_is_known_once_it_is_read(exported):
    [medium] = append(exported, "in", ("medium.receive", {**RECEIVE, "set": "", "label": "a", "serial": "S1"}))
    assert (medium.set_id, medium.state, medium.number) == ("", "handed over", 0)
    media = append(exported, "in", ("medium.read", READ), ("medium.read", {**READ, "medium": 2, "label": "B"}))
    assert [(medium.label, medium.number, medium.state, medium.serial) for medium in media] == [("A", 1, "read", "S1"), ("B", 2, "read", "")]
    again = append(exported, "in", ("medium.read", READ))
    assert again == media
    media = append(exported, "in", ("medium.receive", RECEIVE))
    assert (media[0].state, len(media[0].hand_overs)) == ("read", 2)


def test_what_was_retired_unread_stays_so(exported):
    retire = ("medium.retire", {"set": "", "label": "A", "method": "destroy"})
    media = append(exported, "in", ("medium.receive", {**RECEIVE, "set": ""}), retire, ("medium.read", READ))
    assert [(medium.set_id, medium.state) for medium in media] == [(SET, "read"), ("", "retired")]
    media = append(exported, "in", ("medium.receive", {**RECEIVE, "set": ""}))
    assert media[1].state == "handed over"


def test_what_a_station_knows_of_sites(exported):
    set_id = exported.folder().name
    with read_station(Home(exported.path("out"))) as log:
        assert log.sites_of(set_id) == (exported.events("in")[0]["subject"]["site"],)
        assert log.sites_of(SET) == log.sets_arrived(set_id) == ()
        assert log.receipts() == []
        assert [each.set_id for each in log.media()] == [set_id]
    with read_site(Home(exported.path("in"))) as site:
        assert site.media() == []
