"""Somebody wipes the site's state or puts an older copy of it back, so that it forgets what it trusted and withdrew."""

import json
import shutil

from registry.store.site import Site


def older(world):
    """Put the database back as it was before anything was approved."""
    shutil.copy(world.path("in/airlock.db"), world.path("kept.db"))
    world.ok("in", "approve", "tiny:1b")
    world.ok("in", "promote", "tiny:1b")
    shutil.copy(world.path("kept.db"), world.path("in/airlock.db"))


def view(world):
    return json.loads(world.path("in/published/view.json").read_bytes())


def refused(world, error):
    before = {name: data for name, data in world_files(world).items() if name != "lock"}
    for words in (("list",), ("import", "usb"), ("approve", "tiny:2b"), ("trust", "list"), ("people", "list")):
        done = world.inside(*words)
        assert done.code == 7, words
        assert error in done.lines["error"]
        assert done.lines["hint"]
    assert {name: data for name, data in world_files(world).items() if name != "lock"} == before


def world_files(world):
    home = world.path("in")
    return {
        str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file() and path.suffix not in (".db-wal", ".db-shm")
    }


def test_older_copy_of_the_database(imported):
    older(imported)
    served = view(imported)
    refused(imported, "older than what was published from it")
    assert view(imported) == served
    assert imported.inside("check").code == 7


def test_wiped_database(serving):
    serving.path("in/airlock.db").unlink()
    refused(serving, "the database is missing")
    assert view(serving)["releases"]


def test_database_of_another_site(serving):
    serving.ok("in", "--home", "second", "site", "init")
    shutil.copy(serving.path("second/airlock.db"), serving.path("in/airlock.db"))
    refused(serving, "the database of another site")
    restore = serving.inside("restore")
    assert restore.code == 7
    assert "the database of another site" in restore.lines["error"]


def test_view_of_another_site(serving):
    serving.ok("in", "--home", "second", "site", "init")
    shutil.copy(serving.path("second/published/view.json"), serving.path("in/published/view.json"))
    refused(serving, "the published view of another site")


def test_lost_view_is_written_again(serving):
    before = view(serving)
    serving.path("in/published/view.json").unlink()
    serving.ok("in", "import", "usb")
    assert view(serving)["releases"] == before["releases"]


def test_restore_takes_two_and_serving_waits_for_the_newest_set(imported):
    imported.two_people()
    older(imported)
    before = view(imported)
    assert before["releases"]
    proposed = imported.acting("anna", "restore", "--json")
    assert proposed.code == 0, proposed.err
    number = proposed.json["proposal"]
    # From here on nothing is served, and nothing but the restore goes on.
    assert view(imported)["releases"] == []
    assert view(imported)["sequence"] > before["sequence"]
    assert imported.inside("import", "usb").code == 7
    assert imported.acting("anna", "confirm", str(number)).code == 3
    assert imported.ok("in", "confirm", str(number))
    assert view(imported)["releases"] == []
    assert imported.inside("restore").code == 3
    imported.ok("in", "approve", "tiny:1b")
    assert view(imported)["releases"] == []
    assert [each["why"] for each in view(imported)["withdrawn"]] == [
        "this site is being restored; it serves again once the newest set has been imported"
    ]
    imported.ok("in", "import", "usb")
    assert [each["tag"] for each in view(imported)["releases"]] == ["1b"]
    assert view(imported)["withdrawn"] == []
    imported.ok("in", "check")


def test_an_older_set_does_not_end_the_wait(offered):
    """The set on ``usb`` is older than what the restored database trusts."""
    offered.two_people()
    offered.ok("in", "import", "stick")
    shutil.copy(offered.path("in/airlock.db"), offered.path("kept.db"))
    offered.ok("in", "promote", "tiny:2b")
    shutil.copy(offered.path("kept.db"), offered.path("in/airlock.db"))
    offered.ok("in", "confirm", str(offered.acting("anna", "restore", "--json").json["proposal"]))
    assert offered.inside("import", "usb").code == 4
    assert view(offered)["releases"] == []
    offered.ok("in", "import", "stick")
    assert view(offered)["releases"]
    offered.ok("in", "check")


def test_restore_without_any_database(serving):
    """Nobody is known any more but the site itself: a second person is enrolled first, then everything is imported again."""
    sequence = view(serving)["sequence"]
    serving.path("in/airlock.db").unlink()
    assert serving.ok("in", "restore", "--json").json == {"epoch": 2, "witnessed": sequence, "proposal": None}
    assert view(serving)["releases"] == []
    assert serving.inside("trust", "add", "usb", "--fingerprint", serving.fingerprint()).code == 7
    serving.two_people()
    serving.ok("in", "confirm", str(serving.acting("anna", "restore", "--json").json["proposal"]))
    serving.ok("in", "trust", "add", "usb", "--fingerprint", serving.fingerprint())
    serving.ok("in", "import", "usb")
    serving.ok("in", "approve", "tiny:1b")
    serving.ok("in", "promote", "tiny:1b")
    assert [each["state"] for each in view(serving)["releases"]] == ["promoted"]
    assert view(serving)["sequence"] > sequence
    assert serving.events()[0]["seq"] == sequence + 1
    serving.ok("in", "check")


def test_restore_that_was_cut_short(serving):
    """The database was made, and then the lights went out: the same command begins again."""
    serving.path("in/airlock.db").unlink()
    Site(serving.path("in/airlock.db"), create=True).close()
    refused(serving, "the database is missing")
    assert serving.ok("in", "restore", "--json").json["epoch"] == 2


def test_restore_cut_short_before_the_proposal(imported, monkeypatch):
    imported.two_people()
    older(imported)
    with monkeypatch.context() as patch:
        patch.setattr("registry.workflow.restore.propose", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        assert imported.acting("anna", "restore").code == 130
    assert view(imported)["releases"] == []
    assert imported.inside("import", "usb").code == 7
    number = imported.acting("anna", "restore", "--json").json["proposal"]
    imported.ok("in", "reject", str(number))
    assert imported.inside("import", "usb").code == 7
    imported.ok("in", "confirm", str(imported.acting("anna", "restore", "--json").json["proposal"]))
    imported.ok("in", "import", "usb")
    assert [each["state"] for each in view(imported)["releases"]] == []
    imported.ok("in", "check")


def test_restore_where_nothing_seems_lost(serving):
    """The whole home may have been put back: only its people know.  One of them alone stops nothing."""
    serving.two_people()
    before = view(serving)["releases"]
    number = serving.acting("anna", "restore", "--json").json["proposal"]
    assert view(serving)["releases"] == before
    serving.ok("in", "confirm", str(number))
    assert view(serving)["releases"] == []
    serving.ok("in", "import", "usb")
    assert view(serving)["releases"] == before


def test_a_stranger_can_not_restore(imported):
    imported.person("eve")
    older(imported)
    before = view(imported)
    assert imported.acting("eve", "restore").code == 3
    assert view(imported) == before
