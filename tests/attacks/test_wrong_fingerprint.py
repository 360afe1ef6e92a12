"""A publisher who is not the one that was heard on the phone."""

import hashlib

import pytest

from registry.store.home import Home
from registry.workflow.site import read_site


def trusted(world):
    with read_site(Home(world.path("in"))) as log:
        return log.publishers()


def test_refused(exported):
    right = exported.fingerprint()
    wrong = ("0" if right[0] != "0" else "1") + right[1:]
    done = exported.inside("trust", "add", "usb", "--fingerprint", wrong)
    assert done.code == 3
    assert done.lines["error"] == "the fingerprint is not that of this publisher"
    assert f"you gave {wrong}" in done.lines["why"]
    assert right in done.lines["why"]
    assert "compare the fingerprint with the publisher by phone" in done.lines["hint"]
    assert done.lines["unchanged"] == "nobody new is trusted; nothing was imported"
    assert trusted(exported) == []
    assert exported.inside("import", "usb").code == 3
    assert exported.releases() == []


def test_fingerprint_of_other_metadata(exported):
    """Only a root's bytes have a fingerprint."""
    for name in ("timestamp.json", "targets.json"):
        digest = hashlib.sha256((exported.folder() / "metadata" / name).read_bytes()).hexdigest()
        assert exported.inside("trust", "add", "usb", "--fingerprint", digest).code == 3
    assert trusted(exported) == []


@pytest.mark.parametrize(
    "spelling",
    [
        str.upper,
        lambda text: " ".join(text[at : at + 4] for at in range(0, 64, 4)),
        lambda text: ":".join(text[at : at + 2] for at in range(0, 64, 2)).upper(),
        lambda text: f"sha256:{text}",
    ],
    ids=["upper case", "groups of four", "colons", "as a digest"],
)
def test_spelling_does_not_matter(exported, spelling):
    exported.ok("in", "trust", "add", "usb", "--fingerprint", spelling(exported.fingerprint()))
    assert len(trusted(exported)) == 1
    assert exported.ok("in", "trust", "add", "usb", "--fingerprint", exported.fingerprint(), "--json").json["new"] is False
