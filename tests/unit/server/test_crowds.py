"""Crowds: more connections, downloads and requests than there is room for; who behaves is served, and memory does not grow with the crowd."""

import contextlib
import hashlib
import http.client
import os
import resource
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

MODEL = "/v2/library/gemma3"
MEGABYTE = 1 << 20
WEIGHTS = os.urandom(MEGABYTE + 7)
ELSEWHERE = "127.200.0.1"
"""The address of a node that behaves, while the crowd is at others."""


def request(path):
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


@pytest.fixture
def site(home):
    home.promoted = home.add("library/gemma3:270m", 1, "promoted", WEIGHTS)
    home.blob = f"{MODEL}/blobs/{home.promoted.layers[0].digest}"
    home.publish()
    return home


def serves(server, site):
    """A node that behaves gets a manifest and the weights, each over a new connection and at the first try."""
    assert server.ask(f"{MODEL}/manifests/270m", source=ELSEWHERE).body == site.promoted.to_bytes()
    assert server.ask(site.blob, source=ELSEWHERE).body == WEIGHTS


CROWDS = {
    "silent": (10_000, 200, b""),
    "half a request": (10_000, 200, b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Half"),
    "one request, then silent": (10_000, 200, request("/healthz")),
    "all from one address": (3000, 1, b""),
}


@pytest.mark.slow
@pytest.mark.parametrize(("count", "addresses", "text"), CROWDS.values(), ids=CROWDS.keys())
def test_thousands_of_connections_lock_nobody_out(site, start, crowd, eventually, count, addresses, text):
    with start(site) as server:
        serves(server, site)
        before = server.use()
        gathered = crowd(server, count, addresses, text)
        while gathered.gathering():
            serves(server, site)
        for _ in range(10):
            serves(server, site)
        places = 2048 if addresses > 1 else 512
        eventually(lambda: server.use().descriptors <= before.descriptors + places + 50)
        assert server.use().peak < 200 * MEGABYTE
        gathered.leave()
        eventually(lambda: server.use().descriptors <= before.descriptors + 5, seconds=30)
        serves(server, site)
    assert "Traceback" not in server.log.read_text()


def test_who_never_asks_gives_way_and_who_is_served_does_not(home, start, crowd, eventually):
    """With every place taken, the connection that waited longest without a whole request makes room; downloads keep theirs."""
    manifest = home.add("library/gemma3:270m", 1, "promoted", bytes(64 * MEGABYTE))
    home.publish()
    with start(home, max_connections=40) as server, contextlib.ExitStack() as stack:
        downloads = [stack.enter_context(server.connect("127.0.0.2")) for _ in range(8)]
        for each in downloads:
            each.sendall(request(f"{MODEL}/blobs/{manifest.layers[0].digest}"))
            assert each.recv(15) == b"HTTP/1.1 200 OK"
        gathered = crowd(server, 100, 25)
        eventually(lambda: not gathered.gathering())
        eventually(lambda: gathered.staying() <= 40 - len(downloads))
        for _ in range(40):
            assert server.ask("/healthz", source=ELSEWHERE).status == 200
        for each in downloads:
            received = 0
            while received < 64 * MEGABYTE:
                received += len(each.recv(MEGABYTE))


def test_one_address_has_a_quarter_of_the_places(site, start, crowd, eventually):
    with start(site, max_connections=40) as server:
        gathered = crowd(server, 60, 1)
        eventually(lambda: not gathered.gathering())
        eventually(lambda: gathered.staying() <= 10)
        for _ in range(20):
            serves(server, site)
        gathered.leave()
        eventually(lambda: server.use().descriptors < 30)


def test_a_crowd_at_the_second_listener_stops_neither_listener(site, start, crowd, eventually):
    with start(site, max_connections=40, blob_listen=["127.0.0.1", 0]) as server:
        link = server.ask(site.blob).headers["Location"]
        second = replace(server, url=link[: link.index("/capability/")])
        gathered = crowd(second, 100, 25)
        eventually(lambda: not gathered.gathering())
        eventually(lambda: gathered.staying() <= 40)
        for _ in range(20):
            assert server.ask(f"{MODEL}/manifests/270m", source=ELSEWHERE).status == 200
            assert second.ask(link.removeprefix(second.url), source=ELSEWHERE).body == WEIGHTS


@pytest.fixture
def few_files():
    """A soft limit of 1,024 open files, as most systems start their services with."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow
def test_a_low_limit_of_open_files_is_no_way_to_lock_nodes_out(site, start, crowd, few_files):
    """The places that the server promises must be there: it raises the limit, or has no more places than files."""
    with start(site) as server:
        gathered = crowd(server, 1500, 30)
        while gathered.gathering():
            serves(server, site)
        for _ in range(10):
            serves(server, site)
    assert "Too many open files" not in server.log.read_text()
    assert "out of system resource" not in server.log.read_text()


def test_two_hundred_clients_that_never_read_hold_no_memory(home, start, crowd, eventually):
    manifest = home.add("library/gemma3:270m", 1, "promoted", bytes(64 * MEGABYTE))
    digest = manifest.layers[0].digest
    blob = f"{MODEL}/blobs/{digest}"
    home.publish()
    with start(home) as server:
        server.ask(blob)
        before = server.use()
        gathered = crowd(server, 200, 4, request(blob), reads=False)
        eventually(lambda: not gathered.gathering())
        eventually(lambda: server.sending(digest) == 200)
        for _ in range(3):
            assert server.ask(blob, source=ELSEWHERE).status == 200
        use = server.use()
        assert use.peak - before.peak < 24 * MEGABYTE
        assert use.descriptors <= before.descriptors + 610  # a connection, a file, and the one it is sent by
        gathered.leave()
        eventually(lambda: server.use().descriptors <= before.descriptors + 2)
    assert "Traceback" not in server.log.read_text()


def test_downloads_that_stand_still_take_the_places_of_their_own_address_only(home, start, eventually):
    manifest = home.add("library/gemma3:270m", 1, "promoted", bytes(64 * MEGABYTE))
    blob = f"{MODEL}/blobs/{manifest.layers[0].digest}"
    home.publish()
    with start(home) as server, contextlib.ExitStack() as stack:
        link = server.ask(blob).headers["Location"]
        found = []
        for number in range(70):
            connection = stack.enter_context(server.connect())
            connection.sendall(request(link if number % 2 else blob))
            found.append(connection.recv(12))
        assert found == [b"HTTP/1.1 200"] * 64 + [b"HTTP/1.1 503"] * 6
        refused = server.ask(link)
        assert (refused.status, refused.code, refused.headers["Retry-After"]) == (503, "TOOMANYREQUESTS", "1")
        assert server.ask(link, source=ELSEWHERE).status == 200
        assert server.ask(link, "HEAD").status == 200
        assert server.ask(f"{MODEL}/manifests/270m").status == 200
        stack.close()
        eventually(lambda: server.ask(link, headers={"Range": "bytes=0-0"}).status == 206)


# Workers


def children(server):
    pid = server.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_worker_killed_among_downloads_cuts_only_its_own_and_they_go_on_elsewhere(site, start):
    with start(site, workers=3, max_rate=9_000_000) as server:
        link = server.ask(site.blob, headers={"Range": "bytes=0-0"}).headers["Location"] or site.blob
        begun, cut, digests = threading.Semaphore(0), [], []

        def download():
            received = b""
            connection = http.client.HTTPConnection(*server.address, timeout=30)
            with contextlib.closing(connection), contextlib.suppress(ConnectionError, http.client.HTTPException):
                connection.request("GET", link)
                answer = connection.getresponse()
                begun.release()
                while more := answer.read1(65536):
                    received += more
            if len(received) < len(WEIGHTS):
                cut.append(len(received))
                received += server.ask(link, headers={"Range": f"bytes={len(received)}-"}).body
            digests.append(hashlib.sha256(received).digest())

        threads = [threading.Thread(target=download) for _ in range(24)]
        for each in threads:
            each.start()
        for _ in threads:
            assert begun.acquire(timeout=30)
        busiest = max(children(server), key=lambda worker: server.use(worker).descriptors)
        os.kill(busiest, signal.SIGKILL)
        for each in threads:
            each.join()
        assert set(digests) == {hashlib.sha256(WEIGHTS).digest()}
        assert len(digests) == 24
        assert 0 < len(cut) < 24


def served_by(server, connection):
    """The worker that has accepted a connection."""
    ports = f":{server.address[1]:04X}", f":{connection.sock.getsockname()[1]:04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    [inode] = [line[9] for line in lines if (line[1][-5:], line[2][-5:]) == ports]
    for worker in children(server):
        for descriptor in Path(f"/proc/{worker}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                if str(descriptor.readlink()) == f"socket:[{inode}]":
                    return worker
    pytest.fail("nobody has this connection")


def answers(connection, path="/healthz"):
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    return answer.status == 200


def test_a_flood_on_one_worker_stops_no_other(site, start):
    with start(site, workers=3) as server, contextlib.ExitStack() as stack:
        of = {}
        for _ in range(24):
            connection = stack.enter_context(contextlib.closing(http.client.HTTPConnection(*server.address, timeout=30)))
            assert answers(connection)
            of.setdefault(served_by(server, connection), []).append(connection)
        assert len(of) > 1
        flooded, *others = of
        over = threading.Event()

        def flood(connection):
            while not over.is_set():
                connection.sock.sendall(request("/v2/_catalog") * 50)
                connection.sock.recv(MEGABYTE)

        threads = [threading.Thread(target=flood, args=[each]) for each in of[flooded]]
        for each in threads:
            each.start()
        try:
            for worker in others:
                for _ in range(50):
                    assert answers(of[worker][0], f"{MODEL}/manifests/270m")
        finally:
            over.set()
            for each in threads:
                each.join()
        os.kill(flooded, signal.SIGSTOP)  # and now it does nothing at all
        try:
            for worker in others:
                assert answers(of[worker][0], site.blob)
        finally:
            os.kill(flooded, signal.SIGCONT)


def test_clients_that_read_no_answer_keep_no_place(site, start):
    """Requests by the thousand on one connection whose small answers nobody takes; no token is needed for that."""
    with start(site, max_connections=8) as server, contextlib.ExitStack() as stack:
        deaf = [stack.enter_context(server.connect(f"127.9.0.{1 + number % 4}")) for number in range(8)]
        for each in deaf:
            each.setblocking(False)
        quiet = 0
        while quiet < 20:  # until no socket takes any more for a while
            sent = 0
            for each in deaf:
                with contextlib.suppress(OSError):
                    sent += each.send(request("/v2/") * 5000)
            quiet = 0 if sent else quiet + 1
            time.sleep(0.05)
        for _ in range(5):
            serves(server, site)
