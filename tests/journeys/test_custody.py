"""Commands about media: what they print, what they refuse, what the log and the notes hold afterwards."""

import json
import os
import re
import signal
import stat
from datetime import UTC, datetime

import pytest

from registry.content.digest import digest_of
from registry.store.home import Home
from registry.workflow.actor import Credentials
from registry.workflow.sheet import Sheet
from registry.workflow.sheets import sheets_of, write_sheets
from registry.workflow.site import open_site
from registry.workflow.station import open_station, read_station


def append(world, home, verb, **subject):
    """Append an event as export, import or receipt would."""
    root, now = Home(world.path(home)), datetime.now(UTC)
    if home == "out":
        with open_station(root, lambda: world.passphrase, "test") as station, station.log.transaction():
            station.log.append(verb, subject, signer=station.keys["actor"], now=now)
    else:
        with open_site(root, Credentials(lambda: world.passphrase), "test") as site, site.log.transaction():
            site.log.append(verb, subject, signer=site.actor, now=now)


def write(world, number=1, label="", set_id="", **changes):
    """Say that a medium of the world's set was written; return its label."""
    set_id = set_id or world.folder().name
    label = label or f"{set_id[-6:]}-{number}"
    known = {"media": 2, "first": number, "last": number, "size": 1_500_000 * number, "read_back": True}
    append(world, "out", "medium.write", **{"set": set_id, "medium": number, "label": label, **known, **changes})
    return label


def arrive(world, *, site=None, sets=None, sequence=9):
    """Accept a receipt of the site."""
    made = {"checkpoint": digest_of(b"head"), "made": "2026-11-20T19:25:40Z", "receipt": digest_of(b"receipt")}
    sets = [world.folder().name] if sets is None else sets
    append(world, "out", "receipt.accept", site=site or site_of(world), sequence=sequence, sets=sets, **made)


def site_of(world):
    return world.events("in")[0]["subject"]["site"]


def listed(world, place="out", *arguments):
    return {row["label"]: row for row in world.ok(place, "medium", "list", *arguments, "--json").json}


def refused(world, tree, place, *arguments):
    """Run a command that must be refused and must change nothing; return what it said."""
    before = tree(world.path(place))
    done = world.outside(*arguments) if place == "out" else world.inside(*arguments)
    after = tree(world.path(place))
    before.pop("lock", None), after.pop("lock", None)
    assert before == after
    return done


def checked(world, *places):
    for place in places:
        assert world.airlock("--home", place, "check").code == 0


@pytest.fixture
def written(exported):
    """A station that wrote two media."""
    write(exported, 1)
    write(exported, 2, read_back=False)
    return exported


def test_nothing_yet(make_world):
    exported = make_world("empty")
    exported.ok("in", "site", "init")
    exported.ok("out", "init")
    done = exported.ok("out", "medium", "list")
    assert done.out.startswith("no medium is known yet\nnext: airlock export")
    assert exported.ok("in", "medium", "list", "--json").json == []
    assert "next: airlock medium receive LABEL" in exported.ok("in", "medium", "list").out


def test_the_life_of_a_medium(written):
    set_id = written.folder().name
    first, second = (f"{set_id[-6:]}-{number}" for number in (1, 2))
    row = listed(written)[first]
    assert (row["set"], row["medium"], row["media"], row["size"], row["state"], row["read_back"]) == (set_id, 1, 2, 1_500_000, "written", True)
    assert (row["sites"], row["arrived"], row["hand_overs"], row["serial"]) == ([site_of(written)], [], [], "")
    done = written.ok("out", "medium", "receive", first.lower(), "--serial", "AA0489", "--from", "pharmacy-ai", "--to", "Kurier Blitz")
    assert done.out.startswith(f"received  {first}, medium 1 of 2 of set {set_id}, from pharmacy-ai, to Kurier Blitz\nnext: airlock medium list")
    written.ok("out", "medium", "receive", first, "--from", "Kurier Blitz")
    row = listed(written)[first]
    assert (row["state"], row["serial"], listed(written)[second]["state"]) == ("handed over", "AA0489", "written")
    assert [(each["from"], each["to"], each["note"]) for each in row["hand_overs"]] == [
        ("pharmacy-ai", "Kurier Blitz", "kept"),
        ("Kurier Blitz", "", "kept"),
    ]
    arrive(written)
    assert listed(written)[first]["arrived"] == [site_of(written)]
    text = written.ok("out", "medium", "list").out
    assert re.search(
        rf"^{first}\s+…{set_id[-6:]}\s+1 of 2\s+1.5 MB\s+yes\s+AA0489\s+handed over\s+1 of 1\s+20\S+Z, from Kurier Blitz$", text, re.MULTILINE
    )
    assert re.search(rf"^{second}\s+…{set_id[-6:]}\s+2 of 2\s+3.0 MB\s+NO\s+-\s+written\s+1 of 1\s+-$", text, re.MULTILINE)
    done = written.ok("out", "medium", "retire", first, "--method", "erase")
    assert done.out.startswith(f"retired  {first} (medium 1 of 2 of set {set_id}): overwritten or securely erased\nnext: airlock medium list")
    assert done.err == ""
    assert listed(written)[first]["state"] == "retired"
    assert f"{first}" in written.ok("out", "log").out
    assert "retired (erase)" in written.ok("out", "medium", "list").out
    checked(written, "out")


