"""The log is the state: whoever changes the database without the keys is found out."""

import contextlib
import json
import re
import sqlite3
from datetime import UTC, datetime

import pytest

from registry.content import canonical
from registry.content.digest import digest_of
from registry.errors import FormatRefused, StoreFailed
from registry.store.home import Home
from registry.store.log import parse_event
from registry.workflow.actor import Credentials
from registry.workflow.site import open_site, read_site


@contextlib.contextmanager
def tampered(world, home="in"):
    """The database, open to somebody with a tool."""
    with contextlib.closing(sqlite3.connect(world.path(home, "airlock.db"))) as database:
        yield database
        database.commit()


def problems(world):
    try:
        with read_site(Home(world.path("in"))) as log:
            return list(log.problems())
    except StoreFailed as error:
        return [str(error)]


def test_nothing_to_complain_about(serving):
    assert problems(serving) == []
    with read_site(Home(serving.path("in"))) as log:
        events = list(log.events())
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert [event.prev for event in events[1:]] == [event.digest for event in events[:-1]]
        assert events[0].prev is None
        assert log.head() == events[-1]
        assert [event.seq for event in log.events(start=3)] == list(range(3, len(events) + 1))


def test_events_name_no_people_and_hold_no_documents(serving):
    with read_site(Home(serving.path("in"))) as log:
        for event in log.events():
            assert len(event.document) < 64 << 10
            assert set(json.loads(event.document)) == {"v", "seq", "time", "actor", "verb", "subject", "prev"}
            assert str(serving.root).encode() not in event.document


TAMPERING = {
    "state of a release": ("UPDATE releases SET state = 'approved' WHERE state = 'promoted'", "table releases is not what the log says"),
    "number of a release": ("UPDATE releases SET number = 99 WHERE number = 2", "table releases is not what the log says"),
    "a release less": ("DELETE FROM releases WHERE number = 2", "table releases is not what the log says"),
    "another manifest": ("UPDATE releases SET manifest = 'sha256:' || hex(zeroblob(32))", "table releases is not what the log says"),
    "namespaces of a publisher": ("UPDATE publishers SET namespaces = '[]'", "table publishers is not what the log says"),
    "floor of the clock": ("UPDATE publishers SET issued = '2020-01-01T00:00:00Z'", "table publishers is not what the log says"),
    "a person's key": ("UPDATE people SET key_id = 'x'", "table people is not what the log says"),
    "a set forgotten": ("DELETE FROM sets", "table sets is not what the log says"),
    "last event gone": ("DELETE FROM events WHERE seq = (SELECT MAX(seq) FROM events)", r"the published view says \d+ events, the log has \d+"),
    "an event gone": ("DELETE FROM events WHERE seq = 4", "event 5 does not follow the one before it: the log was cut or rewritten there"),
    "first event gone": ("DELETE FROM events WHERE seq = 1", "event 2 does not follow the one before it"),
    "an edited event": ("UPDATE events SET document = CAST(replace(document, 'library/tiny', 'library/tinx') AS BLOB) WHERE seq = 5", "event 5"),
    "an event as text": ("UPDATE events SET document = CAST(document AS TEXT) WHERE seq = 5", "event: not bytes with a signature"),
    "no signature": ("UPDATE events SET signature = x'00' WHERE seq = 5", "event: not bytes with a signature"),
    "numbers that are none": (
        'UPDATE events SET document = CAST(replace(document, \'"seq":5\', \'"seq":"5"\') AS BLOB) WHERE seq = 5',
        "event: a member has another type",
    ),
    "a subject that is none": (
        "UPDATE events SET document = CAST(replace(document, '\"repository\"', '\"suppository\"') AS BLOB)",
        "not readable|not canonical|can't be applied",
    ),
    "a document as text": ("UPDATE documents SET data = CAST(data AS TEXT)", "is damaged in the database"),
    "an edited signature": ("UPDATE events SET signature = replace(signature, 'a', 'b') WHERE seq = 3", "event 3: its signature is not valid"),
    "a signature of another event": (
        "UPDATE events SET signature = (SELECT signature FROM events WHERE seq = 2) WHERE seq = 3",
        "event 3: its signature",
    ),
    "not an event": ("UPDATE events SET document = x'7b7d' WHERE seq = 3", "event: not one of this version"),
    "a document": ("UPDATE documents SET data = x'00'", "is damaged in the database"),
}


