"""Sets on several media: any order, any number at a time, copies, damage, parity, plain sets, continued exports.

``spanned`` is a site with two releases in quarantine and a set with ``library/big:1b`` in six parts, two on each of ``a``, ``b`` and ``c``.  ``healing``
has the same with three parity parts, each medium a third of it.
"""

import itertools
import json
import shutil

import pytest

from registry.errors import MediumDamaged

MIB = 1 << 20
ROWS = 48_000  # of 128 bytes: five parts of 1 MiB and most of a sixth
BIG = "library/big:1b"
_prepared = {}


@pytest.fixture
def prepared(make_world, tmp_path, tmp_path_factory):
    """Return a function: a name, and what prepares a world of that name the first time, to a fresh copy of it."""

    def prepare(name, build):
        if name not in _prepared:
            world = make_world("imported", "template")
            build(world)
            _prepared[name] = type(world)(shutil.copytree(world.root, tmp_path_factory.mktemp(name) / "world"))
            shutil.rmtree(world.root)
        return type(_prepared[name])(shutil.copytree(_prepared[name].root, tmp_path / name))

    return prepare


def pin_big(world):
    world.model("big.gguf", 9, rows=ROWS)
    world.ok("out", "pin", "big:1b", "--from", "file:big.gguf")


def export(world, media, *words, names=("big:1b",), recipient="in/site.pub"):
    """Export to these media; return what ``--json`` says."""
    for each in media:
        world.path(each).mkdir(exist_ok=True)
    return world.ok("out", *export_words(media, *words, names=names, recipient=recipient), "--json").json


def export_words(media, *words, names=("big:1b",), recipient="in/site.pub"):
    places = [word for each in media for word in ("--to", each)]
    return ["export", *names, *places, "--recipient", recipient, "--part-size", "1MiB", *words]


@pytest.fixture
def pinned(imported):
    """``big:1b`` is pinned, to a file that lies in this very world."""
    pin_big(imported)
    return imported


@pytest.fixture
def spanned(prepared):
    """Six parts on three media."""

    def build(world):
        pin_big(world)
        export(world, "abc", "--media", "4M,4M,4M")

    return prepared("spanned", build)


@pytest.fixture
def healing(prepared):
    """Six parts and three parity parts on three media."""

    def build(world):
        pin_big(world)
        export(world, "abc", "--media", "5M,5M,5M", "--parity", "50%")

    return prepared("healing", build)


@pytest.fixture
def plain(prepared):
    """Six parts and three parity parts on three media, unsealed."""

    def build(world):
        pin_big(world)
        export(world, "abc", "--media", "5M,5M,5M", "--parity", "50%", "--no-seal")

    return prepared("plain", build)


def part(world, number, ending="sealed"):
    """Where a part lies."""
    [found] = world.root.glob(f"[abc]/airlock/*/parts/{number:08d}.{ending}")
    return found


def rot(path, at=500_000):
    """Change one bit."""
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    path.write_bytes(data)


def status(world):
    """What the site waits for."""
    return world.ok("in", "import", "--status", "--json").json["sets"]


def big_is_here(world):
    return (BIG, 1, "quarantine") in world.releases()


