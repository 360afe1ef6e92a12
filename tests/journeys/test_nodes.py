"""Commands that say whom the server knows: what they print, what they refuse, what the server learns."""

import base64
import json
import sqlite3

import pytest

from registry.content.view import parse_view


def key(number):
    """A public key as ``id_ed25519.pub`` holds it."""
    return "ssh-ed25519 " + base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes([number]) * 32).decode() + " ollama@node"


def view(world):
    return parse_view(world.path("in/published/view.json").read_bytes())


def test_enroll_list_revoke(serving):
    done = serving.ok("in", "node", "enroll", "gpu-01", "--key", key(1))
    assert done.out.startswith("enrolled gpu-01  SHA256:")
    [listed] = serving.ok("in", "node", "list", "--json").json
    assert (listed["name"], listed["key"], listed["groups"], listed["certificate"]) == ("gpu-01", key(1).rpartition(" ")[0], [], "")
    assert [node.name for node in view(serving).nodes] == ["gpu-01"]
    assert serving.ok("in", "node", "enroll", "gpu-01", "--key", key(1), "--json").json["changed"] is False
    serving.ok("in", "node", "enroll", "gpu-01", "--key", key(1), "--group", "test", "--group", "clinic", "--group", "test")
    assert view(serving).nodes[0].groups == ("clinic", "test")
    serving.ok("in", "node", "enroll", "scan-01", "--certificate", "scan-01.site.internal")
    assert "scan-01.site.internal" in serving.ok("in", "node", "list").out
    serving.ok("in", "node", "revoke", "gpu-01")
    assert [node.name for node in view(serving).nodes] == ["scan-01"]
    verbs = [event["verb"] for event in serving.events()]
    assert verbs[-4:] == ["node.enroll", "node.enroll", "node.enroll", "node.revoke"]
    assert serving.airlock("--home", "in", "check").code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (["gpu-02"], 2, "a node is known by one key or by a certificate"),
        (["gpu-02", "--key", key(1)], 3, "node gpu-02: this key or certificate belongs to the node gpu-01"),
        (["gpu-01", "--key", key(2)], 3, "node gpu-01: is enrolled with another key or certificate"),
        (["GPU", "--key", key(2)], 3, "node: 'GPU' can't be its name"),
        (["dr smith", "--key", key(2)], 3, "node: 'dr smith' can't be its name"),
        (["gpu-02", "--key", "ssh-rsa AAAA"], 3, "node gpu-02: not an Ed25519 public key as OpenSSH writes it"),
        (["gpu-02", "--key", key(2), "--group", "A B"], 3, "group: 'A B' can't be its name"),
        (["gpu-02", "--pending", "SHA256:none"], 6, "SHA256:none: no such key has knocked"),
        (["gpu-02", "--certificate", "*.internal"], 3, "node gpu-02: '*.internal' is not a host name in lower case"),
    ],
)
def test_refused(serving, arguments, code, error):
    serving.ok("in", "node", "enroll", "gpu-01", "--key", key(1))
    before = serving.path("in/published/view.json").read_bytes()
    refused = serving.inside("node", "enroll", *arguments)
    assert (refused.code, refused.lines["error"]) == (code, error)
    assert refused.lines["unchanged"] == "nobody was enrolled"
    assert serving.path("in/published/view.json").read_bytes() == before


def test_rules(serving):
    done = serving.ok("in", "access", "allow", "clinic", "clinical/*")
    assert "from now on nodes may pull nothing else" in done.err
    assert "from now on" not in serving.ok("in", "access", "allow", "everyone", "library/*").err
    assert serving.ok("in", "access", "allow", "clinic", "clinical/*", "--json").json["changed"] is False
    assert serving.ok("in", "access", "list", "--json").json == [
        {"group": "clinic", "pattern": "clinical/*"},
        {"group": "everyone", "pattern": "library/*"},
    ]
    serving.ok("in", "access", "remove", "clinic", "clinical/*")
    assert [rule.group for rule in view(serving).rules] == ["everyone"]
    assert serving.inside("access", "remove", "clinic", "clinical/*").code == 6
    assert serving.inside("access", "allow", "clinic", "everything").code == 3
    assert serving.airlock("--home", "in", "check").code == 0