@pytest.mark.parametrize(("sql", "found"), TAMPERING.values(), ids=TAMPERING)
def test_tampering_is_found(serving, sql, found):
    with tampered(serving) as database:
        database.execute(sql)
    listed = problems(serving)
    assert any(re.search(found, each) for each in listed), listed
    done = serving.inside("check")
    assert done.code == 7
    assert re.search(found, done.err)
    assert done.lines["unchanged"] == "check changes nothing"


def test_rewriting_the_chain_needs_the_keys(serving):
    """Whoever owns the database can recompute every ``prev``, but not the signatures."""
    with tampered(serving) as database:
        previous = None
        for seq, document in database.execute("SELECT seq, document FROM events ORDER BY seq").fetchall():
            members = json.loads(document)
            members["prev"] = previous
            if members["verb"] == "metadata.accept":
                members["subject"]["issued"] = "2020-01-01T00:00:00Z"
            again = canonical.dump(members)
            previous = digest_of(again)
            database.execute("UPDATE events SET document = ? WHERE seq = ?", (again, seq))
    listed = problems(serving)
    assert any("its signature is not valid" in each for each in listed), listed


def test_event_and_projection_commit_together(serving):
    """An event that can't be applied leaves nothing behind."""
    before = serving.events()
    with open_site(Home(serving.path("in")), Credentials(lambda: serving.passphrase), "test") as site:
        [release, *_] = site.log.releases()
        with pytest.raises(StoreFailed), site.log.transaction():
            site.log.append(
                "release.quarantine", {**release.subject(), "statement": release.statement, "set": "x"}, signer=site.actor, now=datetime.now(UTC)
            )
    assert serving.events() == before
    assert problems(serving) == []


def test_a_document_is_checked_when_it_is_read(serving):
    with tampered(serving) as database:
        database.execute("UPDATE documents SET data = x'00'")
    done = serving.inside("import", "usb")
    assert done.code == 7
    assert "damaged in the database" in done.lines["error"]


def test_an_event_too_large(serving):
    with (
        open_site(Home(serving.path("in")), Credentials(lambda: serving.passphrase), "test") as site,
        pytest.raises(StoreFailed, match="too large for the log"),
        site.log.transaction(),
    ):
        site.log.append("set.refuse", {"what": "x" * 70_000}, signer=site.actor, now=datetime.now(UTC))


def test_another_schema_version(serving):
    with tampered(serving) as database:
        database.execute("PRAGMA user_version = 99")
    done = serving.inside("list")
    assert done.code == 7
    assert "has schema version 99" in done.lines["error"]
    assert "use the airlock that made it" in done.lines["hint"]


@pytest.mark.parametrize("content", [None, b"", b"not a database" * 1000])
def test_no_database(serving, content):
    path = serving.path("in/airlock.db")
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    done = serving.inside("list")
    assert done.code == 7
    assert "database" in done.lines["error"] or "schema" in done.lines["error"]
    assert path.exists() == (content is not None), "reading makes no database"


@pytest.mark.parametrize("document", [b"{}", b"[]", b"", b'{"v":2}', b'{"actor":"a","prev":"x","seq":1,"subject":{},"time":"","v":1,"verb":""}'])
def test_not_an_event(document):
    with pytest.raises(FormatRefused):
        parse_event(document, "00")


def test_tables_of_another_version_are_projected_anew_from_the_events(serving, tree):
    """An update changes tables, never events: what an older airlock projected is made again, whichever command comes first."""
    before = serving.holdings()
    with tampered(serving) as database:
        database.execute("ALTER TABLE releases ADD COLUMN older TEXT")
        database.execute("DROP TABLE sets")
        database.execute("CREATE TRIGGER odd AFTER INSERT ON events BEGIN DELETE FROM releases; END")
    assert serving.ok("in", "list", "--json").json[0]["state"] == "promoted"
    assert problems(serving) == []
    assert serving.holdings() == before


def test_events_of_a_newer_version_are_refused(serving):
    with tampered(serving) as database:
        database.execute("ALTER TABLE releases ADD COLUMN newer TEXT")
        [(document, seq)] = database.execute("SELECT document, seq FROM events WHERE seq = 2")
        database.execute("UPDATE events SET document = ? WHERE seq = ?", (document.replace(b"trust.add", b"trust.new"), seq))
    done = serving.inside("list")
    assert (done.code, "event 2 (trust.new) can't be applied" in done.lines["error"]) == (7, True)
    assert "newer one" in done.lines["hint"]
    with tampered(serving) as database:
        assert "newer" in database.execute("SELECT sql FROM sqlite_master WHERE name = 'releases'").fetchone()[0], "nothing was thrown away"