def test_three_media(pinned, tree):
    """Each medium holds no more than it may, says which it is, and has its transfer sheet; both sides know all of them."""
    done = export(pinned, "abc", "--media", "4M,4M,4M")
    assert [(each["medium"], each["first"], each["last"]) for each in done["media"]] == [(1, 1, 2), (2, 3, 4), (3, 5, 6)]
    for number, name in enumerate("abc", 1):
        folder = pinned.folder(name)
        assert folder.name == done["set"]
        sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
        assert sum(-(-size // (32 << 10)) * (32 << 10) for size in sizes) <= 4_000_000
        note = json.loads((folder / "medium.json").read_bytes())
        assert (note["medium"], note["media"], note["spans"]) == (number, 3, [[1, 2], [3, 4], [5, 6]])
        assert f"medium     {number} of 3" in (folder / "README.txt").read_text()
        assert "parts      2 of 6" in (folder / "README.txt").read_text()
        listed = {line.split()[1] for line in (folder / "SHA256SUMS").read_text().splitlines()}
        assert listed == {"index.sealed", "set.json", *(f"parts/{each:08d}.sealed" for each in (2 * number - 1, 2 * number))}
        sheet = pinned.path("out/sheets", f"{note['label']}.txt").read_text()
        assert f"MEDIUM {number} OF 3" in sheet.splitlines()[0]
        assert pinned.path("out/sheets", f"{note['label']}.html").exists()
    labels = [each["label"] for each in done["media"]]
    assert labels == [f"{done['set'][-6:]}-{number}" for number in (1, 2, 3)]
    pinned.ok("in", "import", "a", "b", "c")
    for place in ("out", "in"):
        rows = [row for row in pinned.ok(place, "medium", "list", "--json").json if row["set"] == done["set"]]
        assert sorted((row["medium"], row["media"], row["label"]) for row in rows) == [(number, 3, labels[number - 1]) for number in (1, 2, 3)]


@pytest.mark.parametrize("order", list(itertools.permutations("abc")), ids="".join)
def test_any_order(spanned, tree, order):
    """One at a time: exit 5 until the last, which completes the set by itself; nothing is written to a medium."""
    before = {name: tree(spanned.path(name)) for name in "abc"}
    held = spanned.holdings()
    missing = {"a": [1, 2], "b": [3, 4], "c": [5, 6]}
    for place, name in enumerate(order):
        done = spanned.inside("import", name, "--json")
        left = sorted(number for other in order[place + 1 :] for number in missing[other])
        if left:
            assert done.code == 5
            assert done.json["error"]["missing"] == left
            assert done.json["error"]["damaged"] == []
            assert spanned.holdings()["served"] == held["served"]
            [waiting] = status(spanned)
            assert waiting["missing"] == left
            assert waiting["releases"] == ["library/big:1b-r1"]
            assert waiting["damaged"] == []
            for number, medium in enumerate(waiting["media"], 1):
                letter = "abc"[number - 1]
                assert medium["seen"] == (letter in order[: place + 1])
                assert medium["missing"] == (missing[letter] if letter in order[place + 1 :] else [])
                assert bool(medium["label"]) == medium["seen"]
        else:
            assert done.code == 0
            assert done.json["sets"][0]["new"] == ["library/big:1b-r1"]
    assert status(spanned) == []
    assert list(spanned.path("in/incoming").iterdir()) == []
    assert {name: tree(spanned.path(name)) for name in "abc"} == before


@pytest.mark.parametrize("pair", [("a", "b"), ("c", "a"), ("b", "c")], ids="".join)
def test_in_pairs(spanned, pair):
    [last] = set("abc") - set(pair)
    done = spanned.inside("import", *pair)
    assert done.code == 5
    number = "abc".index(last) + 1
    numbers = f"{2 * number - 1}, {2 * number}"
    assert done.lines["error"] == f"set {spanned.folder('a').name}: incomplete"
    assert done.lines["why"] == f"missing: {numbers} of 6 part(s)\n{numbers}: on medium {number} of 3"
    assert done.lines["hint"] == "bring what is missing, on any medium in any order; what arrived is kept, the same command continues"
    assert spanned.ok("in", "import", last).out.startswith(f"set {spanned.folder('a').name}: verified")
    assert big_is_here(spanned)


def test_status_in_words(spanned):
    spanned.inside("import", "b")
    spanned.inside("import", "c")
    said = spanned.ok("in", "import", "--status")
    assert said.out.splitlines() == [
        f"set {spanned.folder('a').name}",
        "brings   library/big:1b-r1",
        "missing  1, 2 of 6 part(s)",
        "bring    medium 1 of 3: part(s) 1, 2",
        "next: airlock import MEDIUM   # any of those that are missing, in any order",
    ]
    spanned.ok("in", "import", "a")
    assert spanned.ok("in", "import", "--status").out == "no set waits for anything\n"


def test_copies_fill_in_for_each_other(spanned):
    """Two copies of one medium, each damaged elsewhere: together they are whole."""
    shutil.copytree(spanned.path("b"), spanned.path("copy"))
    rot(part(spanned, 3))
    rot(spanned.folder("copy") / "parts/00000004.sealed")
    assert spanned.ok("in", "import", "a", "b", "c", "copy", "--json").json["sets"][0]["new"] == ["library/big:1b-r1"]


def test_a_copy_on_another_day(spanned):
    """What the first copy could not give is taken from the second."""
    shutil.copytree(spanned.path("b"), spanned.path("copy"))
    rot(part(spanned, 3))
    done = spanned.inside("import", "a", "b", "c", "--json")
    assert (done.code, done.json["error"]["missing"], done.json["error"]["damaged"]) == (5, [3], [3])
    [waiting] = status(spanned)
    assert [each["part"] for each in waiting["damaged"]] == [3]
    assert "part 3 of set" in waiting["damaged"][0]["why"]
    shutil.rmtree(spanned.path("b"))
    spanned.ok("in", "import", "copy")
    assert big_is_here(spanned)


def test_a_part_that_is_still_growing(spanned):
    """A share to which somebody is still copying: incomplete, not damaged by anybody; the same command continues."""
    file = part(spanned, 4)
    whole = file.read_bytes()
    file.write_bytes(whole[:700_000])
    done = spanned.inside("import", "a", "b", "c")
    assert done.code == 5
    assert done.lines["error"] == f"part 4 of set {spanned.folder('a').name}: incomplete"
    assert done.lines["why"] == f"expected {len(whole):,} bytes, found 700,000"
    assert done.lines["hint"].startswith("if it is still being copied, wait and run the same command again")
    file.write_bytes(whole)
    spanned.ok("in", "import", "a", "b", "c")
    assert big_is_here(spanned)


def test_a_later_set_in_between(spanned):
    """The newer set's metadata stay; the earlier set completes all the same."""
    assert spanned.inside("import", "a").code == 5
    spanned.model("new.gguf", 5)
    spanned.ok("out", "pin", "new:1b", "--from", "file:new.gguf")
    export(spanned, ["later"], names=("new:1b",))
    assert spanned.ok("in", "import", "later", "--json").json["sets"][0]["metadata"] == "newer"
    assert [each["missing"] for each in status(spanned)] == [[3, 4, 5, 6]]
    trusted = spanned.holdings()["catalog"][1]
    done = spanned.ok("in", "import", "b", "c", "--json").json["sets"][0]
    assert (done["metadata"], done["new"]) == ("older", ["library/big:1b-r1"])
    assert spanned.holdings()["catalog"][1] == trusted
    assert ("library/new:1b", 1, "quarantine") in spanned.releases()


def test_healed_by_parity(healing):
    """A rotten part and a lost one come back, with a warning and in JSON."""
    rot(part(healing, 2))
    part(healing, 4).unlink()
    done = healing.inside("import", "a", "b", "c", "--json")
    assert done.code == 0, done.err
    assert done.json["sets"][0]["healed"] == [2, 4]
    assert "airlock: warning: set" in done.err
    assert "part(s) 2, 4 came back by parity; their medium is not here, or going bad" in done.err
    assert big_is_here(healing)
    assert list(healing.path("in/incoming").iterdir()) == []
    healing.ok("in", "check")


def test_a_lost_medium_comes_back_by_parity(healing):
    """Over two days: what parity parts came first are kept until the set is whole, and then removed."""
    parity = {path.name for path in healing.root.glob("[abc]/airlock/*/parts/*") if int(path.stem) > 6}
    assert {name[:8] for name in parity} == {"00000007", "00000008", "00000009"}
    done = healing.inside("import", "c", "--json")
    assert (done.code, done.json["error"]["missing"]) == (5, [1, 2, 3, 4, 5, 6])
    kept = [path.name for path in healing.path("in/incoming").iterdir() if ".parity-" in path.name]
    assert sorted(name.rpartition("-")[2] for name in kept) == ["7", "8", "9"]
    assert {(each["medium"], tuple(each["missing"])) for each in status(healing)[0]["media"]} == {(1, (1, 2, 3)), (2, (4, 5, 6)), (3, ())}
    done = healing.ok("in", "import", "a", "--json")
    assert done.json["sets"][0]["healed"] == [4, 5, 6]
    assert big_is_here(healing)
    assert list(healing.path("in/incoming").iterdir()) == []


def test_a_parity_part_is_rotten_too(healing):
    rot(part(healing, 8))
    rot(part(healing, 1))
    rot(part(healing, 6))
    assert healing.ok("in", "import", "a", "b", "c", "--json").json["sets"][0]["healed"] == [1, 6]
    assert big_is_here(healing)


def test_beyond_parity(healing):
    """One part more than parity can bring back: each is named, nothing is guessed; one good copy is enough."""
    good = part(healing, 5).read_bytes()
    for number in (1, 2, 5):
        rot(part(healing, number))
    part(healing, 6).unlink()
    before = healing.holdings()
    done = healing.inside("import", "a", "b", "c")
    assert done.code == 5
    assert done.lines["error"] == f"set {healing.folder('a').name}: incomplete"
    why = done.lines["why"].splitlines()
    assert why[0] == "missing: 1, 2, 5, 6 of 6 part(s)"
    assert [line[:7] for line in why[1:4]] == ["part 1 ", "part 2 ", "part 5 "]
    assert why[4].startswith("6: on medium 2 of 3 (label ")
    assert "repair-request" in done.lines["hint"]
    assert healing.holdings()["served"] == before["served"]
    assert not big_is_here(healing)
    [waiting] = status(healing)
    assert (waiting["missing"], [each["part"] for each in waiting["damaged"]]) == ([1, 2, 5, 6], [1, 2, 5])
    part(healing, 5).write_bytes(good)
    assert healing.ok("in", "import", "b", "--json").json["sets"][0]["healed"] == [1, 2, 6]
    assert big_is_here(healing)


def test_plain(plain):
    """A plain set says so, its files hold the models' bytes, and it goes the same way."""
    folder = plain.folder("a")
    assert json.loads((folder / "set.json").read_bytes())["requires"] == ["parity", "plain"]
    assert not list(plain.root.glob("[abc]/airlock/*/**/*.sealed"))
    parts = [part(plain, number, "plain").read_bytes() for number in range(1, 7)]
    assert plain.path("big.gguf").read_bytes() in b"".join(parts)
    assert b"NOT encrypted" in (folder / "README.txt").read_bytes()
    assert b'"payloadType":"application/vnd.airlock.index.v1+json"' in (folder / "index.plain").read_bytes()
    assert plain.ok("in", "import", "a", "b", "c", "--json").json["sets"][0]["healed"] == []
    assert big_is_here(plain)
    plain.ok("in", "check")


def test_plain_is_warned_about(pinned):
    pinned.path("usb2").mkdir()
    done = pinned.ok("out", *export_words(["usb2"], "--no-seal", "--label", "PLAIN-1"))
    assert "airlock: warning: " in done.err
    assert "can read the models" in done.err
    for kind in ("txt", "html"):  # whoever finds it must not be told that it can't be read
        sheet = pinned.path(f"out/sheets/PLAIN-1.{kind}").read_text()
        assert "NOT SEALED" in sheet
        assert "UNSEALED" in sheet
        assert "can't be read" not in sheet


def test_rot_in_a_plain_set_is_healed(plain):
    """No seal tells, but the digest does; SHA256SUMS names the part, and parity brings it back."""
    rot(part(plain, 3, "plain"))
    done = plain.inside("import", "a", "b", "c", "--json")
    assert done.code == 0, done.err
    assert done.json["sets"][0]["healed"] == [3]
    assert big_is_here(plain)


@pytest.fixture
def plain_alone(prepared):
    """Six plain parts on three media, without parity."""

    def build(world):
        pin_big(world)
        export(world, "abc", "--media", "4M,4M,4M", "--no-seal")

    return prepared("plain_alone", build)


def test_rot_in_a_plain_set_is_named(plain_alone):
    """With SHA256SUMS: the part; the others are kept, and a whole copy of that medium is all it takes."""
    shutil.copytree(plain_alone.path("b"), plain_alone.path("copy"))
    rot(part(plain_alone, 3, "plain"))
    done = plain_alone.inside("import", "a", "b", "c")
    assert done.code == 5
    assert done.lines["error"] == f"part 3 of set {plain_alone.folder('a').name}: damaged"
    assert "has another digest" in done.lines["why"]
    assert "sha256sum -c SHA256SUMS" in done.lines["hint"]
    assert not big_is_here(plain_alone)
    assert status(plain_alone)[0]["missing"] == [3]
    plain_alone.ok("in", "import", "copy")
    assert big_is_here(plain_alone)


def test_rot_in_a_plain_set_without_sums(plain_alone):
    """Without SHA256SUMS every part of the object may be the cause, and all of them are asked for again."""
    shutil.copytree(plain_alone.path("b"), plain_alone.path("copy"))
    for folder in map(plain_alone.folder, "abc"):
        (folder / "SHA256SUMS").unlink()
    rot(part(plain_alone, 3, "plain"))
    done = plain_alone.inside("import", "a", "b", "c", "--json")
    assert (done.code, done.json["error"]["missing"]) == (5, [1, 2, 3, 4, 5, 6])
    assert "any of its parts may be the cause" in done.json["error"]["why"]
    plain_alone.ok("in", "import", "a", "copy", "c")
    assert big_is_here(plain_alone)


def test_a_copy_of_a_plain_medium(plain_alone):
    """Rot in one copy, whole in the other, both at hand."""
    shutil.copytree(plain_alone.path("b"), plain_alone.path("copy"))
    rot(part(plain_alone, 3, "plain"))
    plain_alone.ok("in", "import", "a", "b", "c", "copy")
    assert big_is_here(plain_alone)


def stop_at(world, medium):
    """Let an export fail when it comes to this medium: a file is where the folder must go."""
    world.path(medium).mkdir(exist_ok=True)
    world.path(medium, "airlock").write_bytes(b"")


def interrupted(world, *words):
    """An export to ``a``, ``b`` and ``c`` that ends when the first medium is finished."""
    for name in "abc":
        world.path(name).mkdir(exist_ok=True)
    stop_at(world, "b")
    done = world.outside(*export_words("abc", *words))
    assert done.code == 5
    world.path("b/airlock").unlink()
    return done


def verbs(world, count):
    return [event["verb"] for event in world.events("out")[-count:]]


@pytest.mark.parametrize("words", [["--media", "4M,4M,4M"], ["--media", "5M,5M,5M", "--parity", "50%"]], ids=["parts", "parity"])
def test_an_export_continues(pinned, words):
    """Media that were finished are not asked for again; parts that are whole are not written again."""
    done = interrupted(pinned, *words)
    assert done.lines["error"] == "the medium b can't be used"
    assert done.lines["unchanged"] == "no set was finished; the same command continues where this one stopped"
    assert verbs(pinned, 1) == ["medium.write"]
    pinned.path("a").rename(pinned.path("away"))  # it is on its way already
    pinned.path("a").mkdir()
    again = pinned.ok("out", *export_words("abc", *words), "--json")
    assert "is unfinished; continuing it" in again.err
    assert again.json["continued"] is True
    assert [each["path"] is None for each in again.json["media"]] == [True, False, False]
    assert list(pinned.path("a").iterdir()) == []
    assert verbs(pinned, 3) == ["medium.write", "medium.write", "set.finish"]
    pinned.ok("in", "import", "away", "b", "c")
    assert big_is_here(pinned)


def test_whole_parts_stay(pinned):
    """Continued on a medium of which some parts are there: what is whole is not written again."""
    words = export_words("abc", "--media", "4M,4M,4M")
    for name in "abc":
        pinned.path(name).mkdir()
    stop_at(pinned, "c")
    assert pinned.outside(*words).code == 5
    pinned.path("c/airlock").unlink()
    set_id = pinned.folder("a").name
    pinned.path("c/airlock", set_id, "parts").mkdir(parents=True)  # begun, and pulled out before anything was whole
    pinned.path("c/airlock", set_id, ".airlock-0123456789abcdef").write_bytes(b"half")
    pinned.path("c/airlock", set_id, "parts/.airlock-0123456789abcdef").write_bytes(b"half")
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in pinned.root.glob("[ab]/airlock/*/parts/*")}
    assert len(before) == 4
    pinned.ok("out", *words)
    assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in before} == before
    assert not list(pinned.root.glob("[abc]/**/.airlock-*"))
    pinned.ok("in", "import", "a", "b", "c")
    assert big_is_here(pinned)