def test_the_log_names_nobody(written):
    label = f"{written.folder().name[-6:]}-1"
    written.ok("out", "medium", "receive", label, "--from", "Anna Beispiel", "--to", "Kurier Blitz")
    event = written.events("out")[-1]
    assert event["verb"] == "medium.receive"
    assert set(event["subject"]) == {"set", "label", "serial", "note"}
    assert "Anna" not in json.dumps(event)
    notes = written.path("out/custody.json")
    assert stat.S_IMODE(notes.stat().st_mode) == 0o600
    note = json.loads(notes.read_bytes())["notes"][str(event["seq"])]
    assert note["from"] == "Anna Beispiel"
    # The same two names give another digest each time: nobody finds them by trying once the note and its salt are deleted.
    written.ok("out", "medium", "receive", label, "--from", "Anna Beispiel", "--to", "Kurier Blitz")
    assert written.events("out")[-1]["subject"]["note"] != event["subject"]["note"]


def test_a_changed_note_is_noticed(written):
    label = f"{written.folder().name[-6:]}-1"
    written.ok("out", "medium", "receive", label, "--from", "courier")
    notes = written.path("out/custody.json")
    notes.write_bytes(notes.read_bytes().replace(b"courier", b"nobody!"))
    done = written.ok("out", "medium", "list")
    assert "(note changed)" in done.out
    seq = written.events("out")[-1]["seq"]
    assert f"airlock: warning: hand-over {seq} of {label}: its note was changed after it was made; the log knows it otherwise" in done.err
    assert listed(written)[label]["hand_overs"][0]["note"] == "changed"


def test_notes_can_be_deleted(written):
    first, second = (f"{written.folder().name[-6:]}-{number}" for number in (1, 2))
    written.ok("out", "medium", "receive", first, "--from", "Anna Beispiel")
    written.ok("out", "medium", "receive", second, "--from", "courier")
    before = written.events("out")
    assert written.ok("out", "medium", "forget", first).out == "deleted 1 note(s)\n"
    assert b"Anna" not in written.path("out/custody.json").read_bytes()
    assert "(note deleted)" in written.ok("out", "medium", "list").out
    assert listed(written)[second]["hand_overs"][0]["from"] == "courier"
    assert written.events("out") == before
    done = written.ok("out", "medium", "forget", first, "--json")
    assert done.json["deleted"] == 0
    checked(written, "out")


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"notes":{"x":{}},"v":1}', b'{"notes":{"1":{"from":1,"salt":"","to":""}},"v":1}', b"x" * 9])
def test_damaged_notes(written, tree, content):
    label = f"{written.folder().name[-6:]}-1"
    written.path("out/custody.json").write_bytes(content)
    for arguments in (["list"], ["receive", label, "--from", "courier"]):
        done = refused(written, tree, "out", "medium", *arguments)
        assert done.code == 7
        assert done.lines["error"] == "out/custody.json: can't be read"
        assert "move it away: the log keeps every hand-over" in done.lines["hint"]
    assert written.events("out")[-1]["verb"] == "medium.write"


