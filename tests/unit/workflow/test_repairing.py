"""Repairs through the commands: what is asked for, where it goes, what stands in the way."""

import hashlib
import json
import subprocess
from datetime import UTC, datetime, timedelta

import pytest

from registry.store.home import Home
from registry.trust.repair import RepairRequest, sign_repair
from registry.workflow import repairing, slots
from registry.workflow.actor import Credentials
from registry.workflow.arrivals import arriving_sets
from registry.workflow.progress import Silent
from registry.workflow.repairing import Target, repair
from registry.workflow.site import open_site


def rot(path, place=1000):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def unfinished(world, *media, part=1):
    """Import a set whose part is rotten; return the file of that part."""
    path = next(world.folder(media[0]).glob(f"parts/{part:08d}.*"))
    rot(path)
    assert world.inside("import", *media).code == 5
    return path


def asked(world, *arguments):
    return world.ok("in", "repair-request", *arguments, "--to", "it.request", "--json").json


def answered(world, medium, *options):
    world.path(medium).mkdir(exist_ok=True)
    return world.ok("out", "export", "--repair", "it.request", "--to", medium, *options, "--json").json


def ask_for(world, set_id, *parts):
    """Sign a request for these parts with the site's key."""
    with open_site(Home(world.path("in")), Credentials(lambda: world.passphrase), "test", unlock=True) as site:
        key = site.keys["receipt"]
        world.path("it.request").write_bytes(sign_repair(RepairRequest(key.public_key, set_id, "2026-11-21T18:09:00Z", parts), key))


def pinned_here(world):
    """Pin ``big`` from this world's own file, not from that of the stage it was copied from."""
    world.ok("out", "pin", "big:1b", "--from", "file:big.gguf")


def sums_hold(folder):
    done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout.splitlines()


@pytest.fixture
def spread(offered):
    """A set with parity on two media, ``a`` and ``b``; part 2, with parity part 3, is on the second."""
    for medium in ("a", "b"):
        offered.path(medium).mkdir()
    big = offered.ok("out", "export", "tiny:1b", "big:1b", "--to", "a", "--to", "b", "--recipient", "in/site.pub",
                     "--part-size", "1MiB", "--media", "2200k,3M", "--parity", "10%", "--json").json  # fmt: skip
    assert [(each["first"], each["last"]) for each in big["media"]] == [(1, 1), (2, 3)]
    return offered


def test_only_what_was_damaged(offered):
    unfinished(offered, "stick", part=2)
    document = asked(offered)
    assert (document["parts"], document["damaged"], document["later"]) == ([2], [2], [])
    event = offered.events("in")[-1]
    assert (event["verb"], event["subject"]["parts"]) == ("repair.request", 1)
    assert event["subject"]["request"][7:] == hashlib.sha256(offered.path("it.request").read_bytes()).hexdigest()
    done = answered(offered, "fresh")
    assert (done["parts"], done["medium"], done["sealed"], done["withdrawn"]) == ([2], 0, True, [])
    folder = offered.folder("fresh")
    assert [path.name for path in (folder / "parts").iterdir()] == ["00000002.sealed"]
    assert len(sums_hold(folder)) == 3
    note = json.loads((folder / "medium.json").read_bytes())
    assert (note["medium"], note["media"], note["spans"], note["parts"]) == (0, 0, [], ["parts/00000002.sealed"])
    assert b"medium     repair" in (folder / "README.txt").read_bytes()
    event = offered.events("out")[-1]
    assert event["verb"] == "set.repair"
    assert event["subject"]["site"] == offered.events("in")[0]["subject"]["site"]
    sheet = offered.path("out/sheets", f"{done['label']}.txt").read_text()
    assert "REPAIR" in sheet.splitlines()[0]
    assert "some from 2 to 2" in sheet
    offered.ok("in", "import", "fresh")
    assert ("library/big:1b", 1, "quarantine") in offered.releases()


def test_the_label(offered):
    unfinished(offered, "stick")
    asked(offered)
    assert answered(offered, "fresh", "--label", "STICK-17")["label"] == "STICK-17"
    offered.ok("in", "import", "fresh")
    rows = offered.ok("in", "medium", "list", "--json").json
    assert ("STICK-17", 0, "read") in [(row["label"], row["medium"], row["state"]) for row in rows]
    offered.ok("out", "medium", "receive", "STICK-17")
    assert "airlock medium list" in offered.ok("out", "medium", "retire", "STICK-17", "--method", "erase", "--without-receipt").out


