"""The stations that a site answers to: a verified index says by which key receipts are sealed to the one that made it."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime

from registry.content.digest import digest_of
from registry.media.index import Index
from registry.media.recipients import Recipient
from registry.media.suites import SUITES
from registry.store.site import Site
from registry.store.station_keys import station_keys_in
from registry.workflow.site import OpenSite

__all__ = ["remember_station", "stations_of"]

_EXTENSION = "station"


def remember_station(site: OpenSite, index: Index, now: datetime) -> None:
    """Note the station's key that a verified index brings, where it is another than the one known; an older set changes nothing.

    Raises:
        FormatRefused: the index names a suite that is known here with bytes that are no key of it.
    """
    found = _recipient_in(index)
    known = station_keys_in(site.log.db).get(index.publisher)
    if found is None or (known is not None and (known.key_id == found.key_id or known.set_id >= index.set_id)):
        return
    subject = {"publisher": index.publisher, "set": index.set_id, "suite": found.suite, "key": found.key_id, "document": digest_of(found.public)}
    with site.log.transaction():
        site.log.append("station.key", subject, signer=site.actor, now=now, documents=[found.public])


def stations_of(log: Site) -> dict[str, Recipient]:
    """Return to whom receipts are sealed: the station of every publisher that is trusted now and whose key is known, by publisher."""
    known = station_keys_in(log.db)
    return {
        each.publisher: Recipient(log.document(key.document), key.suite)
        for each in log.publishers()
        if each.trusted and (key := known.get(each.publisher)) is not None
    }


def _recipient_in(index: Index) -> Recipient | None:
    """Return the station's recipient, or None: sets made before there were receipts name none, and a suite of tomorrow is not ours to refuse."""
    said = index.extensions.get(_EXTENSION)
    if not isinstance(said, dict) or said.get("suite") not in SUITES:
        return None
    try:
        public = base64.b64decode(said["public"], validate=True)
    except (KeyError, TypeError, ValueError, binascii.Error):
        public = b""
    return Recipient(public, said["suite"])