def test_retiring_before_the_receipt(written, tree):
    set_id, label = written.folder().name, f"{written.folder().name[-6:]}-1"
    done = refused(written, tree, "out", "medium", "retire", label, "--method", "destroy")
    assert done.code == 3
    site = site_of(written)[:8]
    assert done.lines["error"] == f"medium {label}: no receipt says that set {set_id} has arrived"
    assert done.lines["why"] == f"sealed to site {site}; no receipt that names it yet from {site}"
    assert f"airlock medium retire {label} --method destroy --without-receipt" in done.lines["hint"]
    assert done.lines["unchanged"] == "no medium was retired"
    arrive(written, sets=["01KBCDEFGH0123456789XTY0EW"])
    assert refused(written, tree, "out", "medium", "retire", label, "--method", "destroy").code == 3
    done = written.ok("out", *done.lines["hint"].rpartition("airlock ")[2].split())
    assert f"warning: {label} may still be needed" in done.err
    assert listed(written)[label]["method"] == "destroy"


def test_retiring_twice(written, tree):
    arrive(written)
    label = f"{written.folder().name[-6:]}-1"
    written.ok("out", "medium", "retire", label, "--method", "archive")
    count = len(written.events("out"))
    done = refused(written, tree, "out", "medium", "retire", label, "--method", "archive")
    assert done.code == 0
    assert done.out.startswith(f"nothing to do: {label} is retired already, as archive")
    assert len(written.events("out")) == count
    written.ok("out", "medium", "retire", label, "--method", "destroy")  # what was kept for a year is shredded then
    assert listed(written)[label]["method"] == "destroy"
    write(written, 1)  # the export that says so writes it anew
    assert listed(written)[label]["state"] == "written"


def test_one_site_of_two(written, tree):
    """Every site that a set was sealed to must have it."""
    other = written.airlock("--home", "in2", "--passphrase-file", "passphrase", "site", "init", "--json").json["site"]
    folder = written.export("both", recipients=("in/site.pub", "in2/site.pub"))
    label = write(written, 1, set_id=folder.name)
    arrive(written, sets=[folder.name])
    done = refused(written, tree, "out", "medium", "retire", label, "--method", "reuse")
    assert done.lines["why"].endswith(f"no receipt that names it yet from {other[:8]}")
    assert listed(written)[label]["arrived"] == [site_of(written)]
    arrive(written, site=other, sets=[folder.name])
    written.ok("out", "medium", "retire", label, "--method", "reuse")


def test_an_older_receipt_changes_nothing(written):
    arrive(written, sequence=9)
    arrive(written, sequence=8, sets=[])
    with read_station(Home(written.path("out"))) as log:
        [receipt] = log.receipts()
        assert (receipt.sequence, receipt.sets) == (9, (written.folder().name,))
        assert log.sets_arrived(written.folder().name) == (site_of(written),)
    arrive(written, sequence=10, sets=[])
    with read_station(Home(written.path("out"))) as log:
        assert log.sets_arrived(written.folder().name) == ()
    checked(written, "out")


def test_a_label_on_media_of_two_sets(written, tree):
    set_id, other = written.folder().name, written.export("again", "tiny:1b").name
    write(written, 1, label="STICK-17")
    write(written, 1, label="STICK-17", set_id=other)
    for arguments in (["receive", "STICK-17"], ["retire", "STICK-17", "--method", "reuse"], ["sheet", "STICK-17"], ["forget", "STICK-17"]):
        done = refused(written, tree, "out", "medium", *arguments)
        assert done.code == 2
        assert done.lines["error"] == "STICK-17: media of several sets carry this label"
        assert done.lines["why"] == f"set {other}, written\nset {set_id}, written"
        assert done.lines["hint"] == f"name the set: --set {other}"
    done = refused(written, tree, "out", "medium", "retire", "STICK-17", "--method", "reuse", "--set", set_id[-6:])
    assert f"--method reuse --set {set_id[-6:]} --without-receipt" in done.lines["hint"]
    arrive(written)
    written.ok("out", "medium", "retire", "STICK-17", "--method", "reuse", "--set", set_id[-6:].lower())
    written.ok("out", "medium", "receive", "STICK-17")  # the one that is in use
    assert written.events("out")[-1]["subject"]["set"] == other
    assert set(listed(written, "out", "--set", other)) == {"STICK-17", f"{other[-6:]}-1"}


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (["receive", "NONE-1"], 6, "no medium NONE-1 is known here"),
        (["receive", "NONE-1", "--set", "ABCDEF"], 6, "no medium NONE-1 is known here"),
        (["retire", "NONE-1", "--method", "erase"], 6, "no medium NONE-1 is known here"),
        (["retire", "NONE-1", "--method", "burn"], 2, "Invalid value for '--method'"),
        (["retire", "NONE-1"], 2, "Missing option '--method'"),
        (["sheet", "NONE-1"], 6, "no medium NONE-1 is known here"),
        (["forget", "NONE-1"], 6, "no medium NONE-1 is known here"),
        (["list", "--set", "ABCDEF"], 6, "no medium of set ABCDEF is known here"),
        (["list", "--set", "A"], 2, "'A': not the end of a set id"),
        (["receive", "../x"], 3, "medium: '../x' can't be the label of a medium"),
        (["receive", "A", "--serial", "a b"], 3, "medium A: 'a b' can't be a serial number"),
        (["receive", "A", "--from", "x" * 81], 2, f"'{'x' * 80}': can't be noted"),
        (["receive", "A", "--to", "a\nb"], 2, "'a\\nb': can't be noted"),
        (["receive", "A", "--actor", "me"], 2, "--actor is for a site registry"),
    ],
)
def test_refusals(written, tree, arguments, code, error):
    done = refused(written, tree, "out", "medium", *arguments)
    assert done.code == code, done.err
    assert done.lines["error"].startswith(error)


