"""Places: how many connections there may be, and who gives way when all are taken.

A place is taken when a connection is accepted, before any TLS handshake, and is busy while a request of it is answered.  When all are taken, whoever
has waited longest without a request gives way to a newcomer: a crowd that connects and says nothing, or never finishes saying it, can't lock out
a node, which asks at once.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from enum import StrEnum

from registry.server.metrics import CONNECTIONS, CONNECTIONS_DROPPED, CONNECTIONS_OPEN, Tally

__all__ = ["Full", "Place", "Places"]

_LARGEST_SHARE = 4  # one address may have a quarter of all places


class Full(StrEnum):
    """Why there is no place."""

    ADDRESS = "address"
    ALL = "full"


class Place:
    """The place of one connection from ``address``; ``drop`` closes the connection, and may be replaced as the connection grows up."""

    __slots__ = ("_places", "address", "drop", "taken")

    def __init__(self, places: Places, address: str, drop: Callable[[], object]) -> None:
        """Made by :meth:`Places.take`."""
        self._places, self.address, self.drop, self.taken = places, address, drop, True

    def busy(self) -> None:
        """A request is being answered: from now on this place is not given away."""
        self._places.waiting.pop(self, None)

    def idle(self) -> None:
        """The answer is out; the connection waits for its next request."""
        if self.taken:
            self._places.waiting[self] = None

    def leave(self) -> None:
        """Give the place back; once is enough."""
        self._places.vacate(self)


class Places:
    """``most`` places in one process, for all its listeners together."""

    def __init__(self, most: int, tally: Tally) -> None:
        """All are free."""
        self._tally = tally
        self._most = most
        self._by_address: Counter[str] = Counter()
        self._taken = 0
        self.waiting: OrderedDict[Place, None] = OrderedDict()
        """Places without a request, those that wait longest first."""

    def take(self, address: str, drop: Callable[[], object]) -> Place | Full:
        """Return a place for a new connection from ``address``, or why there is none."""
        self._tally.count(CONNECTIONS)
        if self._by_address[address] >= max(1, self._most // _LARGEST_SHARE):
            return self._refuse(Full.ADDRESS)
        if self._taken >= self._most:
            if not self.waiting:
                return self._refuse(Full.ALL)
            oldest = next(iter(self.waiting))
            self._tally.count(CONNECTIONS_DROPPED, "gave_way")
            oldest.drop()
            self.vacate(oldest)
        place = Place(self, address, drop)
        self._by_address[address] += 1
        self._taken += 1
        self._tally.set(CONNECTIONS_OPEN, self._taken)
        self.waiting[place] = None
        return place

    def vacate(self, place: Place) -> None:
        """Count ``place`` as free."""
        if not place.taken:
            return
        place.taken = False
        place.drop = _nothing  # it held the transport, or the task of its handshake, and with them 75 kB of OpenSSL's, until garbage is collected
        self._taken -= 1
        self._tally.set(CONNECTIONS_OPEN, self._taken)
        self.waiting.pop(place, None)
        self._by_address[place.address] -= 1
        if not self._by_address[place.address]:
            del self._by_address[place.address]

    def _refuse(self, why: Full) -> Full:
        self._tally.count(CONNECTIONS_DROPPED, why)
        return why


def _nothing() -> None:
    """Close what is gone."""
