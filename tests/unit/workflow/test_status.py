"""Status: each notice with the command that comes next, without a passphrase."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from registry.store.home import Home
from registry.workflow.status import status


def notices(world, home, days=0):
    return {each.sentence: each.command for each in status(Home(world.path(home)), now=datetime.now(UTC) + timedelta(days=days))}


def find(world, home, pattern, days=0):
    found = [(sentence, command) for sentence, command in notices(world, home, days).items() if re.search(pattern, sentence)]
    assert found, notices(world, home, days)
    return found[0][1]


def test_quarantined_releases_wait(imported):
    assert find(imported, "in", "library/tiny:1b-r1 is in quarantine") == "airlock approve library/tiny:1b@1"
    imported.ok("in", "approve", "library/tiny:1b@1")
    assert not any("tiny:1b-r1" in each for each in notices(imported, "in"))


def test_no_passphrase(imported):
    for home in ("in", "out"):
        assert imported.airlock("--home", home, "status").code == 0
        document = imported.airlock("--home", home, "status", "--json").json
        assert {each["kind"] for each in document["notices"]} <= {"waits", "ends", "single"}
    assert "waits for somebody\n  library/tiny:1b-r1" in imported.airlock("--home", "in", "status").out


def test_a_withdrawal_waits_for_a_person(serving):
    serving.ok("out", "withdraw", "tiny:1b", "--why", "Answers wrongly.", "--severity", "no-new-promotion")
    serving.path("late").mkdir()
    serving.ok("out", "export", "--metadata-only", "--to", "late", "--recipient", "in/site.pub")
    serving.ok("in", "import", "late")
    command = find(serving, "in", r"library/tiny:1b-r1 \(promoted\) was withdrawn by its publisher: Answers wrongly")
    assert command == "airlock withdraw library/tiny:1b@1"
    serving.ok("in", *command.split()[1:])
    assert not any("was withdrawn" in each for each in notices(serving, "in"))


def test_proposals_wait(serving):
    serving.two_people()
    number = serving.acting("anna", "clock", "reset", "--json").json["proposal"]
    assert find(serving, "in", r'\("anna"\) proposes to forget') == f"airlock confirm {number} --actor DIR"


@pytest.mark.parametrize(
    ("home", "pattern", "days"),
    [
        ("in", "the newest set imported ends", 40),
        ("in", r"targets\.json ends", 700),
        ("in", r"root\.json ends", 3620),
        ("in", "the newest set imported ended", 100),
        ("out", "the delivery window of the newest set ends", 40),
        ("out", "the list of releases ends", 700),
        ("out", "the root of trust ends", 3620),
    ],
)
def test_what_ends_within_sixty_days(imported, home, pattern, days):
    assert find(imported, home, pattern, days)
    assert not any(re.search(pattern, each) for each in notices(imported, home, days=0))


def test_single_points_of_failure(exported):
    assert find(exported, "out", "only one release key; its holder is not noted") == "airlock root add-key FILE --role release"
    assert find(exported, "in", "only one person may act here") == "airlock people add LABEL --key FILE.pub"
    exported.ok("out", "root", "add-key", exported.person("bert"), "--role", "release", "--holder", "pharmacy-ai")
    assert find(exported, "out", "root 2 lacks 1 of 1 signature") == "airlock root sign MEDIUM"
    exported.ok("out", "root", "sign")
    assert not any("release key" in each for each in notices(exported, "out"))
    exported.ok("out", "root", "set-threshold", "release=2")
    exported.ok("out", "root", "sign")
    assert find(exported, "out", "all 2 release keys must sign")


def test_drafts_name_who_must_sign(exported):
    exported.ok("out", "root", "add-key", exported.person("bert"), "--role", "release", "--holder", "pharmacy-ai")
    exported.ok("out", "root", "set-threshold", "release=2")
    exported.ok("out", "root", "sign")
    exported.path("sig").mkdir()
    exported.ok("out", "release", "prepare", "sig")
    assert (
        find(exported, "out", r'of releases lacks 1 of 2 signature\(s\) of release; these may sign: .*\("pharmacy-ai"\)')
        == "airlock release prepare MEDIUM"
    )


def test_a_root_without_enough_keys(make_world):
    world = make_world("empty")
    world.ok("out", "init", "--threshold", "release=2")
    assert find(world, "out", "the root needs 2 keys for release, it has 1") == "airlock root add-key FILE --role release"


def test_being_restored(serving):
    serving.two_people()
    serving.ok("in", "confirm", str(serving.acting("anna", "restore", "--json").json["proposal"]))
    assert find(serving, "in", "this site is being restored") == "airlock import MEDIUM"