def test_onto_the_medium_that_holds_the_damaged_set(offered, tree):
    """The damaged part is replaced; everything else on it stays, and it still says which medium it is."""
    folder = offered.folder("stick")
    damaged = unfinished(offered, "stick")
    asked(offered)
    before = tree(folder)
    done = answered(offered, "stick")
    assert (done["medium"], done["label"]) == (1, f"{folder.name[-6:]}-1")
    after = tree(folder)
    assert {name for name in after if after[name] != before.get(name)} == {"parts/" + damaged.name, "SHA256SUMS"}
    assert len(sums_hold(folder)) == 4
    offered.ok("in", "import", "stick")
    assert ("library/big:1b", 1, "quarantine") in offered.releases()
    [medium] = [each for each in offered.ok("out", "medium", "list", "--json").json if each["set"] == folder.name]
    assert medium["sums"][7:] == hashlib.sha256((folder / "SHA256SUMS").read_bytes()).hexdigest()
    assert medium["sums"][7:] in offered.path("out/sheets", f"{done['label']}.txt").read_text()


def test_onto_a_medium_whose_letters_a_kiosk_changed(offered):
    unfinished(offered, "stick")
    asked(offered)
    folder = offered.folder("stick")
    for path in sorted(folder.rglob("*"), key=lambda path: -len(path.parts)):
        path.rename(path.with_name(path.name.upper()))
    names = {str(path) for path in folder.rglob("*")}
    answered(offered, "stick")
    assert {str(path) for path in folder.rglob("*")} == names
    offered.ok("in", "import", "stick")


@pytest.mark.parametrize("name", ["index.sealed", "set.json", "metadata/targets.json"])
def test_onto_a_medium_that_is_damaged_beyond_its_parts(offered, name):
    """Then everything small is written anew; the other parts stay."""
    folder = offered.folder("stick")
    unfinished(offered, "stick")
    asked(offered)
    rot(folder / name, 50)
    other = (folder / "parts/00000002.sealed").stat().st_ino
    done = answered(offered, "stick")
    assert done["medium"] == 1
    assert (folder / "parts/00000002.sealed").stat().st_ino == other
    assert len(sums_hold(folder)) == 4
    offered.ok("in", "import", "stick")
    assert ("library/big:1b", 1, "quarantine") in offered.releases()


def test_onto_a_medium_that_a_site_would_refuse(offered, tree):
    unfinished(offered, "stick")
    asked(offered)
    (offered.folder("stick") / "parts/00000009.sealed").symlink_to("/etc/hostname")
    before = tree(offered.path("stick"))
    done = offered.outside("export", "--repair", "it.request", "--to", "stick")
    assert (done.code, "not a regular file" in done.lines["error"]) == (3, True)
    assert tree(offered.path("stick")) == before


def test_without_reading_back(offered):
    """Lines of SHA256SUMS that nobody has checked are no lines."""
    unfinished(offered, "stick")
    asked(offered)
    done = offered.ok("out", "export", "--repair", "it.request", "--to", "stick", "--no-read-back")
    assert "was not read back" in done.err
    assert [line.split(":")[0] for line in sums_hold(offered.folder("stick"))] == ["index.sealed", "parts/00000002.sealed", "set.json"]
    offered.path("fresh").mkdir()
    offered.ok("out", "export", "--repair", "it.request", "--to", "fresh", "--no-read-back")
    assert not (offered.folder("fresh") / "SHA256SUMS").exists()
    offered.ok("in", "import", "fresh")


def test_a_second_repair_on_the_same_medium(offered):
    """What the first one brought stays."""
    for part in (1, 2):
        ask_for(offered, offered.folder("stick").name, part)
        answered(offered, "fresh")
    assert sorted(path.name for path in (offered.folder("fresh") / "parts").iterdir()) == ["00000001.sealed", "00000002.sealed"]
    assert len(sums_hold(offered.folder("fresh"))) == 4


