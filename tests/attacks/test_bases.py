"""A set that leaves out what a site holds, where the site holds it no longer, or something else under its name.

Whoever can write the site's disk, or an adopted share, could slip a model in under a signed statement.
"""

import dataclasses
import os

import pytest

from registry.content.digest import digest_of
from registry.media.index import Held

BASE = "01M7ZQEJKVBHWZASY02FSYWH07"


@pytest.fixture
def delta(serving, forge):
    """Return a function: a set on ``stick`` that carries a model without its weights; returns the weights' digest and bytes."""
    station = forge(serving)

    def make(set_id=BASE, change=lambda have: have, more=()):
        model = station.model()
        [(weights, data)] = [(digest, data) for digest, data in model.blobs.items() if data[:4] == b"GGUF"]
        objects = {digest: data for digest, data in model.objects.items() if digest != weights}
        have = change((Held(weights, len(data), set_id),))
        releases = [station.release(model)]
        for number, seed in enumerate(more, 2):
            other = station.model(seed)
            releases.append(station.release(other, f"forged:{number}b", number))
            objects |= other.objects
        station.make_set("stick", releases, objects, change=lambda index: dataclasses.replace(index, have=have))
        return weights, data

    return make


def test_it_is_not_here(serving, delta, refuses):
    weights, data = delta()
    refuses(
        serving,
        "stick",
        code=5,
        error="^library/forged:1b-r1: what it is based on is missing here$",
        why=rf"^{weights} \({len(data):,} bytes\) is left out of set 01[0-9A-Z]{{24}}: it is not in the store$",
        hint=rf"^import set {BASE} first, then this one again$",
        commits_metadata=True,
    )


def test_no_set_brought_it(serving, delta, refuses):
    delta(set_id=None)
    refuses(serving, "stick", code=5, error="missing here", hint=r"^airlock adopt DIR", commits_metadata=True)


def test_another_content_under_its_name(serving, delta, refuses):
    """Of the same size, so that only hashing it tells."""
    weights, data = delta()
    path = serving.path("in/blobs/sha256", weights[7:9], weights[7:])
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data[:-1] + b"!")
    refuses(serving, "stick", code=5, error="missing here", why="the store has it, damaged", hint="^rm ", commits_metadata=True)
    path.write_bytes(data)
    serving.ok("in", "import", "stick")
    serving.ok("in", "check")


def test_a_link_under_its_name(serving, delta):
    """It would be served from wherever it leads, whatever lies there tomorrow."""
    weights, data = delta()
    path = serving.path("in/blobs/sha256", weights[7:9], weights[7:])
    path.parent.mkdir(exist_ok=True)
    serving.path("elsewhere").write_bytes(data)
    path.symlink_to(serving.path("elsewhere"))
    done = serving.inside("import", "stick")
    assert done.code == 7
    assert ("library/forged:1b", 1, "quarantine") not in serving.releases()


@pytest.mark.parametrize("how", ["swapped", "gone", "link"])
def test_an_adopted_file_that_was_exchanged(serving, delta, refuses, how):
    """Size and time as they were: a share that others can write is no store."""
    _, data = delta(set_id=None)
    file = serving.path("share/old.gguf")
    file.parent.mkdir()
    file.write_bytes(data)
    serving.ok("in", "adopt", "share")
    before = file.stat()
    if how == "swapped":
        file.write_bytes(data[:-1] + b"!")
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    else:
        file.rename(serving.path("share/moved"))
        if how == "link":
            file.symlink_to(serving.path("share/moved"))
    refuses(
        serving,
        "stick",
        code=5,
        error="^library/forged:1b-r1: what it is based on is missing here$",
        why="old.gguf, which has changed since or is gone$",
        hint="^airlock adopt DIR",
        commits_metadata=True,
    )
    assert not any("old.gguf" in str(event["subject"]) for event in serving.events()), "a path may name a person"
    file.unlink(missing_ok=True)
    file.write_bytes(data)
    serving.ok("in", "import", "stick")
    serving.ok("in", "check")


def test_left_out_with_another_size(serving, delta, refuses):
    delta(change=lambda have: tuple(dataclasses.replace(each, size=each.size + 1) for each in have))
    refuses(serving, "stick", code=3, error="its object map is not what its statements name", commits_metadata=True)


def test_left_out_what_nobody_stated(serving, delta, refuses):
    delta(change=lambda have: (*have, Held(digest_of(b"more"), 4, None)))
    refuses(serving, "stick", code=3, error="its object map is not what its statements name", commits_metadata=True)


def test_nothing_left_out_and_nothing_there(serving, delta, refuses):
    delta(change=lambda have: ())
    refuses(serving, "stick", code=3, error="its object map is not what its statements name", commits_metadata=True)


def test_the_others_of_the_set_arrive(serving, delta):
    delta(more=(8,))
    done = serving.inside("import", "stick")
    assert done.code == 5
    assert "library/forged:1b-r1" in done.lines["error"]
    assert done.lines["unchanged"].startswith("imported all the same: library/forged:2b-r2")
    assert ("library/forged:2b", 2, "quarantine") in serving.releases()
    assert not any(name == "library/forged:1b" for name, _, _ in serving.releases())
    serving.ok("in", "check")


def test_what_was_copied_for_a_release_that_is_refused_does_not_stay(serving, forge, refuses):
    """Two bases, of which one is adopted and the other nowhere."""
    station = forge(serving)
    model = station.model()
    [(weights, data)] = [(digest, data) for digest, data in model.blobs.items() if data[:4] == b"GGUF"]
    [(config, _)] = [(digest, data) for digest, data in model.blobs.items() if digest != weights]
    file = serving.path("share/old.gguf")
    file.parent.mkdir()
    file.write_bytes(data)
    serving.ok("in", "adopt", "share")
    have = (Held(weights, len(data), None), Held(config, len(model.blobs[config]), BASE))
    carried = {digest: data for digest, data in model.objects.items() if digest not in (weights, config)}
    station.make_set("stick", [station.release(model)], carried, change=lambda index: dataclasses.replace(index, have=have))
    refuses(serving, "stick", code=5, error="missing here", hint=f"import set {BASE} first", commits_metadata=True)
