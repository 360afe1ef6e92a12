"""The stations that a site answers to: a verified index says by which key receipts are sealed to the one that made it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime

from registry.content import canonical
from registry.content.digest import digest_of
from registry.media.index import Index
from registry.media.recipients import Recipient
from registry.media.suites import SUITES
from registry.store.site import Site
from registry.store.station_keys import station_keys_in
from registry.workflow.site import OpenSite

__all__ = ["remember_station", "stations_of"]

_EXTENSION = "station"
_MAX_KEY_BYTES = 16 << 10


def remember_station(site: OpenSite, index: Index, now: datetime) -> None:
    """Note the station's key that a verified index brings, where it is another than the one known; an older set changes nothing.

    Raises:
        FormatRefused: the index names a suite that is known here with bytes that are no key of it.
    """
    found = _recipient_in(index)
    known = station_keys_in(site.log.db).get(index.publisher)
    if found is None or (known is not None and (known.key_id == found.key_id or known.set_id >= index.set_id)):
        return
    document = canonical.dump({"public": base64.b64encode(found.public).decode("ascii"), "suite": found.suite})
    subject = {"publisher": index.publisher, "set": index.set_id, "suite": found.suite, "key": found.key_id, "document": digest_of(document)}
    with site.log.transaction():
        site.log.append("station.key", subject, signer=site.actor, now=now, documents=[document])


def stations_of(log: Site) -> dict[str, Recipient]:
    """Return to whom receipts are sealed: the station of every publisher that is trusted now and whose key is known, by publisher."""
    known = station_keys_in(log.db)
    return {
        each.publisher: _recipient(canonical.load(log.document(key.document), what="station key", limit=_MAX_KEY_BYTES))
        for each in log.publishers()
        if each.trusted and (key := known.get(each.publisher)) is not None
    }


def _recipient_in(index: Index) -> Recipient | None:
    """Return the station's recipient, or None: sets made before there were receipts name none, and a suite of tomorrow is not ours to refuse."""
    said = index.extensions.get(_EXTENSION)
    if not isinstance(said, dict) or said.get("suite") not in SUITES:
        return None
    return _recipient(said)


def _recipient(members: Mapping[str, canonical.Json]) -> Recipient:
    try:
        public = base64.b64decode(members["public"], validate=True)
    except (KeyError, TypeError, ValueError, binascii.Error):
        public = b""  # no key of any suite
    return Recipient(public, members["suite"])