def test_a_plain_set(offered):
    """Without a seal only the digest of an object shows that a part is rotten; its size is right."""
    offered.path("plain").mkdir()
    offered.ok("out", "export", "tiny:1b", "big:1b", "--to", "plain", "--recipient", "in/site.pub", "--part-size", "1MiB", "--no-seal")
    damaged = unfinished(offered, "plain")
    assert asked(offered)["parts"] == [1]
    done = offered.ok("out", "export", "--repair", "it.request", "--to", "plain")
    assert "not sealed" in done.err
    assert len(sums_hold(damaged.parents[1])) == 4
    answered(offered, "fresh")
    offered.ok("in", "import", "fresh")
    assert ("library/big:1b", 1, "quarantine") in offered.releases()


def test_parts_of_media_that_are_still_to_come(spread):
    """They are left to those media, unless somebody says that those were lost."""
    unfinished(spread, "a")
    document = asked(spread)
    assert document["parts"] == [1]
    assert document["later"] == [{"medium": "medium 2 of 2", "parts": [2]}]
    assert asked(spread, "--all")["parts"] == [1, 2]
    spread.ok("out", "export", "--repair", "it.request", "--to", "a")
    spread.ok("in", "import", "a")


def test_nothing_but_media_that_are_still_to_come(spread):
    assert spread.inside("import", "a").code == 5
    done = spread.ok("in", "repair-request", "--to", "it.request")
    assert "nothing to do: what is missing lies on media that were not read here yet" in done.out
    assert "part 2 on medium 2 of 2" in done.err
    assert "airlock import MEDIUM" in done.out
    assert not spread.path("it.request").exists()


def test_a_repair_does_not_count_as_one_of_the_media(spread):
    """What is known of the set's own media stays."""
    unfinished(spread, "a")
    asked(spread)
    answered(spread, "fresh")
    [before] = arriving_sets(spread.path("in/incoming"))
    assert spread.inside("import", "fresh").code == 5
    [after] = arriving_sets(spread.path("in/incoming"))
    assert (after.media, after.seen) == (before.media, before.seen)
    assert [(first, last) for _, first, last in after.media] == [(1, 1), (2, 3)]
    assert after.seen == (1,)
    assert (before.needed, after.needed) == ((1, 2), (2,))
    spread.ok("in", "import", "b")


def test_parity_parts(spread):
    """A station writes them as well; together with what is here they heal."""
    rot(spread.folder("a") / "parts/00000001.sealed")
    ask_for(spread, spread.folder("a").name, 3)
    assert answered(spread, "fresh")["parts"] == [3]
    (spread.folder("b") / "parts/00000003.sealed").unlink()
    assert spread.inside("import", "a", "b").code == 5
    spread.ok("in", "import", "fresh")
    assert ("library/big:1b", 1, "quarantine") in spread.releases()


def test_several_unfinished_sets(offered):
    offered.export("more", "tiny:2b", "big:1b")
    for medium in ("stick", "more"):
        unfinished(offered, medium)
    done = offered.inside("repair-request", "--to", "it.request")
    assert (done.code, "several sets are unfinished" in done.lines["error"]) == (2, True)
    for medium in ("stick", "more"):
        set_id = offered.folder(medium).name
        assert f"airlock repair-request {set_id} --to MEDIUM" in done.lines["hint"]
        offered.path("back").mkdir(exist_ok=True)
        offered.ok("in", "repair-request", set_id.lower(), "--to", "back")
    done = offered.outside("export", "--repair", "back", "--to", "back")
    assert (done.code, "several repair requests are on this medium" in done.lines["error"]) == (2, True)
    for option in done.lines["hint"].splitlines():
        offered.ok("out", "export", *option.split(), "--to", "back")
    offered.ok("in", "import", "back")
    assert offered.inside("repair-request", "01M7ZR2K3RRPWNSYSEJR59BV9J", "--to", "back").code == 6


def test_where_a_request_may_go(offered):
    unfinished(offered, "stick")
    before = offered.events("in")
    for path, code in (("nowhere/it.request", 6), ("in/home.json/it.request", 6)):
        done = offered.inside("repair-request", "--to", path)
        assert (done.code, done.lines["unchanged"]) == (code, "nothing was asked for")
    offered.path("bad").mkdir()
    offered.path("bad/airlock").symlink_to("/etc")
    assert offered.inside("repair-request", "--to", "bad").code == 3
    assert offered.events("in") == before


def test_no_request(offered):
    for path in ("nothing.request", "stick"):
        done = offered.outside("export", "--repair", path, "--to", "stick")
        assert done.code == 6
        assert "airlock repair-request" in done.lines["hint"] or "name a repair request" in done.lines["hint"]