def test_whole_parts_of_an_unfinished_medium_stay(pinned, monkeypatch):
    """A medium with one whole part, one cut part, and a parity part missing: only the last two are written."""
    words = export_words(["a"], "--parity", "50%")
    pinned.path("a").mkdir()

    def pulled_out(*_):
        raise MediumDamaged("pulled out")

    with monkeypatch.context() as patch:
        patch.setattr("registry.workflow.parts.Parts.read_back", pulled_out)
        assert pinned.outside(*words).code == 5
    parts = sorted((pinned.folder("a") / "parts").iterdir())
    assert len(parts) == 9
    parts[1].write_bytes(parts[1].read_bytes()[:1000])
    rot(parts[2])
    parts[7].unlink()
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in parts if path.exists()}
    pinned.ok("out", *words)
    after = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in before}
    assert [path.stem[-1] for path in before if before[path] != after[path]] == ["2", "3"]
    pinned.ok("in", "import", "a")
    assert big_is_here(pinned)


def test_source_changed_between_media(pinned):
    """Refused; what is finished stays finished, and with the right file the same command continues."""
    words = export_words("abc", "--media", "4M,4M,4M")
    interrupted(pinned, "--media", "4M,4M,4M")
    good = pinned.path("big.gguf").read_bytes()
    rot(pinned.path("big.gguf"), at=1_500_000)
    events = len(pinned.events("out"))
    done = pinned.outside(*words)
    assert done.code == 3
    assert "no longer matches its pin" in done.lines["error"]
    assert "its content is no longer what was pinned" in done.lines["why"]
    assert len(pinned.events("out")) == events
    assert not pinned.path("b/airlock").exists()
    pinned.path("big.gguf").write_bytes(good)
    pinned.ok("out", *words)
    pinned.ok("in", "import", "a", "b", "c")
    assert big_is_here(pinned)