def test_tokens_are_shown_once_and_kept_as_digests(serving):
    done = serving.ok("in", "token", "issue", "scanner", "--repository", "library/*", "--days", "90", "--json")
    text = done.json["text"]
    assert text.startswith("airlock_")
    assert len(text) > 40
    [listed] = serving.ok("in", "token", "list", "--json").json
    assert listed == {name: value for name, value in done.json.items() if name != "text"}
    assert [token.name for token in view(serving).tokens] == ["scanner"]
    for file in serving.path("in").rglob("*"):
        assert not file.is_file() or text.encode() not in file.read_bytes(), file
    again = serving.inside("token", "issue", "scanner", "--repository", "library/*", "--days", "1")
    assert (again.code, again.lines["error"]) == (3, "token scanner: is good still")
    serving.ok("in", "token", "revoke", "scanner")
    assert view(serving).tokens == ()
    assert serving.inside("token", "revoke", "scanner").code == 6
    assert serving.inside("token", "issue", "scanner", "--days", "1").code == 2
    assert serving.inside("token", "issue", "scanner", "--repository", "library/*", "--days", "1000").code == 2
    assert serving.airlock("--home", "in", "check").code == 0


def write_journal(world, *entries):
    """Write an access journal as the server does."""
    from registry.server.journal import Journal
    from registry.server.metrics import Tallies

    world.path("in/server").mkdir(exist_ok=True)
    journal = Journal(world.path("in/server/access.jsonl"), now=lambda: 1_800_000_000.0, tally=Tallies(0).row(0))
    for each in entries:
        journal.knocked(each, peer="10.0.0.7", repository="library/tiny")
    journal.close()


def test_a_knock_is_pending_until_it_is_enrolled(serving):
    assert "nobody has knocked" in serving.ok("in", "node", "pending").out
    known = key(7).rpartition(" ")[0]
    write_journal(serving, known)
    [pending] = serving.ok("in", "node", "pending", "--json").json
    assert (pending["key"], pending["peer"], pending["times"]) == (known, "10.0.0.7", 1)
    serving.ok("in", "node", "enroll", "gpu-07", "--pending", pending["keyid"])
    assert view(serving).nodes[0].key == known
    assert serving.ok("in", "node", "pending", "--json").json == []


def test_the_journal_enters_the_log_and_can_no_longer_be_changed_unnoticed(serving):
    assert serving.inside("journal", "check").code == 6
    write_journal(serving, "first knock")
    serving.ok("in", "node", "enroll", "gpu-01", "--key", key(1))
    assert [event["verb"] for event in serving.events()][-2:] == ["node.enroll", "journal.checkpoint"]
    assert serving.ok("in", "journal", "check", "--json").json["noted"] is True
    write_journal(serving, "second knock")
    assert serving.ok("in", "journal", "check", "--json").json["noted"] is False
    noted = serving.ok("in", "journal", "checkpoint", "--json").json
    assert noted["entries"] == 2
    assert serving.airlock("--home", "in", "check").code == 0
    path = serving.path("in/server/access.jsonl")
    whole = path.read_bytes()
    path.unlink()
    write_journal(serving, "first knock")
    refused = serving.inside("journal", "check")
    assert (refused.code, refused.lines["why"]) == (7, "the log noted 2 lines, found 1")
    path.unlink()
    write_journal(serving, "first knock", "another knock")
    assert serving.inside("journal", "check").lines["why"] == "line 2 is not what the log noted of it"
    warned = serving.ok("in", "node", "revoke", "gpu-01")
    assert "the access journal was not noted in the log" in warned.err
    path.write_bytes(whole)
    assert serving.ok("in", "journal", "check", "--json").json["noted"] is True
    path.unlink()
    write_journal(serving, "a new journal, since the old one was moved away")
    assert serving.inside("journal", "checkpoint").code == 0


def test_a_log_that_breaks_the_rules_about_nodes_does_not_pass_check(serving):
    serving.ok("in", "node", "enroll", "gpu-01", "--key", key(1))
    with sqlite3.connect(serving.path("in/airlock.db")) as database:
        database.execute("UPDATE nodes SET key = ?", (key(9).rpartition(" ")[0],))
    refused = serving.airlock("--home", "in", "check")
    assert refused.code == 7
    assert "table nodes" in refused.err
    assert json.loads(serving.path("in/published/view.json").read_text())["nodes"][0]["key"] == key(1).rpartition(" ")[0]
