"""``airlock check`` finds what is no longer as the log says, and changes nothing."""

import json
import os

import pytest


def weights(world):
    """A model file in the site's store."""
    return next(path for path in sorted(world.path("in/blobs").rglob("*")) if path.is_file() and path.read_bytes().startswith(b"GGUF"))


def statement(world):
    """The copy of a served release's statement, which the server hands out."""
    digest = json.loads(world.path("in/published/view.json").read_bytes())["releases"][0]["statement"].removeprefix("sha256:")
    return world.path("in/blobs/sha256", digest[:2], digest)


def edit(path):
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("harm", "found"),
    [
        (lambda world: edit(weights(world)), "is damaged: its content has the digest"),
        (lambda world: weights(world).unlink(), "can't be read: No such file"),
        (lambda world: (weights(world).chmod(0o644), os.truncate(weights(world), 10)), "bytes instead of"),
        (lambda world: edit(statement(world)), "the next command that writes copies it again"),
        (lambda world: edit(world.path("in/published/view.json")), "the published view is not what the log says"),
        (lambda world: world.path("in/published/view.json").unlink(), "the published view can't be read"),
    ],
    ids=["blob edited", "blob missing", "blob cut", "statement edited", "view edited", "view missing"],
)
def test_found(serving, harm, found, tree):
    harm(serving)
    before = tree(serving.path("in"))
    done = serving.inside("check")
    assert done.code == 7
    assert "1 problem(s) found" in done.lines["error"]
    assert found in done.lines["why"]
    assert done.lines["hint"]
    assert tree(serving.path("in")) == before


def test_without_contents(serving):
    edit(weights(serving))
    assert serving.inside("check", "--no-contents").code == 0
    weights(serving).unlink()
    assert serving.inside("check", "--no-contents").code == 7


def test_the_next_writer_publishes_again(serving):
    serving.path("in/published/view.json").unlink()
    serving.ok("in", "import", "usb")
    serving.ok("in", "check")


def test_the_next_writer_copies_a_statement_again(serving):
    edit(statement(serving))
    statement(serving).unlink()
    assert serving.inside("check").code == 7
    serving.ok("in", "import", "usb")
    serving.ok("in", "check")


def test_station(exported):
    assert "2 release(s)" in exported.ok("out", "check").out
    [pin, _] = exported.ok("out", "pins", "--json").json
    digest = pin["manifest"].removeprefix("sha256:")
    edit(exported.path("out/blobs/sha256", digest[:2], digest))
    done = exported.outside("check")
    assert done.code == 7
    assert "damaged" in done.lines["why"]
