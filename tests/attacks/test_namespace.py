"""A publisher claims names that are another's."""

import pytest

from registry.store.home import Home
from registry.workflow.site import read_site


def trusted(world):
    with read_site(Home(world.path("in"))) as log:
        return [each.namespaces for each in log.publishers()]


def test_outside_of_its_namespaces(exported):
    exported.ok("in", "trust", "add", "usb", "--fingerprint", exported.fingerprint(), "--namespace", "clinical/*", "--namespace", "library/big*")
    done = exported.inside("import", "usb")
    assert done.code == 3
    assert "library/tiny:1b-r1: outside of what this publisher may publish here" in done.err
    assert done.lines["why"] == "allowed: clinical/*, library/big*"
    assert "--namespace" in done.lines["hint"]
    assert exported.releases() == []
    assert exported.holdings()["blobs"] == {}


def test_inside_of_its_namespaces(exported):
    exported.ok("in", "trust", "add", "usb", "--fingerprint", exported.fingerprint(), "--namespace", "clinical/*", "--namespace", "library/t?ny")
    exported.ok("in", "import", "usb")
    assert len(exported.releases()) == 2


@pytest.mark.parametrize(
    ("first", "second"), [("*/*", "clinical/*"), ("clinical/*", "*/*"), ("library/tiny", "library/*"), ("library/t*", "*/*y"), ("a/*-b*", "a/x-?")]
)
def test_overlap(exported, make_world, first, second):
    other = make_world("exported", "other")
    exported.homes["out"] = "../other/out"
    exported.ok("in", "trust", "add", "usb", "--fingerprint", exported.fingerprint(), "--namespace", first)
    assert trusted(exported) == [(first,)]
    medium = second_publisher(exported, other)
    done = exported.inside("trust", "add", medium, "--fingerprint", exported.fingerprint(medium), "--namespace", second)
    assert done.code == 3
    assert done.lines["error"] == f"the names {second} are not free"
    assert "two publishers can't share a name" in done.lines["why"]
    assert done.lines["unchanged"] == "nobody new is trusted; nothing was imported"
    assert trusted(exported) == [(first,)]


def test_side_by_side(exported, make_world):
    other = make_world("exported", "other")
    exported.ok("in", "trust", "add", "usb", "--fingerprint", exported.fingerprint(), "--namespace", "library/*")
    medium = second_publisher(exported, other)
    exported.ok("in", "trust", "add", medium, "--fingerprint", exported.fingerprint(medium), "--namespace", "clinical/*")
    assert sorted(trusted(exported)) == [("clinical/*",), ("library/*",)]


def test_no_namespace_means_everything(exported, make_world):
    other = make_world("exported", "other")
    exported.ok("in", "trust", "add", "usb", "--fingerprint", exported.fingerprint(), "--namespace", "library/*")
    medium = second_publisher(exported, other)
    assert exported.inside("trust", "add", medium, "--fingerprint", exported.fingerprint(medium)).code == 3


def second_publisher(world, other):
    """Another station's medium."""
    other.ok("out", "--home", "out2", "init")
    other.homes["out"] = "out2"
    other.ok("out", "pin", "tiny:1b", "--from", "file:one.gguf")
    other.export("usb2")
    return other.path("usb2")