def test_source_changed_after_the_first_medium(pinned):
    """The change lies behind what the first medium took: the last medium finds it out, and the first is still good."""
    words = export_words("abc", "--media", "4M,4M,4M")
    interrupted(pinned, "--media", "4M,4M,4M")
    good = pinned.path("big.gguf").read_bytes()
    rot(pinned.path("big.gguf"), at=5_500_000)
    done = pinned.outside(*words)
    assert done.code == 3
    assert "its content is no longer what was pinned" in done.lines["why"]
    assert "set.finish" not in verbs(pinned, 2)
    pinned.path("big.gguf").write_bytes(good)
    pinned.ok("out", *words)
    pinned.ok("in", "import", "a", "b", "c")
    assert big_is_here(pinned)


def test_source_was_wrong_from_the_start(pinned):
    """The first medium was finished with bytes that turn out wrong on the last: with the right file it is written again."""
    words = export_words("abc", "--media", "4M,4M,4M")
    good = pinned.path("big.gguf").read_bytes()
    rot(pinned.path("big.gguf"), at=500_000)
    for name in "abc":
        pinned.path(name).mkdir()
    assert pinned.outside(*words).code == 3
    pinned.path("big.gguf").write_bytes(good)
    done = pinned.ok("out", *words, "--json")
    assert [each["path"] is None for each in done.json["media"]] == [False, False, False]
    pinned.ok("in", "import", "a", "b", "c")
    assert big_is_here(pinned)


