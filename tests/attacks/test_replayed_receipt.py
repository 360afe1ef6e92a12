"""An old receipt put back on the stick, or a receipt of a site whose home was put back from an older copy.

The station would leave out what the site no longer holds: a set that nobody can import.
"""

import shutil

BEHIND = "the site's log is behind what it said before"


def test_an_older_receipt_is_refused(serving, receipt_refused):
    serving.ok("in", "receipt", "--to", "old.receipt")
    serving.ok("in", "receipt", "--to", "new.receipt")
    serving.ok("out", "receipt", "new.receipt")
    receipt_refused(
        serving, "old.receipt", code=3, error=rf"^old.receipt: {BEHIND}$", why=r"said 1\d events, this one says", hint="airlock receipt --to MEDIUM"
    )


def test_export_refuses_it_too(serving, receipt_refused):
    serving.ok("in", "receipt", "--to", "old.receipt")
    serving.ok("in", "receipt", "--to", "new.receipt")
    serving.ok("out", "receipt", "new.receipt")
    serving.path("stick").mkdir()
    words = ("export", "--to", "stick", "--recipient", "in/site.pub", "--since")
    receipt_refused(serving, "old.receipt", code=3, error=BEHIND, command=words)
    assert list(serving.path("stick").iterdir()) == []


def test_beside_a_newer_one_on_the_medium_it_is_passed_over(serving, receipt_forge):
    folder = serving.path("stick/airlock/receipts")
    folder.mkdir(parents=True)
    receipt_forge(serving).write("stick/airlock/receipts/00000000-20991231T000000Z.receipt")
    serving.ok("in", "promote", "tiny:2b")
    serving.ok("in", "receipt", "--to", "stick")
    [found] = serving.ok("out", "receipt", "stick", "--json").json["receipts"]
    assert found["path"].endswith(".receipt")
    assert "20991231" not in found["path"]


def test_the_same_receipt_again_is_nothing_to_do(serving):
    serving.ok("in", "receipt", "--to", "one.receipt")
    serving.ok("out", "receipt", "one.receipt")
    before = serving.events("out")
    again = serving.ok("out", "receipt", "one.receipt")
    assert "nothing to do: on record already" in again.out
    assert serving.events("out") == before


def test_a_site_whose_home_was_put_back(serving, receipt_refused):
    """Everything in the home is older, so that nothing there can notice; the station does."""
    shutil.copytree(serving.path("in"), serving.path("backup"))
    serving.ok("in", "promote", "tiny:2b")
    serving.ok("in", "receipt", "--to", "two.receipt")
    serving.ok("out", "receipt", "two.receipt")
    shutil.rmtree(serving.path("in"))
    serving.path("backup").rename(serving.path("in"))
    serving.ok("in", "receipt", "--to", "three.receipt")
    receipt_refused(serving, "three.receipt", code=3, error=BEHIND, why="an older copy of its home was put back", hint="airlock restore")


def test_another_history_of_the_same_length(serving, receipt_refused):
    """Two copies of one home at work: the same number of events, and not the same ones."""
    shutil.copytree(serving.path("in"), serving.path("copy"))
    serving.ok("in", "promote", "tiny:2b")
    serving.ok("in", "receipt", "--to", "one.receipt")
    serving.ok("out", "receipt", "one.receipt")
    serving.homes["in"] = "copy"
    serving.ok("in", "receipt", "--to", "ignored.receipt")
    serving.ok("in", "receipt", "--to", "two.receipt")
    receipt_refused(serving, "two.receipt", code=3, error=BEHIND, why=r"said (\d+) events, this one says another event \1$")
