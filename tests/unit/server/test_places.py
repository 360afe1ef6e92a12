"""Places: how many there are, who gets none, and who gives way."""

import pytest

from registry.server.metrics import CONNECTIONS, CONNECTIONS_DROPPED, CONNECTIONS_OPEN, Tallies
from registry.server.places import Full, Place, Places


@pytest.fixture
def tallies():
    return Tallies(0)


@pytest.fixture
def dropped():
    return []


@pytest.fixture
def enter(tallies, dropped):
    """A function that takes a place among eight."""
    places = Places(8, tallies.row(0))
    return lambda address, name="": places.take(address, lambda: dropped.append(name or address))


def test_one_address_gets_a_quarter(enter, tallies):
    assert isinstance(enter("10.0.0.1"), Place)
    last = enter("10.0.0.1")
    assert enter("10.0.0.1") is Full.ADDRESS
    last.leave()
    last.leave()  # twice is once
    assert isinstance(enter("10.0.0.1"), Place)
    assert tallies.read(CONNECTIONS, ()) == [4]
    assert tallies.read(CONNECTIONS_OPEN, ()) == [2]
    assert tallies.read(CONNECTIONS_DROPPED, ("address",)) == [1]


def test_who_waits_longest_without_a_request_gives_way(enter, dropped, tallies):
    crowd = [enter(f"10.0.0.{number}") for number in range(8)]
    crowd[0].busy()
    crowd[1].busy()
    crowd[1].idle()  # its answer is out: it waits anew, behind the others
    newcomers = [enter(f"10.0.1.{number}") for number in range(7)]
    assert dropped == [f"10.0.0.{number}" for number in (2, 3, 4, 5, 6, 7, 1)]
    assert all(isinstance(each, Place) for each in newcomers)
    assert tallies.read(CONNECTIONS_OPEN, ()) == [8]
    assert tallies.read(CONNECTIONS_DROPPED, ("gave_way",)) == [7]


def test_nobody_who_is_served_gives_way(enter, dropped, tallies):
    for number in range(8):
        enter(f"10.0.0.{number}").busy()
    assert enter("10.0.1.1") is Full.ALL
    assert dropped == []
    assert tallies.read(CONNECTIONS_DROPPED, ("full",)) == [1]


def test_a_place_that_was_given_away_does_not_come_back(enter):
    crowd = [enter(f"10.0.0.{number}") for number in range(8)]
    enter("10.0.1.1")
    crowd[0].idle()
    crowd[0].leave()
    assert not crowd[0].taken
    assert isinstance(enter("10.0.1.2"), Place)
    assert not crowd[1].taken  # and not the one that had left before