def test_source_changed_before_parity(pinned):
    """Parity over other bytes than the parts' would heal nothing."""
    words = export_words("abc", "--media", "5M,5M,5M", "--parity", "50%")
    for name in "abc":
        pinned.path(name).mkdir()
    stop_at(pinned, "c")
    assert pinned.outside(*words).code == 5
    pinned.path("c/airlock").unlink()
    good = pinned.path("big.gguf").read_bytes()
    rot(pinned.path("big.gguf"), at=5_000_000)
    done = pinned.outside(*words)
    assert done.code == 3
    assert "no longer matches its pin" in done.lines["error"]
    pinned.path("big.gguf").write_bytes(good)
    pinned.ok("out", *words)
    assert pinned.ok("in", "import", "a", "c", "--json").json["sets"][0]["healed"] == [4, 5, 6]
    assert big_is_here(pinned)


def test_one_part_rotten_and_one_lost_in_a_plain_set(plain):
    """What first comes back by parity is wrong, because a part it came from is: the digest tells, and then both come back."""
    rot(part(plain, 1, "plain"))
    part(plain, 4, "plain").unlink()
    done = plain.ok("in", "import", "a", "b", "c", "--json")
    assert done.json["sets"][0]["healed"] == [1, 4]
    assert big_is_here(plain)
    assert list(plain.path("in/incoming").iterdir()) == []


