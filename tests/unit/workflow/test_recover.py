import json
import os
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from registry.errors import RecipientRefused, SignatureRefused, TrustRefused
from registry.store.home import Home
from registry.store.keystore import create_keystore, open_keystore
from registry.workflow.identities import identities_in, with_identities
from registry.workflow.recover import SKIPPED_NUMBERS, SKIPPED_VERSIONS, recover
from registry.workflow.station import read_station

ROLES = ("timestamp", "snapshot", "targets")


def lose(world, *, all_but_keystore=False):
    """Lose the station's database, or everything in its home but the keystore."""
    for path in world.path("out").iterdir():
        if path.name.startswith("airlock.db") or (all_but_keystore and path.name != "keystore.json"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def state(world):
    """What the station knows of releases, withdrawals, roots, and which versions and number come next."""
    with read_station(Home(world.path("out"))) as log:
        return {
            "releases": log.releases(),
            "withdrawals": log.withdrawals(),
            "roots": log.roots(),
            "versions": {role: log.next_version(role) - 1 for role in ROLES},
            "number": log.next_number("library/tiny"),
        }


def test_from_one_medium(imported):
    before = state(imported)
    lose(imported)
    done = imported.ok("out", "station", "recover", "usb", "--json").json
    after = state(imported)
    assert {name: after[name] for name in ("releases", "withdrawals", "roots")} == {
        name: before[name] for name in ("releases", "withdrawals", "roots")
    }
    assert after["versions"] == {role: version + SKIPPED_VERSIONS for role, version in before["versions"].items()}
    assert after["number"] == 2 + SKIPPED_NUMBERS + 1
    assert done["next_number"] == after["number"]
    assert done["next_versions"] == {role: version + 1 for role, version in after["versions"].items()}
    assert done["fingerprint"] == imported.fingerprint()
    assert [row["release"] for row in done["releases"]] == [1, 2]
    imported.ok("out", "check")
    assert [event["verb"] for event in imported.events("out")] == [
        "station.init",
        "metadata.sign",
        "release.number",
        "release.number",
        "station.recover",
    ]


def test_with_the_keystore_alone(imported):
    lose(imported, all_but_keystore=True)
    done = imported.ok("out", "station", "recover", "usb")
    assert "pins.toml is not here" in done.err
    imported.ok("out", "check")
    imported.ok("out", "pin", "tiny:1b", "--from", "file:one.gguf")
    imported.export("word")  # the same bytes under the same name: the release that it was, with the evidence that lay on the medium
    assert [row["release"] for row in imported.ok("out", "pins", "--json").json] == [1]
    imported.ok("in", "import", "word")
    imported.ok("out", "check")


def test_from_several_media_with_withdrawals(offered):
    offered.ok("out", "withdraw", "tiny:2b", "--why", "Superseded.")
    offered.path("word").mkdir()
    offered.ok("out", "export", "--metadata-only", "--to", "word", "--recipient", "in/site.pub")
    before = state(offered)
    lose(offered)
    done = offered.ok("out", "station", "recover", "word", "usb", "stick", "--json").json
    assert len(done["sets"]) == 3
    assert done["newest"] == offered.folder("word").name
    assert done["withdrawn"] == 1
    after = state(offered)
    assert (after["releases"], after["withdrawals"]) == (before["releases"], before["withdrawals"])
    offered.ok("out", "check")


def test_a_missing_statement_is_refused_with_nothing_written(offered, tree):
    lose(offered)
    before = tree(offered.path("out"))
    done = offered.outside("station", "recover", "stick")
    assert done.code == 5
    assert "2 statement(s) are on none of these media" in done.lines["error"]
    assert "more of the station's media" in done.lines["hint"]
    after = tree(offered.path("out"))
    assert {name: digest for name, digest in after.items() if name != "lock"} == {name: digest for name, digest in before.items() if name != "lock"}


def test_the_next_export_is_newer_than_what_a_site_had_after_the_newest_medium(imported):
    """The site imported metadata from a medium that is gone: what follows a recovery is above them."""
    for name in ("gone", "gone-too"):
        imported.export(name, "tiny:1b")
        imported.ok("in", "import", name)
    lose(imported)
    imported.ok("out", "station", "recover", "usb")
    imported.model("three.gguf", 3)
    imported.ok("out", "pin", "tiny:1b", "--from", "file:three.gguf")
    imported.export("word")
    imported.ok("in", "import", "word")
    numbers = [number for _, number, _ in imported.releases()]
    assert sorted(numbers) == [1, 2, 2 + SKIPPED_NUMBERS + 1]


def test_the_list_is_newer_too_although_it_says_the_same(imported):
    imported.export("word", "tiny:1b")
    lose(imported)
    imported.ok("out", "station", "recover", "usb", "word")
    newest = imported.export("newest")
    versions = {role: json.loads((newest / f"metadata/{role}.json").read_bytes())["signed"]["version"] for role in ROLES}
    assert versions == {"timestamp": SKIPPED_VERSIONS + 3, "snapshot": SKIPPED_VERSIONS + 3, "targets": SKIPPED_VERSIONS + 2}
    imported.ok("in", "import", "newest")


def test_a_medium_older_than_the_delivery_window_is_as_good(imported):
    lose(imported)
    done = recover(
        Home(imported.path("out")), [imported.path("usb")], lambda: imported.passphrase, replace_database=False, now=datetime(2031, 1, 1, tzinfo=UTC)
    )
    assert len(done.releases) == 2


def test_a_database_is_replaced_only_when_told(offered):
    older = offered.path("older.db")
    shutil.copy(offered.path("out", "airlock.db"), older)
    assert offered.outside("station", "recover", "usb").code == 2
    done = offered.ok("out", "station", "recover", "usb", "stick", "--replace-database", "--json").json
    aside = offered.path(done["replaced"])
    assert (aside / "airlock.db").read_bytes() == older.read_bytes()
    offered.ok("out", "check")


def test_another_keystore_is_refused(imported):
    lose(imported)
    imported.path("out", "keystore.json").unlink()
    imported.path("out", "home.json").unlink()
    imported.airlock("--home", "other", "--passphrase-file", "passphrase", "init")
    shutil.copy(imported.path("other", "keystore.json"), imported.path("out", "keystore.json"))
    done = imported.outside("station", "recover", "usb", "--json")
    assert done.code == 3
    assert done.json["error"]["kind"] == RecipientRefused.__name__
    assert not imported.path("out", "airlock.db").exists()
    assert imported.outside("station", "recover", "usb", "--home", "in").code == 2


def test_a_chain_of_roots_that_our_key_does_not_vouch_for_is_refused(imported):
    """Whoever can write a medium can write roots of their own, even ones that name our key, and seal the set to us."""
    evil = ("--home", "evil", "--passphrase-file", "passphrase")
    for words in (
        ("init",),
        ("pin", "tiny:1b", "--from", "file:one.gguf"),
        ("export", "--to", "stranger", "--recipient", "in/site.pub"),
        ("root", "add-key", "station.pub", "--role", "station"),
        ("root", "sign"),
        ("export", "--to", "forged", "--recipient", "in/site.pub"),
    ):
        imported.path("stranger").mkdir(exist_ok=True)
        imported.path("forged").mkdir(exist_ok=True)
        imported.ok("out", "key", "show", "station", "--to", "station.pub")
        assert imported.airlock(*evil, *words).code == 0
    lose(imported)
    sealed_to = identities_in(open_keystore(imported.path("evil"), imported.passphrase))
    ours = open_keystore(imported.path("out"), imported.passphrase)
    create_keystore(imported.path("out"), imported.passphrase, with_identities(ours, sealed_to))
    for medium, kind in (("stranger", TrustRefused), ("forged", SignatureRefused)):
        refused = imported.outside("station", "recover", medium, "--json")
        assert (refused.code, refused.json["error"]["kind"]) == (3, kind.__name__)
    assert not imported.path("out", "airlock.db").exists()


def test_sets_of_two_histories_are_refused(imported, make_world):
    """The same keystore worked in two places: nobody can tell which list counts."""
    other = make_world("imported", "other")
    for world in (imported, other):
        world.model("three.gguf", 3 if world is imported else 4)
        world.ok("out", "pin", "tiny:1b", "--from", "file:three.gguf")
        world.export("word")
    lose(imported)
    done = imported.outside("station", "recover", "usb", "word", other.path("word"), "--json")
    assert (done.code, done.json["error"]["kind"]) == (3, TrustRefused.__name__)
    assert "not of one history" in done.json["error"]["what"]


KILL = "lambda *_: os.kill(os.getpid(), 9)"


@pytest.mark.parametrize("option", [(), ("--replace-database",)])
@pytest.mark.parametrize(
    "patch",
    [
        f"from registry.store.station import Station; Station.close = {KILL}",
        f"from pathlib import Path; Path.rename = {KILL}",
        f"from registry.store.home import Home; Home.mark = {KILL}",
        "from pathlib import Path; real = Path.rename; Path.rename = lambda *names: (real(*names), os.kill(os.getpid(), 9))",
    ],
    ids=["before-close", "before-rename", "before-mark", "after-rename"],
)
def test_killed_at_any_point_the_same_command_works_again(imported, option, patch):
    """The process kills itself there: the database is whole, or there is none that the same command would refuse."""
    if not option:
        lose(imported, all_but_keystore=True)
    words = ["--home", "out", "--passphrase-file", "passphrase", "station", "recover", "usb", *option]
    script = f"import os\n{patch}\nfrom registry.cli.main import main\nmain({words!r})"
    killed = subprocess.run([sys.executable, "-c", script], cwd=imported.root, env=os.environ, capture_output=True, check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    if option or not imported.path("out", "airlock.db").exists():
        done = imported.airlock(*words)
        assert done.code == 0, done.err
    imported.ok("out", "check")
    assert not list(imported.path("out").glob(".airlock-*"))


def test_signers_elsewhere_sign_the_list_anew(imported):
    imported.ok("out", "root", "add-key", imported.person("anna"), "--role", "release")
    imported.ok("out", "root", "set-threshold", "release=2")
    imported.ok("out", "root", "sign")
    imported.path("word").mkdir()

    def export_with_anna():
        assert imported.outside("export", "--to", "word", "--recipient", "in/site.pub").code == 3
        imported.ok("out", "release", "prepare", "word")
        assert imported.airlock("--home", "anna", "--passphrase-file", "passphrase", "--yes", "sign", "word", "--key", "k").code == 0
        imported.ok("out", "release", "prepare", "word")
        imported.ok("out", "export", "--to", "word", "--recipient", "in/site.pub")

    export_with_anna()
    lose(imported)
    imported.ok("out", "station", "recover", "word")
    export_with_anna()
    imported.ok("in", "import", "word")
    imported.ok("out", "check")
