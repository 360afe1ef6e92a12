"""Overtaken: sets that wait for parts although every release they were to bring has come with another set."""

from __future__ import annotations

from registry.store.home import Home
from registry.store.site import Site
from registry.workflow.arrivals import Arrivals, arriving_sets

__all__ = ["forget_overtaken"]


def forget_overtaken(home: Home, log: Site) -> None:
    """Remove the record and the parity parts of every set of which nothing is waited for any more.

    Such a set may never come again, and the newest one with the same releases is all that anybody carries: nothing else would end the waiting.
    """
    here = {(each.publisher, each.name) for each in log.releases()}
    for expected in list(arriving_sets(home.incoming)):
        if expected.releases and all((expected.publisher, name) in here for name in expected.releases):
            Arrivals(home.incoming, expected.set_id).forget()