def test_a_rotten_parity_part_in_a_plain_set(plain):
    """What it brings back is not taken; another parity part does better."""
    part(plain, 4, "plain").unlink()
    rot(part(plain, 7, "plain"))
    assert plain.ok("in", "import", "a", "b", "c", "--json").json["sets"][0]["healed"] == [4]
    assert big_is_here(plain)
    assert list(plain.path("in/incoming").iterdir()) == []


def test_only_rotten_parity_parts_in_a_plain_set(plain):
    """Nothing is taken and nothing kept of what they brought back; a good copy heals."""
    good = part(plain, 9, "plain").read_bytes()
    part(plain, 4, "plain").unlink()
    for number in (7, 8, 9):
        rot(part(plain, number, "plain"))
    done = plain.inside("import", "a", "b", "c", "--json")
    assert (done.code, done.json["error"]["missing"]) == (5, [4])
    assert "has another digest after it came back by parity" in done.json["error"]["why"]
    assert not [path for path in plain.path("in/incoming").iterdir() if ".parity-" in path.name]
    assert not big_is_here(plain)
    part(plain, 9, "plain").write_bytes(good)
    assert plain.ok("in", "import", "c", "--json").json["sets"][0]["healed"] == [4]
    assert big_is_here(plain)


def test_labels(pinned):
    """In the order of the media; what has none of its own gets one."""
    done = export(pinned, "abc", "--media", "4M", "--label", "STICK-17", "--label", "STICK-18")
    last = f"{done['set'][-6:]}-3"
    assert [each["label"] for each in done["media"]] == ["STICK-17", "STICK-18", last]
    assert {path.name for path in pinned.path("out/sheets").iterdir()} >= {"STICK-17.txt", "STICK-18.html", f"{last}.txt"}
    done = pinned.inside("import", "b")
    assert "1, 2: on medium 1 of 3" in done.lines["why"]
    assert "(label STICK-18)" not in done.err
    rot(part(pinned, 1))
    done = pinned.inside("import", "a")
    assert done.code == 5
    assert [each["label"] for each in status(pinned)[0]["media"]] == ["STICK-17", "STICK-18", None]
    assert "bring    medium 1 of 3 (label STICK-17): part(s) 1\n" in pinned.ok("in", "import", "--status").out


@pytest.mark.parametrize("label", ["", "Anna Beispiel", "A" * 33, "-x", "a/b", "a\nb", "ä"])
def test_bad_label(pinned, label):
    pinned.path("a").mkdir()
    events = len(pinned.events("out"))
    done = pinned.outside(*export_words("a", "--label", "STICK-1", "--label", label))
    assert done.code == 3
    assert done.lines["error"].endswith("can't be the label of a medium")
    assert "never the name of a person" in done.lines["hint"]
    assert list(pinned.path("a").iterdir()) == []
    assert len(pinned.events("out")) == events


def test_no_read_back(pinned):
    """It is on the transfer sheet, and nothing claims that the medium was read."""
    done = export(pinned, ["a"], "--no-read-back", "--label", "STICK-1")
    assert done["read_back"] is False
    assert not (pinned.folder("a") / "SHA256SUMS").exists()
    assert "NOT READ BACK" in pinned.path("out/sheets/STICK-1.txt").read_text()
    assert "NOT READ BACK" in pinned.path("out/sheets/STICK-1.html").read_text()
    export(pinned, ["b"], "--label", "STICK-2", names=("tiny:1b",))
    assert "NOT READ BACK" not in pinned.path("out/sheets/STICK-2.txt").read_text()
    pinned.ok("in", "import", "a")