@pytest.mark.parametrize(
    "options", [["tiny:1b"], ["--recipient", "in/site.pub"], ["--parity", "5%"], ["--part-size", "1MiB"], ["--media", "1G"], ["--metadata-only"],
                ["--no-seal"], ["--to", "usb"], ["--label", "A", "--label", "B"], ["--escrow", "in/site.pub"]],
    ids=" ".join,
)  # fmt: skip
def test_options_of_a_new_set(offered, options):
    offered.path("it.request").write_bytes(b"")
    done = offered.outside("export", "--repair", "it.request", "--to", "stick", *options)
    assert done.code == 2
    assert "airlock export --repair PATH --to DIR" in done.lines["hint"]


def test_a_source_that_changed(offered, tree):
    """Nothing is written, not even on the medium that has the set."""
    pinned_here(offered)
    unfinished(offered, "stick")
    asked(offered)
    offered.path("fresh").mkdir()
    offered.model("big.gguf", 5, rows=10_500)
    before, events = tree(offered.path("stick")), offered.events("out")
    for medium in ("fresh", "stick"):
        done = offered.outside("export", "--repair", "it.request", "--to", medium)
        assert (done.code, "big.gguf: no longer matches its pin" in done.lines["error"]) == (3, True)
        assert done.lines["unchanged"].startswith("no repair was finished")
    assert list(offered.path("fresh").iterdir()) == []
    assert (tree(offered.path("stick")), offered.events("out")) == (before, events)
    offered.path("big.gguf").write_bytes(b"short")
    done = offered.outside("export", "--repair", "it.request", "--to", "fresh")
    assert (done.code, "put the pinned file back" in done.lines["hint"]) == (3, True)
    offered.model("big.gguf", 4, rows=10_500)
    answered(offered, "fresh")
    offered.ok("in", "import", "fresh")


def test_a_source_that_is_gone(offered):
    pinned_here(offered)
    unfinished(offered, "stick")
    asked(offered)
    offered.path("fresh").mkdir()
    offered.path("big.gguf").rename(offered.path("moved.gguf"))
    done = offered.outside("export", "--repair", "it.request", "--to", "fresh")
    assert done.code == 6
    assert "big.gguf: no such file" in done.lines["error"]
    assert "put the pinned file back" in done.lines["hint"]
    offered.ok("out", "pin", "elsewhere:1b", "--from", "file:moved.gguf")  # any name will do
    answered(offered, "fresh")


def test_what_is_pinned_no_more(offered):
    pinned_here(offered)
    unfinished(offered, "stick", part=2)
    asked(offered)
    offered.path("fresh").mkdir()
    offered.path("big.gguf").rename(offered.path("old.gguf"))
    offered.model("new.gguf", 9)
    offered.ok("out", "pin", "big:1b", "--from", "file:new.gguf")
    done = offered.outside("export", "--repair", "it.request", "--to", "fresh")
    assert done.code == 6
    assert done.lines["error"] == "library/big:1b-r1: what it was made of is not pinned any more"
    assert "once from file:big.gguf); library/big:1b is pinned to other content now" in done.lines["why"]
    assert list(offered.path("fresh").iterdir()) == []
    offered.ok("out", "pin", "kept:1b", "--from", "file:old.gguf")
    answered(offered, "fresh")
    offered.ok("in", "import", "fresh")


def test_withdrawn_meanwhile(offered):
    """The station says so and goes on; the site decides by the newest metadata."""
    unfinished(offered, "stick")
    asked(offered)
    offered.ok("out", "withdraw", "big:1b@1", "--severity", "stop", "--why", "wrong weights")
    offered.export("news", "tiny:1b")
    offered.path("fresh").mkdir()
    done = offered.ok("out", "export", "--repair", "it.request", "--to", "fresh")
    assert "library/big:1b-r1 was withdrawn since" in done.err
    offered.inside("import", "fresh")
    assert ("library/tiny:1b", 3, "quarantine") in offered.releases()
    assert not [name for name, _, state in offered.releases() if name == "library/big:1b" and state != "withdrawn"]


