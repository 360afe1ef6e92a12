"""What is counted: laid out before the first request, shared by workers, and said to nobody but those who ask at its own listener."""

import contextlib
import fcntl
import http.client
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from registry.server.metrics import (
    ANSWER_SECONDS,
    FAMILIES,
    LOOP_LAG,
    REFUSALS,
    REQUESTS,
    TRANSFERS_ACTIVE,
    WORKERS,
    Kind,
    Tallies,
)
from registry.server.reasons import Reason
from registry.server.routes import Route, parse_target

MODEL = "/v2/library/gemma3"


def scrape(port, path="/metrics"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def values(text):
    """Return the samples: name and labels, in the order of their names, to value."""
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, labels, value = re.fullmatch(r"([a-z_]+)(?:\{(.*)\})? (\S+)", line).groups()
            found[(name, *sorted(re.findall(r'(\w+)="([^"]*)"', labels or "")))] = float(value)
    return found


@pytest.fixture
def watched(home, start):
    """``with watched(**options) as (server, port):`` runs a server with a listener for metrics at this port."""

    @contextlib.contextmanager
    def run(**options):
        home.promoted = home.add("library/gemma3:270m", 1, "promoted", b"weights" * 1000)
        home.add("library/gemma3:270m", 2, "approved", b"other weights")
        home.publish()
        with start(home, metrics_listen=["127.0.0.1", 0], **options) as server:
            yield server, int(re.fullmatch(r"http://127\.0\.0\.1:(\d+)/metrics", server.metrics)[1])

    return run


def test_names_are_prometheus_names():
    for family in FAMILIES:
        assert re.fullmatch(r"airlock_[a-z]+(_[a-z]+)*", family.name)
        assert not family.name.endswith(("_total", "_count", "_sum", "_bucket"))  # those come by themselves
        assert family.help.endswith(".")


def test_a_row_is_written_by_one_process_and_read_by_all():
    tallies = Tallies(2)
    child = os.fork()
    if not child:
        row = tallies.row(2)
        row.begin(os.getpid())
        row.count(REQUESTS, Route.BLOB, "206", by=3)
        row.observe(ANSWER_SECONDS, 0.3, Route.BLOB)
        row.set(TRANSFERS_ACTIVE, 5)
        row.set(LOOP_LAG, 7)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    mine = tallies.row(1)
    mine.begin(os.getpid())
    mine.count(REQUESTS, Route.BLOB, "206")
    mine.set(TRANSFERS_ACTIVE, 1)
    mine.set(LOOP_LAG, 2)
    assert tallies.read(REQUESTS, (Route.BLOB, "206")) == [4]
    assert tallies.read(TRANSFERS_ACTIVE, ()) == [6]
    assert tallies.read(LOOP_LAG, ()) == [7]
    *counts, total = tallies.read(ANSWER_SECONDS, (Route.BLOB,))
    assert (sum(counts), total) == (1, 0.3)
    assert counts[ANSWER_SECONDS.buckets.index(0.5)] == 1
    assert tallies.processes() == [os.getpid(), child]
    # the worker is replaced: what it counted stays, what was true of it doesn't
    tallies.row(2).begin(1)
    assert tallies.read(REQUESTS, (Route.BLOB, "206")) == [4]
    assert tallies.read(TRANSFERS_ACTIVE, ()) == [1]


def test_a_bucket_holds_its_upper_bound():
    """Prometheus, "Histogram": cumulative, less or equal."""
    tallies = Tallies(0)
    for bound in (*ANSWER_SECONDS.buckets, 99.0):
        tallies.row(0).observe(ANSWER_SECONDS, bound, Route.TOKEN)
    *counts, _ = tallies.read(ANSWER_SECONDS, (Route.TOKEN,))
    assert counts == [1] * len(counts)


def test_an_odd_status_is_counted_as_other():
    tallies = Tallies(0)
    tallies.row(0).answered(Route.OTHER, 418, 0.0)
    assert tallies.read(REQUESTS, (Route.OTHER, "other")) == [1]


@pytest.mark.parametrize(
    ("target", "route", "names"),
    [
        ("/v2/Library/Gemma3/manifests/270M", Route.MANIFEST, {"repository": "library/gemma3", "reference": "270M"}),
        ("/v2/library/gemma3/blobs/sha256:ab", Route.BLOB, {"repository": "library/gemma3", "digest": "sha256:ab"}),
        ("/v2/library/gemma3/tags/list?n=3", Route.TAGS, {"repository": "library/gemma3"}),
        ("/v2/library/gemma3/referrers/sha256:ab", Route.REFERRERS, {"repository": "library/gemma3", "digest": "sha256:ab"}),
        ("/v2/_catalog?n=1", Route.CATALOG, {}),
        ("/v2", Route.BASE, {}),
        ("/v2/", Route.BASE, {}),
        ("/token?nonce=1", Route.TOKEN, {}),
        ("/healthz", Route.HEALTH, {}),
        ("/capability/x", Route.LINK, {}),
        ("/v2/library/gemma3", Route.OTHER, {}),
        ("/metrics", Route.OTHER, {}),
        ("//v2/", Route.OTHER, {}),
        ("", Route.OTHER, {}),
    ],
)
def test_what_a_target_asks_for(target, route, names):
    assert parse_target(target) == (route, names)


def test_a_pull_is_counted(watched, home):
    with watched() as (server, port):
        manifest = server.ask(f"{MODEL}/manifests/270m")
        blob = server.ask(f"{MODEL}/blobs/{home.promoted.layers[0].digest}")
        part = server.ask(blob.headers["Location"], headers={"Range": "bytes=0-999"})
        assert (manifest.status, blob.status, part.status) == (200, 200, 206)
        assert scrape(port, "/")[0] == 404
        assert server.ask("/metrics").status == 404  # not where nodes ask
        found = values(scrape(port)[1])
    assert found["airlock_http_requests_total", ("code", "200"), ("route", "manifest")] == 1
    assert found["airlock_http_requests_total", ("code", "206"), ("route", "link")] == 1
    assert found["airlock_http_requests_total", ("code", "404"), ("route", "other")] == 1
    assert found["airlock_http_request_duration_seconds_count", ("route", "blob")] == 1
    assert found["airlock_blob_sent_bytes_total",] == len(b"weights" * 1000) + 1000
    assert found["airlock_transfers_total", ("outcome", "whole")] == 2
    assert found["airlock_transfers_active",] == 0
    assert found["airlock_journal_lines_total", ("verb", "blob")] == 1
    assert found["airlock_journal_lines_since_checkpoint",] == 2
    assert found["airlock_releases", ("state", "promoted")] == 1
    assert found["airlock_releases", ("state", "approved")] == 1
    assert found["airlock_connections_max",] == 2048
    assert found["airlock_workers",] == 1
    assert 10e6 < found["process_resident_memory_bytes", ("worker", "0")] < 200e6
    assert not any(name.startswith("airlock_certificate") for name, *_ in found)


def test_each_refusal_has_its_reason(watched, home, make_key):
    key = home.enroll("gpu-01")
    home.issue("scanner", "library/*")
    home.enroll("gpu-02", "clinic")
    with watched(anonymous_pull=False, names=["127.0.0.1"], max_downloads=1) as (server, port):
        token = server.token(key)
        wanted = {
            Reason.CHALLENGED: server.ask(f"{MODEL}/manifests/270m"),
            Reason.NOT_PROMOTED: server.ask(f"{MODEL}/manifests/270m-r2", headers=token),
            Reason.OTHER_HOST: server.ask("/v2/", headers={"Host": "evil.example"}),
            Reason.NOT_A_READ: server.ask(f"{MODEL}/manifests/270m", "PUT", headers=token, body=b"{}"),
            Reason.UNKNOWN_KEY: server.ask_token(make_key()),
            Reason.BAD_SIGNATURE: server.ask_token(key, sign="http://other.example"),
            Reason.CLOCK: server.ask_token(key, skew=4000),
            Reason.BAD_TOKEN: server.ask("/token", headers={"Authorization": "Basic eDp5"}),
            Reason.BAD_LINK: server.ask("/capability/x"),
            Reason.MALFORMED: server.ask("/v2/", headers={"X-Large": "x" * 5000}),
        }
        nonce = "nonce-used-twice"
        assert server.ask_token(key, nonce=nonce).status == 200
        wanted[Reason.REPLAYED] = server.ask_token(key, nonce=nonce)
        assert all(answer.status >= 400 for answer in wanted.values()), wanted
        found = values(scrape(port)[1])
    assert {reason: found["airlock_refusals_total", ("reason", str(reason))] for reason in wanted} == dict.fromkeys(wanted, 1)


def test_the_numbers_of_all_workers_come_from_any_of_them(watched):
    with watched(workers=3) as (server, port):
        for _ in range(30):
            server.ask(f"{MODEL}/manifests/270m")
        for _ in range(5):
            found = values(scrape(port)[1])
            assert found["airlock_http_requests_total", ("code", "200"), ("route", "manifest")] == 30
            assert found["airlock_workers",] == 3
            assert found["airlock_connections_max",] == 3 * 2048
            assert {labels for name, *labels in found if name == "process_open_fds" for labels in labels} == {("worker", str(n)) for n in range(3)}


def test_a_client_that_leaves_a_slowed_transfer_left_and_did_not_fail(watched, home, eventually):
    """Whoever is woken by "a blob is damaged" must find one."""
    with watched(max_rate=200_000) as (server, port):
        large = home.add("library/large:1b", 1, "promoted", os.urandom(3_000_000))
        home.publish()
        eventually(lambda: server.health()["sequence"] == home.sequence)
        for _ in range(3):
            connection = http.client.HTTPConnection(*server.address, timeout=30)
            connection.request("GET", f"/v2/library/large/blobs/{large.layers[0].digest}")
            connection.getresponse().read(1000)
            connection.close()
        eventually(lambda: values(scrape(port)[1])["airlock_transfers_active",] == 0)
        found = values(scrape(port)[1])
    assert found["airlock_transfers_total", ("outcome", "left")] == 3
    assert found["airlock_transfers_total", ("outcome", "failed")] == 0
    assert "can't be read" not in server.log.read_text()


@pytest.mark.parametrize(
    "accept",
    ["text/plain; version=abc", "application/openmetrics-text; version=1.0.0 x", "text/plain;version=" + "9" * 3000, "," * 4000, ";;;=", "\xff", ""],
)
def test_whatever_a_scraper_accepts_it_gets_the_numbers(watched, accept):
    with watched() as (server, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        with contextlib.closing(connection):
            connection.request("GET", "/metrics", headers={"Accept": accept})
            answer = connection.getresponse()
            assert (answer.status, b"airlock_workers 1.0\n" in answer.read()) == (200, True)
            for method, path, status in (("POST", "/metrics", 404), ("GET", "/metrics/../v2/", 404), ("GET", "/" + "x" * 5000, 400)):
                connection.request(method, path)
                refused = connection.getresponse()
                refused.read()
                assert refused.status == status
    assert "Traceback" not in server.log.read_text()


def test_what_is_said_names_nobody(watched, home):
    key = home.enroll("gpu-01")
    with watched(anonymous_pull=False) as (server, port):
        server.ask(f"{MODEL}/manifests/270m", headers=server.token(key))
        server.ask(f"{MODEL}/blobs/sha256:{'0' * 64}", headers={"User-Agent": "curious"})
        text = scrape(port)[1]
    for word in ("gpu-01", "gemma3", "sha256", "127.0.0.1", "curious", key.wire):
        assert word not in text


def test_the_view_says_when_a_set_was_accepted_and_what_was_noted(watched, home, eventually):
    with watched() as (server, port):
        server.ask(f"{MODEL}/manifests/270m")
        assert values(scrape(port)[1])["airlock_last_set_accepted_timestamp_seconds",] == 0
        first = home.journal_lines()[0]
        home.accepted, home.journals = 1_795_000_000, {first: 1}
        home.publish()
        eventually(lambda: server.health()["sequence"] == home.sequence)
        found = values(scrape(port)[1])
        assert found["airlock_last_set_accepted_timestamp_seconds",] == 1_795_000_000
        assert found["airlock_journal_lines_since_checkpoint",] == 0
        home.view.write_bytes(b"no view")
        eventually(lambda: values(scrape(port)[1])["airlock_published_view_problem",] == 1)


def test_scrapes_that_wait_for_the_journal_hold_nobody_else_up(watched, home):
    """Whoever else has the journal's lock for long: numbers wait for it, downloads do not."""
    with watched() as (server, port), ThreadPoolExecutor(12) as scrapers:
        link = server.ask(f"{MODEL}/blobs/{home.promoted.layers[0].digest}").headers["Location"]
        with (home.state / "access.jsonl").open("rb") as journal:
            fcntl.flock(journal, fcntl.LOCK_EX)
            waiting = [scrapers.submit(scrape, port) for _ in range(12)]
            assert [server.ask("/v2/").status for _ in range(20)] == [200] * 20
            assert [server.ask(link).body for _ in range(20)] == [b"weights" * 1000] * 20
            assert not any(each.done() for each in waiting)
        for each in waiting:
            status, text = each.result(timeout=30)
            assert status == 200
            assert values(text)["airlock_journal_lines_since_checkpoint",] >= 1


def test_every_kind_is_said_as_what_it_is(watched):
    with watched() as (_, port):
        text = scrape(port)[1]
    for family in FAMILIES:
        suffix = "_total" if family.kind is Kind.COUNTER else ""
        kind = {"peak": "gauge"}.get(str(family.kind), str(family.kind))
        assert f"# TYPE {family.name}{suffix} {kind}\n" in text
    assert json.dumps(WORKERS.help)[1:-1] in text
    assert REFUSALS.help in text