def test_metadata_only(imported):
    imported.path("a").mkdir()
    done = imported.ok("out", "export", "--metadata-only", "--to", "a", "--recipient", "in/site.pub", "--parity", "5%", "--json").json
    assert (done["parts"], done["parity_parts"], done["size"]) == (0, 0, 0)
    assert json.loads((imported.folder("a") / "medium.json").read_bytes())["spans"] == [[1, 0]]
    assert imported.path("out/sheets", f"{done['media'][0]['label']}.txt").exists()
    assert imported.ok("in", "import", "a", "--json").json["sets"][0]["new"] == []
    assert status(imported) == []


def test_not_enough_media(pinned):
    """Refused before anything is signed; the reason says whether it is the cut."""
    events = len(pinned.events("out"))
    for name in "ab":
        pinned.path(name).mkdir()
    done = pinned.outside(*export_words("ab", "--media", "4M"))
    assert done.code == 5
    assert done.lines["error"] == "a, b: not enough space"
    assert "8,000,000 are free; a part goes on one medium as a whole" in done.lines["why"]
    assert "airlock plan" in done.lines["hint"]
    done = pinned.outside(*export_words("ab", "--media", "2M"))
    assert done.lines["why"].endswith("4,000,000 are free")
    assert len(pinned.events("out")) == events
    assert not [path for name in "ab" for path in pinned.path(name).iterdir()]


def test_the_first_slot_is_too_small(pinned):
    """It is passed over, in this run and when the export continues."""
    for name in "abc":
        pinned.path(name).mkdir()
    words = export_words("abc", "--media", "1M,6M,6M")
    stop_at(pinned, "c")
    assert pinned.outside(*words).code == 5
    pinned.path("c/airlock").unlink()
    done = pinned.ok("out", *words, "--json").json
    assert list(pinned.path("a").iterdir()) == []
    assert [(each["first"], each["last"]) for each in done["media"]] == [(1, 4), (5, 6)]
    pinned.ok("in", "import", "c", "b")
    assert big_is_here(pinned)


def test_plan(pinned):
    """Says what goes where, signs and writes nothing; the export does just that."""
    events = len(pinned.events("out"))
    plan = pinned.ok("out", "plan", "big:1b", "--media", "4M", "--part-size", "1MiB", "--json").json
    assert (plan["parts"], plan["parity_parts"], plan["part_size"]) == (6, 0, 1 << 20)
    assert [(each["medium"], each["first"], each["last"], each["models"]) for each in plan["media"]] == [
        (1, 1, 2, [BIG]),
        (2, 3, 4, [BIG]),
        (3, 5, 6, [BIG]),
    ]
    assert plan["sealed_size"] == sum(each["size"] for each in plan["media"])
    text = pinned.ok("out", "plan", "big:1b", "--media", "5M", "--part-size", "1MiB", "--parity", "50%").out
    assert "6 part(s) of at most 1.0 MB and 3 parity part(s)" in text
    assert "3 of 3" in text
    assert "7 to 9" in text
    assert "parity" in text.splitlines()[-2]
    usual = pinned.ok("out", "plan", "--json").json["plans"]
    assert [each["capacity"] for each in usual] == [31 * 10**9, 62 * 10**9, 125 * 10**9, 250 * 10**9]
    assert [len(each["media"]) for each in usual] == [1] * 4
    assert "next: airlock plan --media 128G,128G" in pinned.ok("out", "plan").out
    for name in "abc":
        pinned.path(name).mkdir()
    there = pinned.ok("out", "plan", "big:1b", "--to", "a", "--to", "b", "--to", "c", "--media", "4M", "--part-size", "1MiB", "--json").json
    assert there["media"] == plan["media"]
    assert len(pinned.events("out")) == events
    assert not [path for name in "abc" for path in pinned.path(name).iterdir()]
    done = export(pinned, "abc", "--media", "4M")
    assert [(each["first"], each["last"]) for each in done["media"]] == [(each["first"], each["last"]) for each in plan["media"]]
    signature = done["size"] - plan["size"]  # of the release that the export makes of the pin
    assert 0 < signature < 4_000
    assert pinned.ok("out", "plan", "big:1b", "--json").json["plans"][0]["bytes_per_second"] > 0


def test_plan_that_can_not_be(pinned):
    pinned.path("a").mkdir()
    done = pinned.outside("plan", "big:1b", "--to", "a", "--media", "4M", "--part-size", "1MiB")
    assert (done.code, done.lines["error"], done.lines["unchanged"]) == (5, "a: not enough space", "plan changes nothing")
    assert pinned.outside("plan", "big:1b", "--media", "1M").code == 5
    assert pinned.outside("plan", "big:1b", "--media", "x").code == 2
    assert pinned.outside("plan", "big:1b", "--parity", "0.05").code == 2
    assert pinned.outside("plan", "--to", "nowhere").code == 6
    assert pinned.outside("plan", "nobody:1b").code == 6


