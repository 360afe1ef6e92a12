"""A running server and a world that changes under it: views, stores, clients, signals."""

import contextlib
import json
import signal
import socket
import time

import pytest

MODEL = "/v2/library/gemma3"


def eventually(probe, seconds=10):
    """Poll until ``probe()`` holds; changes must be seen within a second, the rest is patience with a busy machine."""
    deadline = time.monotonic() + seconds
    while not probe():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)


def status(server, path):
    return server.ask(path).status


def test_promotion_takes_effect_without_a_restart(home, start):
    home.add("library/gemma3:270m", 1, "approved", b"first")
    home.publish()
    with start(home) as server:
        assert status(server, f"{MODEL}/manifests/270m") == 404
        manifest = home.add("library/gemma3:270m", 1, "promoted", b"first")
        home.publish()
        eventually(lambda: status(server, f"{MODEL}/manifests/270m") == 200)
        location = server.ask(f"{MODEL}/blobs/{manifest.layers[0].digest}").headers["Location"]
        home.releases.clear()
        home.publish()
        eventually(lambda: status(server, f"{MODEL}/manifests/270m") == 404)
        assert status(server, location) == 404  # a capability is no promise: what is withdrawn ends mid-pull


def test_without_a_view_it_waits_for_one(home, start):
    with start(home) as server:
        assert status(server, f"{MODEL}/manifests/270m") == 404
        assert server.health()["status"] == "degraded"
        assert server.health()["sequence"] is None
        home.add("library/gemma3:270m", 1, "promoted", b"first")
        home.publish()
        eventually(lambda: status(server, f"{MODEL}/manifests/270m") == 200)
        assert server.health() == {"status": "ok", "sequence": 1, "releases": 1, "unreadable": 0, "problem": ""}