def test_at_a_site(exported, tree):
    """A stick comes in before anybody knows what is on it; import says it later."""
    imported = exported
    imported.ok("in", "trust", "add", "usb", "--fingerprint", imported.fingerprint())
    set_id = imported.folder().name
    label = f"{set_id[-6:]}-1"
    done = imported.ok("in", "medium", "receive", label.lower(), "--serial", "AA0489", "--from", "courier", "--to", "gate 2")
    assert done.out.startswith(f"received  {label.lower()}, not read here yet, from courier, to gate 2\nnext: airlock import MEDIUM")
    row = listed(imported, "in")[label.lower()]
    assert (row["state"], row["set"], row["medium"], row["serial"]) == ("handed over", "", 0, "AA0489")
    done = refused(imported, tree, "in", "medium", "retire", label, "--method", "erase")
    assert (done.code, done.lines["error"], done.lines["why"]) == (3, f"medium {label.lower()}: may still be needed", "it was never read here")
    assert done.lines["hint"].startswith("airlock import MEDIUM\n")
    imported.ok("in", "import", "usb")
    imported.ok("in", "import", "usb")
    assert [each["verb"] for each in imported.events()].count("medium.read") == 1
    append(imported, "in", "medium.read", set=set_id, medium=1, media=1, label=label)
    [(found, row)] = listed(imported, "in").items()
    assert (found, row["state"], row["set"], row["medium"], row["serial"]) == (label, "read", set_id, 1, "AA0489")
    assert [each["from"] for each in row["hand_overs"]] == ["courier"]
    assert row["arrived"] == row["sites"] == [site_of(imported)]
    assert re.search(rf"^{label}\s+…{set_id[-6:]}\s+1 of 1\s+-\s+-\s+AA0489\s+read\s+1 of 1", imported.ok("in", "medium", "list").out, re.MULTILINE)
    before = imported.holdings()
    imported.ok("in", "medium", "retire", label, "--method", "reuse")
    assert imported.holdings() == before
    imported.ok("in", "medium", "receive", label)  # its label came round again: another medium, as far as anybody knows
    assert [row["state"] for row in imported.ok("in", "medium", "list", "--json").json] == ["retired", "handed over"]
    checked(imported, "in")


def test_at_a_site_before_the_set_is_complete(exported, tree):
    label = f"{exported.folder().name[-6:]}-1"
    append(exported, "in", "medium.read", set=exported.folder().name, medium=1, media=1, label=label)
    done = refused(exported, tree, "in", "medium", "retire", label, "--method", "erase")
    assert (done.code, done.lines["why"]) == (3, f"set {exported.folder().name} is not complete here")
    exported.ok("in", "medium", "retire", label, "--method", "erase", "--without-receipt")
    assert listed(exported, "in")[label]["state"] == "retired"
    exported.ok("in", "medium", "receive", label, "--from", "shredder")
    checked(exported, "in")


