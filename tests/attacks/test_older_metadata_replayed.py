"""Last month's medium again: it must not bring back last month's list."""

from registry.store.home import Home
from registry.workflow.site import read_site


def test_not_applied(offered, refuses):
    offered.ok("in", "import", "stick")
    refuses(
        offered,
        "usb",
        code=4,
        error="older than what is trusted here, and adds nothing",
        why="issued 20",
        hint="ask the publisher for the newest export",
    )


def test_content_accepted_metadata_not(exported):
    exported.model("three.gguf", 3)
    exported.ok("out", "pin", "other:1b", "--from", "file:three.gguf")
    exported.export("stick", "other:1b")
    exported.ok("in", "trust", "add", "usb", "--fingerprint", exported.fingerprint())
    exported.ok("in", "import", "stick")
    with read_site(Home(exported.path("in"))) as log:
        before = log.publishers()
    assert len(exported.ok("in", "import", "usb", "--json").json["sets"][0]["new"]) == 2
    with read_site(Home(exported.path("in"))) as log:
        assert log.publishers() == before
