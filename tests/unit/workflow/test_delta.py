"""Exports that leave out what sites hold, and what an import makes of them."""

import pytest

from registry.errors import Usage
from registry.media.index import Held
from registry.store.home import Home
from registry.workflow.delta import Known, _shared, left_out
from registry.workflow.station import open_station

ONE, TWO = ("sha256:" + digit * 64 for digit in "12")
SET = "01M7ZQEJKVBHWZASY02FSYWH07"


def held(digest, size=5, set_id=SET):
    return Held(digest, size, set_id)


def test_only_what_all_sites_hold():
    assert _shared([{ONE: held(ONE), TWO: held(TWO)}, {TWO: held(TWO)}]) == {TWO: held(TWO)}
    assert _shared([{ONE: held(ONE)}, {}]) == {}
    assert _shared([{ONE: held(ONE)}]) == {ONE: held(ONE)}


def test_one_digest_with_two_sizes_is_held_by_nobody():
    assert _shared([{ONE: held(ONE)}, {ONE: held(ONE, 6)}]) == {}


def test_a_set_is_named_where_it_brought_it_to_all():
    assert _shared([{ONE: held(ONE)}, {ONE: held(ONE, set_id=SET[:-1] + "8")}]) == {ONE: held(ONE, set_id=None)}


def set_of(world, *words):
    done = world.ok("out", "export", *words, "--recipient", "in/site.pub", "--json")
    return done.json


@pytest.fixture
def delta(serving):
    """A new release of ``tiny:1b`` on ``stick``, without its weights; the site's own set lies on ``usb``."""
    serving.path("stick").mkdir()
    serving.path("system.txt").write_text("Answer in two sentences.\n")
    serving.ok("out", "pin", "tiny:1b", "--from", "file:one.gguf", "--system", "system.txt")
    serving.ok("in", "receipt", "--to", "in.receipt")
    assert set_of(serving, "tiny:1b", "--to", "stick", "--since", "in.receipt")["left_out"]["objects"] == 1
    return serving


def weights(world):
    """The blob that the set on ``stick`` leaves out."""
    data = world.path("one.gguf").read_bytes()
    [path] = [path for path in world.path("in/blobs/sha256").rglob("*") if path.is_file() and path.read_bytes() == data]
    return path


def test_nothing_known_leaves_nothing_out(serving):
    with open_station(Home(serving.path("out")), lambda: serving.passphrase, "test") as station:
        assert left_out(station, ["x"], Known(), None) == {}


def test_the_header_says_what_a_reader_must_understand(delta):
    assert '"requires":["have"]' in (delta.folder("stick") / "set.json").read_text()
    assert '"requires":[]' in (delta.folder("usb") / "set.json").read_text()


def test_a_blob_that_was_lost_comes_back_with_its_set(delta):
    """The catalog has the release, and the store no longer has its weights: importing the set that brought it heals it, as the refusal says."""
    path = weights(delta)
    data = path.read_bytes()
    path.unlink()
    done = delta.inside("import", "stick")
    assert done.code == 5
    assert f"import set {delta.folder('usb').name} first" in done.lines["hint"]
    before = delta.holdings()["catalog"][0]
    delta.ok("in", "import", "usb")
    assert path.read_bytes() == data
    assert delta.holdings()["catalog"][0] == before
    delta.ok("in", "import", "stick")
    delta.ok("in", "check")


def test_the_base_lies_on_another_medium_of_the_same_import(delta):
    """The newest metadata are taken first, and what their set left out comes after."""
    weights(delta).unlink()
    done = delta.ok("in", "import", "stick", "usb", "--json")
    assert {each["set"]: each["new"] for each in done.json["sets"]} == {
        delta.folder("stick").name: ["library/tiny:1b-r3"],
        delta.folder("usb").name: [],
    }
    assert not any(event["verb"] == "set.refuse" for event in delta.events())


def test_the_same_again_is_nothing_to_do(delta):
    delta.ok("in", "import", "stick")
    before = delta.holdings()
    delta.ok("in", "import", "stick")
    assert delta.holdings() == before


def test_an_export_that_was_interrupted_continues_only_if_it_leaves_out_the_same(delta, monkeypatch):
    import registry.workflow.export as export_module

    delta.path("other").mkdir()
    words = ("export", "tiny:1b", "--to", "other", "--recipient", "in/site.pub")

    def stopped(*_, **__):
        raise Usage("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(export_module, "write_media", stopped)
        assert delta.outside(*words, "--since", "in.receipt").code == 2
    # On the medium is nothing yet, and nothing was finished: a fresh set, of the same content.
    whole = delta.ok("out", *words, "--json").json
    assert (whole["continued"], whole["left_out"]["objects"]) == (False, 0)


def test_a_set_that_was_never_finished_did_not_arrive(delta, monkeypatch):
    import registry.workflow.export as export_module

    def stopped(*_, **__):
        raise Usage("stopped")

    delta.path("other").mkdir()
    words = ("export", "tiny:2b", "--to", "other", "--recipient", "in/site.pub")
    with monkeypatch.context() as patch:
        patch.setattr(export_module, "write_media", stopped)
        assert delta.outside(*words).code == 2
    [begun] = [event["subject"]["set"] for event in delta.events("out") if event["verb"] == "set.start"][-1:]
    done = delta.outside(*words, "--assume-held", begun)
    assert (done.code, done.lines["error"]) == (2, f"set {begun}: was never finished")


def test_what_an_assumed_set_left_out_itself_is_left_out_too(delta):
    second = delta.folder("stick").name
    delta.path("third").mkdir()
    done = set_of(delta, "tiny:1b", "--to", "third", "--assume-held", second)
    assert done["left_out"]["objects"] == 5
    assert done["size"] == 0


def test_receipt_and_assumed_set_together(delta):
    """The receipt is older than the set on ``stick``, of which the site said by phone that it arrived."""
    delta.path("third").mkdir()
    done = set_of(delta, "--to", "third", "--since", "in.receipt", "--assume-held", delta.folder("stick").name)
    assert done["left_out"]["objects"] == 9
    delta.ok("in", "import", "stick")
    delta.ok("in", "import", "third")


def test_a_plan_says_what_is_missing(delta):
    """Without hashing anything."""
    [planned] = delta.ok("in", "import", "--plan", "stick", "--json").json["sets"]
    assert planned["problem"] is None
    weights(delta).unlink()
    done = delta.inside("import", "--plan", "stick", "--json")
    assert "what it is based on is missing here" in done.out