def test_a_missing_garbled_half_written_older_or_foreign_view_changes_nothing(home, start):
    home.add("library/gemma3:270m", 1, "promoted", b"first")
    home.publish()
    older = home.view.read_bytes()
    home.publish()
    good = home.view.read_bytes()
    bad = {
        "garbled": b"nonsense",
        "half written": good[: len(good) // 2],
        "empty": b"",
        "older": older,
        "foreign": good.replace(b"site-1", b"site-2").replace(b'"sequence":2', b'"sequence":9'),
        "same sequence, other content": good.replace(b'"number":1', b'"number":2'),
        "missing": None,
    }
    with start(home) as server:
        for name, data in bad.items():
            if data is None:
                home.view.unlink()
            else:
                home.view.write_bytes(data)
            eventually(lambda: server.health()["status"] == "degraded")
            assert server.health()["sequence"] == 2, name
            assert server.health()["problem"], name
            assert status(server, f"{MODEL}/manifests/270m-r1") == 200, name
            home.view.write_bytes(good)
            eventually(lambda: server.health()["status"] == "ok")
        log = server.log.read_text()
    assert log.count("still serving the published view 2") >= len(bad)
    assert "older than the one that is served" in log


def test_a_release_with_an_unreadable_manifest_is_not_served_and_others_are(home, start):
    home.add("library/gemma3:270m", 1, "promoted", b"first")
    home.add("library/gemma3:1b", 2, "promoted", b"second")
    home.publish()
    path = home.blobs.path(home.releases["library/gemma3:1b", 2].manifest)
    whole = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(whole.replace(b"model", b"modem"))
    with start(home) as server:
        assert status(server, f"{MODEL}/manifests/270m") == 200
        assert status(server, f"{MODEL}/manifests/1b") == 404
        assert server.health()["unreadable"] == 1
        assert server.log.read_text().count("are not served") == 1
        path.write_bytes(whole)
        eventually(lambda: status(server, f"{MODEL}/manifests/1b") == 200, seconds=30)


def test_a_blob_that_is_gone_or_of_another_size_is_an_error_and_recovers(home, start):
    manifest = home.add("library/gemma3:270m", 1, "promoted", b"weights")
    home.publish()
    blob = manifest.layers[0].digest
    path, aside = home.blobs.path(blob), home.root / "aside"
    with start(home) as server:
        location = server.ask(f"{MODEL}/blobs/{blob}").headers["Location"]
        for break_it, expected in (
            (lambda: None, 503),
            (lambda: path.write_bytes(b"weight"), 500),
            (lambda: path.symlink_to(aside), 503),
            (path.mkdir, 500),
        ):
            path.rename(aside)
            break_it()
            for method, target in (("GET", f"{MODEL}/blobs/{blob}"), ("HEAD", f"{MODEL}/blobs/{blob}"), ("GET", location)):
                answer = server.ask(target, method)
                assert answer.status == expected
                assert len(answer.body) < 200
            if path.is_dir():
                path.rmdir()
            path.unlink(missing_ok=True)
            aside.rename(path)
            assert server.ask(location).body == b"weights"


def test_without_anonymous_pull_everything_asks_for_a_token_and_none_is_given(home, start):
    manifest = home.add("library/gemma3:270m", 1, "promoted", b"weights")
    home.publish()
    with start(home, anonymous_pull=False, names=["registry.site.internal", "127.0.0.1"]) as server:
        host = "registry.site.internal:5000"
        for path, scope in (
            (f"{MODEL}/manifests/270m", ',scope="repository:library/gemma3:pull"'),
            (f"{MODEL}/manifests/none", ',scope="repository:library/gemma3:pull"'),
            (f"{MODEL}/blobs/{manifest.layers[0].digest}", ',scope="repository:library/gemma3:pull"'),
            ("/v2/library/none/manifests/latest", ',scope="repository:library/none:pull"'),
            ("/v2/", ""),
            ("/v2/_catalog", ""),
        ):
            answer = server.ask(path, headers={})
            assert (answer.status, answer.code) == (401, "UNAUTHORIZED")
            assert answer.headers["WWW-Authenticate"] == f'Bearer realm="{server.url}/token",service="airlock"{scope}'
        raw = exchange(server, f"GET /v2/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        assert f'realm="http://{host}/token"'.encode() in raw
        raw = exchange(server, b'GET /v2/ HTTP/1.1\r\nHost: evil",x="\r\nConnection: close\r\n\r\n')
        assert b"evil" not in raw
        token = server.ask("/token?service=airlock&scope=x&nonce=1&ts=1")
        assert token.status == 403
        assert token.body == b"this is not a request signed by an Ollama node"
        assert server.ask("/healthz").status == 200
        assert server.ask("/v2/", "POST").status == 405
    entries = home.journal()
    assert {entry["verb"] for entry in entries} == {"deny"}
    assert any("not a request signed" in entry["reason"] for entry in entries)


def exchange(server, data):
    with socket.create_connection(server.address, timeout=30) as connection:
        connection.sendall(data)
        received = b""
        while more := connection.recv(65536):
            received += more
        return received


def test_a_second_host_name_gets_the_blob_requests(home, start):
    manifest = home.add("library/gemma3:270m", 1, "promoted", b"weights")
    home.publish()
    blob = f"{MODEL}/blobs/{manifest.layers[0].digest}"
    with start(home, redirect_host="LOCALHOST") as server:
        answer = server.ask(blob)
        assert answer.status == 307
        assert answer.headers["Location"].startswith(f"http://LOCALHOST:{server.address[1]}/capability/library/gemma3/270m-r1/promoted/sha256:")
        target = answer.headers["Location"].partition(f":{server.address[1]}")[2]
        assert server.ask(target, headers={"Range": "bytes=0-2"}).body == b"wei"
        assert server.ask(blob, headers={"Range": "bytes=0-2"}).body == b"wei"  # the oldest clients ask for parts here
        assert server.ask(blob, "HEAD").status == 200


def test_capabilities_survive_a_restart_and_end(home, start):
    manifest = home.add("library/gemma3:270m", 1, "promoted", b"weights")
    home.publish()
    blob = f"{MODEL}/blobs/{manifest.layers[0].digest}"
    with start(home) as server:
        location = server.ask(blob).headers["Location"]
    assert (home.state / "server.key").stat().st_mode & 0o777 == 0o600
    with start(home, capability_seconds=-1) as server:
        assert server.ask(location).body == b"weights"
        assert server.ask(server.ask(blob).headers["Location"]).status == 403


def test_what_was_handed_out_is_on_record_before_the_first_byte(home, start):
    manifest = home.add("library/gemma3:270m", 1, "promoted", b"weights")
    home.publish()
    with start(home) as server:
        server.ask(f"{MODEL}/manifests/270M")
        server.ask(f"{MODEL}/blobs/{manifest.layers[0].digest}", "HEAD")
        server.ask(f"{MODEL}/blobs/{manifest.layers[0].digest}")
    release = home.releases["library/gemma3:270m", 1]
    assert [(e["verb"], e["repository"], e["digest"], e["node"], e["peer"]) for e in home.journal()] == [
        ("manifest", "library/gemma3", release.manifest, "-", "127.0.0.1"),
        ("blob", "library/gemma3", manifest.layers[0].digest, "-", "127.0.0.1"),
    ]


def test_what_cannot_be_recorded_is_not_handed_out(home, start):
    manifest = home.add("library/gemma3:270m", 1, "promoted", b"weights")
    home.publish()
    home.state.mkdir()
    (home.state / "access.jsonl").symlink_to("/dev/full")
    with start(home) as server:
        for path in (f"{MODEL}/manifests/270m", f"{MODEL}/blobs/{manifest.layers[0].digest}"):
            answer = server.ask(path)
            assert (answer.status, answer.code) == (503, "UNAVAILABLE")
        assert status(server, f"{MODEL}/manifests/none") == 404
        assert server.ask("/v2/", "POST").status == 405


LARGE = 64 * 1024 * 1024


@pytest.fixture
def large(home):
    """A model of 64 MiB of zeros, more than any socket buffers."""
    manifest = home.add("library/gemma3:270m", 1, "promoted", bytes(LARGE))
    home.publish()
    return f"{MODEL}/blobs/{manifest.layers[0].digest}"


@contextlib.contextmanager
def begun(server, path):
    """A pull of which the client has read only the first bytes."""
    with socket.create_connection(server.address, timeout=30) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert connection.recv(15) == b"HTTP/1.1 200 OK"
        yield connection


def rest(connection):
    received = 0
    while more := connection.recv(1 << 20):
        received += len(more)
    return received


def test_clients_that_leave_early_leave_no_noise(home, start, large):
    with start(home) as server:
        for _ in range(5):
            with begun(server, large):
                pass
        assert server.health()["status"] == "ok"
    log = server.log.read_text()
    assert "Traceback" not in log
    assert "ERROR" not in log
    assert "WARNING" not in log


def test_sigterm_lets_a_running_transfer_finish(home, start, large):
    with start(home, drain_seconds=30) as server, begun(server, large) as connection:
        server.process.send_signal(signal.SIGTERM)
        eventually(lambda: refuses(server))
        assert server.process.poll() is None
        assert rest(connection) > LARGE
        assert server.process.wait(20) == 0


def test_sigint_cuts_what_takes_longer_than_allowed_and_still_ends_well(home, start, large):
    with start(home, drain_seconds=0.2) as server, begun(server, large) as connection:
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(20) == 0
        with contextlib.suppress(ConnectionResetError):
            assert rest(connection) < LARGE
    assert "Traceback" not in server.log.read_text()


def test_idle_connections_do_not_hold_it_up(home, start):
    with start(home, drain_seconds=300) as server, socket.create_connection(server.address, timeout=30) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(15) == b"HTTP/1.1 200 OK"
        server.process.terminate()
        assert server.process.wait(20) == 0


def refuses(server):
    try:
        socket.create_connection(server.address, timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_refused_upload_is_answered_before_its_body(home, start):
    with start(home) as server, socket.create_connection(server.address, timeout=30) as connection:
        connection.sendall(b"PUT /v2/library/x/manifests/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\nExpect: 100-continue\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 405"  # and no 100 Continue


def test_rewritten_file_in_place_cuts_the_connection(home, start, large):
    """Nobody but the store writes there; if somebody cuts a file short while it is sent, the client must see a cut connection."""
    path = home.blobs.path(json.loads(home.blobs.read(home.releases["library/gemma3:270m", 1].manifest, limit=10**6))["layers"][0]["digest"])
    with start(home) as server, begun(server, large) as connection:
        path.chmod(0o600)
        with path.open("r+b") as file:
            file.truncate(1024)
        assert rest(connection) < LARGE
        eventually(lambda: "early" in server.log.read_text())
    assert "Traceback" not in server.log.read_text()