@pytest.mark.parametrize("media", [("stick", "fresh"), ("fresh", "stick")])
def test_beside_the_older_medium(offered, media):
    """Imported together, in any order, the newest metadata count: what the station said last is not missed."""
    unfinished(offered, "stick")
    asked(offered)
    offered.ok("out", "withdraw", "tiny:2b@2", "--severity", "stop", "--why", "wrong weights")
    offered.export("news", "tiny:1b")
    answered(offered, "fresh")
    offered.ok("in", "import", *media)
    assert {("library/tiny:2b", 2, "withdrawn"), ("library/big:1b", 1, "quarantine")} <= set(offered.releases())


def test_no_space(offered, monkeypatch):
    unfinished(offered, "stick")
    asked(offered)
    offered.path("fresh").mkdir()
    monkeypatch.setattr("registry.workflow.repair_folder.free_bytes", lambda path: 2_000_000)
    done = offered.outside("export", "--repair", "it.request", "--to", "fresh")
    assert (done.code, "not enough space" in done.lines["error"]) == (5, True)
    assert list(offered.path("fresh").iterdir()) == []


def test_a_medium_that_lies(offered, monkeypatch):
    unfinished(offered, "stick")
    asked(offered)
    offered.path("fresh").mkdir()

    def drop(descriptor):
        path = offered.folder("fresh") / "parts/00000001.sealed"
        path.write_bytes(path.read_bytes()[:-4096] + bytes(4096))

    with monkeypatch.context() as patch:
        patch.setattr("registry.workflow.mending.drop_cache", drop)
        done = offered.outside("export", "--repair", "it.request", "--to", "fresh")
    assert (done.code, "part 1 of set" in done.lines["error"]) == (5, True)
    assert not (offered.folder("fresh") / "SHA256SUMS").exists()
    assert all(event["verb"] != "set.repair" for event in offered.events("out"))
    answered(offered, "fresh")  # the same command continues
    offered.ok("in", "import", "fresh")


@pytest.mark.parametrize("days", [70, 200])
def test_months_later(offered, days):
    """A repair has the time to travel: what was signed last is signed anew where it is not good for another month."""
    unfinished(offered, "stick")
    asked(offered)
    offered.path("fresh").mkdir()
    now = datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)
    for medium in ("fresh", "stick"):
        repair(
            Home(offered.path("out")),
            offered.path("it.request"),
            Target(offered.path(medium)),
            lambda: offered.passphrase,
            now=now,
            progress=Silent(),
        )
    signed = [event for event in offered.events("out") if event["verb"] == "metadata.sign" and event["time"] > f"{now:%Y-%m-%d}"]
    assert len(signed) == 1
    assert offered.import_at(now + timedelta(days=10), "stick") is None


def test_a_list_that_ended(offered, tree):
    """Two years later the list of releases itself must be signed again; that is what an export does."""
    unfinished(offered, "stick")
    asked(offered)
    offered.path("fresh").mkdir()
    before = offered.events("out")
    home, target, now = Home(offered.path("out")), Target(offered.path("fresh")), datetime.now(UTC) + timedelta(days=800)
    with pytest.raises(repairing.TrustRefused, match="list of releases must be signed anew") as refusal:
        repair(home, offered.path("it.request"), target, lambda: offered.passphrase, now=now, progress=Silent())
    assert "airlock export --metadata-only" in refusal.value.hint
    assert (list(offered.path("fresh").iterdir()), offered.events("out")) == ([], before)


def test_interrupted(offered, monkeypatch):
    """Stopped between two parts: the same command continues, and the first part stays."""
    for number in (1, 2):
        rot(offered.folder("stick") / f"parts/{number:08d}.sealed")
    assert offered.inside("import", "stick").code == 5
    assert asked(offered)["parts"] == [1, 2]
    offered.path("fresh").mkdir()
    seal = repairing.Mending._seal_part

    def stop(self, number, path, advance):
        if number == 2:
            raise KeyboardInterrupt
        seal(self, number, path, advance)

    with monkeypatch.context() as patch:
        patch.setattr(repairing.Mending, "_seal_part", stop)
        assert offered.outside("export", "--repair", "it.request", "--to", "fresh").code == 130
    first = offered.folder("fresh") / "parts/00000001.sealed"
    inode = first.stat().st_ino
    assert answered(offered, "fresh")["parts"] == [1, 2]
    assert first.stat().st_ino == inode
    offered.ok("in", "import", "fresh")
    assert slots.medium_number(offered.path("fresh"), offered.folder("fresh").name) == 0
