"""Another recipient knows the set key, and so can seal what it likes: site list, object map, statements changed."""

import dataclasses

import pytest

from registry.media.index import Object
from registry.trust.keys import new_signer

CHANGES = {
    "nothing": lambda index: index,
    "site list": lambda index: dataclasses.replace(index, sites=("0" * 64,)),
    "object map": lambda index: dataclasses.replace(index, objects=index.objects[:-1]),
    "object exchanged": lambda index: dataclasses.replace(
        index, objects=(Object("sha256:" + "0" * 64, 0, index.objects[0].size), *index.objects[1:])
    ),
    "statements": lambda index: dataclasses.replace(index, statements=index.statements[:1]),
    "part size": lambda index: dataclasses.replace(index, part_size=2 << 20),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_signed_by_the_recipient(offered, refuses, forge, change):
    station = forge(offered)
    _, set_key, index = station.open_set(offered.folder("stick"))
    station.reseal(offered.folder("stick"), set_key, change(index), new_signer())
    refuses(offered, "stick", code=3, error="index: signed by an unknown key", why=r"key [0-9a-f]{8} may not sign this", commits_metadata=True)


def test_not_signed(offered, refuses, forge):
    station = forge(offered)
    _, set_key, index = station.open_set(offered.folder("stick"))
    station.reseal(offered.folder("stick"), set_key, index, None)
    refuses(offered, "stick", code=3, error="index: (not signed by enough keys|not a DSSE envelope)", commits_metadata=True)


def test_signed_by_another_role(offered, refuses, forge):
    """The release key is the publisher's too, but it doesn't speak for what lies on a medium."""
    station = forge(offered)
    _, set_key, index = station.open_set(offered.folder("stick"))
    station.reseal(offered.folder("stick"), set_key, index, station.keys["release"])
    refuses(offered, "stick", code=3, error="index: signed by an unknown key", commits_metadata=True)


def test_signature_for_another_purpose(offered, refuses, forge):
    station = forge(offered)
    _, set_key, index = station.open_set(offered.folder("stick"))
    station.reseal(offered.folder("stick"), set_key, index, station.keys["station"], payload_type="application/vnd.airlock.event.v1+json")
    refuses(offered, "stick", code=3, error="index: carries something else", commits_metadata=True)


def test_sealed_as_a_part(offered, refuses, forge):
    """Sealed with the right key, but as another file of the set."""
    station = forge(offered)
    _, set_key, index = station.open_set(offered.folder("stick"))
    station.reseal(offered.folder("stick"), set_key, index, station.keys["station"], role="part")
    refuses(offered, "stick", code=3, error="index: damaged", commits_metadata=True)
