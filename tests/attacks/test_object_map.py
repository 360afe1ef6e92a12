"""The index's objects are not those that the statements name: bytes would come in that nobody vouched for."""

import dataclasses

from registry.content.digest import digest_of


def test_an_object_more(offered, refuses, forge):
    station = forge(offered)
    model, stowaway = station.model(), b"nobody vouched for this"
    station.make_set("evil", [station.release(model)], {**model.objects, digest_of(stowaway): stowaway})
    refuses(offered, "evil", code=3, error="its object map is not what its statements name", why=r"1 object\(s\) differ", commits_metadata=True)


def test_an_object_less(offered, refuses, forge):
    station = forge(offered)
    model = station.model()
    objects = dict(list(model.objects.items())[:-1])
    station.make_set("evil", [station.release(model)], objects)
    refuses(offered, "evil", code=3, error="its object map is not what its statements name", commits_metadata=True)


def test_another_size(offered, refuses, forge):
    station = forge(offered)
    model = station.model()

    def longer(index):
        last = index.objects[-1]
        return dataclasses.replace(index, objects=(*index.objects[:-1], dataclasses.replace(last, size=last.size + 1)))

    station.make_set("evil", [station.release(model)], model.objects, change=longer)
    refuses(offered, "evil", code=3, error="its object map is not what its statements name", commits_metadata=True)


def test_content_that_has_another_digest(offered, refuses, forge):
    """Well sealed, well signed, but other bytes than the digest says."""
    station = forge(offered)
    model = station.model()
    objects = {digest: data[:-1] + b"?" for digest, data in model.objects.items()}
    station.make_set("evil", [station.release(model)], objects)
    refuses(
        offered, "evil", code=3, error="object sha256:[0-9a-f]{12}… of set .*: not what its statement says", hint="by phone", commits_metadata=True
    )
    wrong = next(iter(objects)).removeprefix("sha256:")
    assert not offered.path("in/incoming", wrong).exists()