def test_the_plan_names_the_command_that_does_it(pinned):
    """What was asked of the plan stands in the command after it."""
    done = pinned.ok("out", "plan", "big:1b", "--media", "5M,5M,5M", "--part-size", "1MiB", "--parity", "50%")
    assert done.out.splitlines()[-1] == (
        "next: airlock export library/big:1b --to MEDIUM --media 5M,5M,5M --part-size 1048576 --parity 50% --recipient site.pub"
    )
    pinned.path("a").mkdir()
    done = pinned.ok("out", "plan", "--to", "a", "--metadata-only")
    assert done.out.splitlines()[-1] == "next: airlock export --to a --metadata-only --recipient site.pub"


def test_import_plan(healing):
    """What is here, what is missing, what parity makes up for; nothing changes."""
    before, events = healing.holdings(), len(healing.events())
    [plan] = healing.ok("in", "import", "--plan", "a", "--json").json["sets"]
    assert (plan["new"], plan["needed"], plan["at_hand"]) == (["library/big:1b-r1"], [1, 2, 3, 4, 5, 6], [1, 2, 3])
    assert plan["missing"] == [4, 5, 6]
    assert (plan["to_read"], plan["problem"]) == (3 * MIB, None)
    [plan] = healing.ok("in", "import", "--plan", "a", "c", "--json").json["sets"]
    assert (plan["at_hand"], plan["missing"]) == ([1, 2, 3], [])
    part(healing, 1).unlink()
    [plan] = healing.ok("in", "import", "--plan", "a", "c", "--json").json["sets"]
    assert plan["missing"] == [1, 4, 5, 6]
    assert (healing.holdings(), len(healing.events())) == (before, events)
    assert not healing.path("in/incoming").exists() or not list(healing.path("in/incoming").iterdir())
    healing.inside("import", "c")
    healing.inside("import", "a")
    document = healing.ok("in", "import", "--plan", "a", "b", "--json").json
    [plan] = document["sets"]
    assert (plan["needed"], plan["at_hand"], plan["missing"]) == ([1, 4, 5, 6], [4, 5, 6], [])
    assert document["to_read"] == plan["to_read"] == healing.path("big.gguf").stat().st_size - 2 * MIB or plan["to_read"] < 3 * MIB
    healing.ok("in", "import", "b")
    assert big_is_here(healing)
    text = healing.ok("in", "import", "--plan", "a", "b", "c").out
    assert "is here already" in text
    assert "/s of the last imports" in text or "no import was measured here yet" in text


def test_other_labels_when_an_export_continues(pinned, monkeypatch):
    """What is finished keeps its label; log, sheet and medium agree on the rest."""

    def pulled_out(*_):
        raise MediumDamaged("pulled out")

    interrupted(pinned, "--media", "4M", "--label", "ONE", "--label", "TWO")
    with monkeypatch.context() as patch:
        patch.setattr("registry.workflow.parts.Parts.read_back", pulled_out)
        assert pinned.outside(*export_words("abc", "--media", "4M", "--label", "ONE", "--label", "TWO")).code == 5
    assert json.loads((pinned.folder("b") / "medium.json").read_bytes())["label"] == "TWO"
    done = export(pinned, "abc", "--media", "4M", "--label", "UNO", "--label", "DUE")
    labels = [each["label"] for each in done["media"]]
    assert labels == ["ONE", "DUE", f"{done['set'][-6:]}-3"]
    assert [json.loads((pinned.folder(name) / "medium.json").read_bytes())["label"] for name in "abc"] == labels
    assert all(pinned.path("out/sheets", f"{label}.html").exists() for label in labels)
    rows = [row["label"] for row in pinned.ok("out", "medium", "list", "--json").json if row["set"] == done["set"]]
    assert sorted(rows) == sorted(labels)
    pinned.ok("in", "import", "a", "b", "c")


def test_the_same_medium_twice(spanned):
    """Named twice, or come again: nothing is read twice, nothing is counted twice."""
    assert spanned.inside("import", "a", "a").code == 5
    assert status(spanned)[0]["missing"] == [3, 4, 5, 6]
    again = spanned.inside("import", "a", "--json")
    assert (again.code, again.json["error"]["missing"]) == (5, [3, 4, 5, 6])
    read = [event for event in spanned.events() if event["verb"] == "medium.read" and event["subject"]["media"] == 3]
    assert [event["subject"]["medium"] for event in read] == [1]


def test_a_wrong_medium_in_between(spanned):
    """A stick of an older set among them: it is nothing new, and the set goes on."""
    assert spanned.inside("import", "a").code == 5
    done = spanned.inside("import", "usb")
    assert done.code == 4
    assert status(spanned)[0]["missing"] == [3, 4, 5, 6]
    spanned.ok("in", "import", "usb", "b", "c")
    assert big_is_here(spanned)
