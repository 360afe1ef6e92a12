"""The published view and the log witness for each other: neither may be older than the other, or another site's."""

from __future__ import annotations

from registry.content.view import View, parse_view
from registry.errors import AirlockError, StoreFailed
from registry.store.home import Home
from registry.store.keystore import read_public
from registry.store.site import Site
from registry.trust.keys import public_from_json, short

__all__ = ["check_witness", "is_lost", "site_id", "witness"]


def site_id(home: Home) -> str:
    """Return the site's id without a passphrase."""
    return str(public_from_json(read_public(home.root)["keys"]["receipt"], what="receipt key").keyid)


def witness(home: Home) -> View | None:
    """Return the published view, or None where it is lost: the next command that writes publishes it again."""
    try:
        return parse_view(home.view.read_bytes(), what=str(home.view))
    except (OSError, AirlockError):
        return None


def is_lost(home: Home) -> bool:
    """Tell whether there is no log at all, or one that was never begun."""
    return _head(home)[0] == 0


def check_witness(home: Home) -> None:
    """Return if the log reaches what was published, and both are this site's.

    Raises:
        StoreFailed: the database is missing, older than what was published, or another site's.
    """
    site, view = site_id(home), witness(home)  # the view before the log: a writer commits to the log first
    head, found = _head(home)
    if head == 0:
        raise StoreFailed(
            f"{home.database}: the database is missing",
            hint="put the home's newest backup back; if there is none: airlock restore",
        )
    if found != site:
        raise StoreFailed(
            f"{home.database}: the database of another site",
            why=f"this home's keys are those of site {short(site)}, its log is that of site {short(found)}",
            hint="put this site's own database back; if it is lost, move the other one away, then: airlock restore",
        )
    if view is not None and view.site != site:
        raise StoreFailed(
            f"{home.view}: the published view of another site",
            why=f"this home's keys are those of site {short(site)}, the view names site {short(view.site)}",
            hint="move it away; the next command that writes publishes this site's",
        )
    if view is not None and head < view.sequence:
        raise StoreFailed(
            f"{home.database}: older than what was published from it",
            why=f"the published view says {view.sequence} events, the log has {head}",
            hint="put the home's newest backup back; if there is no newer one: airlock restore",
        )


def _head(home: Home) -> tuple[int, str]:
    """Return the number of the newest event and whose log it is; 0 where there is none."""
    if not home.database.exists():
        return 0, ""
    log = Site(home.database)
    try:
        head = log.head()
        return (head.seq if head else 0), log.site()
    finally:
        log.close()