def test_somebodys_own_key_at_a_site(imported):
    imported.two_people()
    done = imported.acting("anna", "medium", "receive", "STICK-17", "--from", "courier")
    assert done.code == 0, done.err
    me = imported.events("in")[-1]["actor"]
    assert me != imported.events("in")[0]["actor"]


def test_a_hand_over_without_words(written):
    label = f"{written.folder().name[-6:]}-1"
    written.ok("out", "medium", "receive", label)
    assert written.events("out")[-1]["subject"]["note"] == ""
    assert not written.path("out/custody.json").exists()
    assert listed(written)[label]["hand_overs"][0]["note"] == "none"


def test_the_sheet_again(written):
    set_id, label = written.folder().name, f"{written.folder().name[-6:]}-2"
    sums = digest_of(b"sums")
    write(written, 2, read_back=False, sums=sums)
    written.ok("out", "medium", "receive", label, "--serial", "AA0489", "--to", "Kurier Blitz")
    text = written.ok("out", "medium", "sheet", label).out
    for word in (
        set_id,
        label,
        "MEDIUM 2 OF 2",
        "AA0489",
        "NOT READ BACK",
        sums.removeprefix("sha256:"),
        site_of(written)[:8],
        "2 to 2, 3,000,000 b",
    ):
        assert word in text
    assert written.fingerprint()[:4] in text
    assert "tiny" not in text
    assert "Blitz" not in text
    done = written.ok("out", "medium", "sheet", label, "--html", "sheet.html", "--text", "sheet.txt")
    assert done.out == "written    sheet.html\nwritten    sheet.txt\n"
    assert written.path("sheet.txt").read_text() == text
    assert label in written.path("sheet.html").read_text()
    document = written.ok("out", "medium", "sheet", label, "--json").json
    assert (document["label"], document["set"], document["files"], document["text"]) == (label, set_id, [], text)


def test_the_sheet_is_the_stations(imported, tree):
    done = refused(imported, tree, "in", "medium", "sheet", "STICK-17")
    assert done.code == 2
    assert done.lines["error"] == "in: is the home of a site registry (inside)"


def test_a_sheet_that_can_t_be_written(written, tree):
    done = refused(written, tree, "out", "medium", "sheet", f"{written.folder().name[-6:]}-1", "--html", "no/such/sheet.html")
    assert done.code == 7
    assert done.lines["unchanged"] == "no sheet was written"


def sheets(world):
    home = Home(world.path("out"))
    return [sheet for number in (1, 2) for sheet in sheets_of(home, f"{world.folder().name[-6:]}-{number}")]


def test_sheets_in_the_home(written):
    home, label = Home(written.path("out")), f"{written.folder().name[-6:]}-1"
    paths = write_sheets(home, sheets(written))
    assert [path.name for path in paths] == [f"{label[:-1]}{end}" for end in ("1.txt", "1.html", "2.txt", "2.html")]
    assert all(path.parent == home.sheets for path in paths)
    assert (home.sheets / f"{label}.txt").read_text() == written.ok("out", "medium", "sheet", label).out
    again = [Sheet(**{name: getattr(each, name) for name in Sheet.__slots__}) for each in sheets(written)]
    assert write_sheets(home, again) == paths
    assert len(list(home.sheets.iterdir())) == 4


@pytest.mark.parametrize("call", range(1, 5))
def test_sheets_killed_between_temporary_name_and_final_one(written, call):
    """kill -9 before the rename: the next command sweeps what was left."""
    home = Home(written.path("out"))
    for sheet in home.sheets.iterdir():
        sheet.unlink()
    pid = os.fork()
    if pid == 0:
        renames = iter(range(1, 100))
        replace = os.replace
        os.replace = lambda *names: os.kill(os.getpid(), signal.SIGKILL) if next(renames) == call else replace(*names)
        with home.locked("export"):
            write_sheets(home, sheets(written))
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    assert [path.name for path in home.sheets.iterdir() if path.name.startswith(".airlock-")]
    written.ok("out", "medium", "receive", f"{written.folder().name[-6:]}-1")
    assert list(written.path("out").rglob(".airlock-*")) == []
    assert len(list(home.sheets.iterdir())) == call - 1
    write_sheets(home, sheets(written))
    assert len(list(home.sheets.iterdir())) == 4
