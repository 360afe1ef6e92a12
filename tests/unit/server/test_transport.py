"""How bytes travel: TLS and client certificates, a second listener, several workers, limits of rate and number."""

import contextlib
import datetime as dt
import http.client
import json
import os
import signal
import socket
import ssl
import threading
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from registry.store.access_journal import read_journal

MODEL = "/v2/library/gemma3"
WEIGHTS = os.urandom(3_000_001)


def issue(directory, name, signer=None, *, dns=("localhost",)):
    """Write NAME.pem and NAME.key; an authority without ``signer``, else a certificate signed by it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(signer[1].subject if signer else subject).public_key(key.public_key())
    made = made.serial_number(x509.random_serial_number()).not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
    made = made.add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
    if signer:
        made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(each) for each in dns]), critical=False)
    made = made.sign(signer[0] if signer else key, hashes.SHA256())
    (directory / f"{name}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (directory / f"{name}.key").write_bytes(plain)
    return key, made


@pytest.fixture
def files(tmp_path):
    """A site CA, a certificate for the server, and a client's."""
    authority = issue(tmp_path, "ca")
    issue(tmp_path, "server", authority)
    issue(tmp_path, "node", authority, dns=("scan-01.site.internal",))
    issue(tmp_path, "stranger", issue(tmp_path, "other-ca"), dns=("scan-01.site.internal",))
    return tmp_path


@pytest.fixture
def site(home):
    home.promoted = home.add("library/gemma3:270m", 1, "promoted", WEIGHTS)
    home.publish()
    return home


def over_tls(files, server, path, *, client="", headers=(), source="127.0.0.1", **options):
    context = ssl.create_default_context(cafile=str(files / "ca.pem"))
    for name, value in options.items():
        setattr(context, name, value)
    if client:
        context.load_cert_chain(files / f"{client}.pem", files / f"{client}.key")
    connection = http.client.HTTPSConnection("localhost", server.address[1], context=context, timeout=30, source_address=(source, 0))
    with contextlib.closing(connection):
        connection.request("GET", path, headers=dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def tls(files, **more):
    return {"tls": [str(files / "server.pem"), str(files / "server.key")], **more}


def test_over_tls_a_blob_arrives_whole_and_in_parts(files, site, start):
    with start(site, **tls(files)) as server:
        assert server.url.startswith("https://")
        blob = f"{MODEL}/blobs/{site.promoted.layers[0].digest}"
        status, headers, body = over_tls(files, server, blob)
        assert (status, body == WEIGHTS) == (200, True)
        assert headers["Location"].startswith("/capability/")
        status, _, body = over_tls(files, server, headers["Location"], headers={"Range": "bytes=1000000-2999999"})
        assert (status, body == WEIGHTS[1_000_000:3_000_000]) == (206, True)


def test_over_tls_slow_and_fast_readers_get_the_same_bytes(files, home, start):
    """One buffer serves for all slices of a body: nothing may be overwritten while it still waits for a client."""
    content = os.urandom(24_000_001)
    manifest = home.add("library/gemma3:270m", 1, "promoted", content)
    home.publish()
    context = ssl.create_default_context(cafile=str(files / "ca.pem"))
    with start(home, **tls(files)) as server, contextlib.ExitStack() as stack:
        running = []
        for _ in range(4):
            connection = http.client.HTTPSConnection("localhost", server.address[1], context=context, timeout=30)
            stack.callback(connection.close)
            connection.request("GET", f"{MODEL}/blobs/{manifest.layers[0].digest}")
            running.append((connection.getresponse(), bytearray()))
        while any(len(received) < len(content) for _, received in running):
            for number, (answer, received) in enumerate(running):
                received.extend(answer.read(50_000 * (number + 1) ** 2))
                time.sleep(0.002)
        assert [bytes(received) == content for _, received in running] == [True] * 4


def test_over_tls_two_hundred_clients_that_never_read_hold_no_memory(files, home, start, eventually):
    """What is encrypted for one lies in its socket or nowhere; all read into the same place."""
    content = os.urandom(24_000_001)
    manifest = home.add("library/gemma3:270m", 1, "promoted", content)
    home.publish()
    digest = manifest.layers[0].digest
    blob = f"{MODEL}/blobs/{digest}"
    context = ssl.create_default_context(cafile=str(files / "ca.pem"))
    with start(home, **tls(files)) as server, contextlib.ExitStack() as stack:
        assert over_tls(files, server, blob)[2] == content
        before, crowd = server.use(), []
        for number in range(200):
            plain = socket.create_connection(server.address, timeout=30, source_address=(f"127.9.0.{1 + number % 4}", 0))
            crowd.append(stack.enter_context(context.wrap_socket(plain, server_hostname="localhost")))
            crowd[-1].sendall(f"GET {blob} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        eventually(lambda: server.sending(digest) == 200)
        for _ in range(3):
            assert over_tls(files, server, blob)[2] == content
        assert server.use().peak - before.peak < 24_000_000
        for each in crowd:
            each.close()
        eventually(lambda: server.use().descriptors <= before.descriptors + 2)
    assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_1_2_and_1_3(files, site, start, version):
    with start(site, **tls(files)) as server:
        assert over_tls(files, server, "/healthz", minimum_version=version, maximum_version=version)[0] == 200


def test_nothing_older_than_tls_1_2_and_no_plain_http(files, site, start):
    with start(site, **tls(files)) as server:
        with pytest.warns(DeprecationWarning, match="TLSVersion"), pytest.raises((ssl.SSLError, ConnectionError)):
            over_tls(files, server, "/healthz", maximum_version=ssl.TLSVersion.TLSv1_1, minimum_version=ssl.TLSVersion.TLSv1)
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            server.ask("/healthz")
        assert over_tls(files, server, "/healthz")[0] == 200


def test_the_challenge_over_tls_names_https(files, site, start):
    with start(site, **tls(files, anonymous_pull=False)) as server:
        status, headers, _ = over_tls(files, server, f"{MODEL}/manifests/270m")
        assert status == 401
        assert headers["WWW-Authenticate"].startswith(f'Bearer realm="https://localhost:{server.address[1]}/token"')


def test_a_client_certificate_is_who_a_node_is(files, site, start):
    site.enroll("scan-01", certificate="scan-01.site.internal")
    site.publish()
    with start(site, **tls(files, anonymous_pull=False, client_ca=str(files / "ca.pem"))) as server:
        status, headers, _ = over_tls(files, server, f"{MODEL}/blobs/{site.promoted.layers[0].digest}", client="node")
        assert status == 200
        assert over_tls(files, server, headers["Location"])[0] == 200  # the link is enough by itself
        assert over_tls(files, server, f"{MODEL}/manifests/270m", client="server")[0] == 401  # known to the CA, not enrolled
        assert over_tls(files, server, f"{MODEL}/manifests/270m")[0] == 401
        with pytest.raises((ssl.SSLError, ConnectionError)):
            over_tls(files, server, f"{MODEL}/manifests/270m", client="stranger")
    assert [entry.members["node"] for entry in read_journal(site.state / "access.jsonl") if entry.members["verb"] == "blob"] == ["scan-01"]


def test_the_certificate_is_read_again_on_sighup_and_a_bad_one_changes_nothing(files, site, start, eventually):
    def serial():
        with (
            socket.create_connection(server.address, timeout=30) as plain,
            ssl.create_default_context(cafile=str(files / "ca.pem")).wrap_socket(plain, server_hostname="localhost") as secured,
        ):
            return secured.getpeercert()["serialNumber"]

    with start(site, **tls(files)) as server:
        before = serial()
        good = (files / "server.pem").read_bytes()
        (files / "server.pem").write_bytes(b"nonsense")
        server.process.send_signal(signal.SIGHUP)
        eventually(lambda: "were not read again" in server.log.read_text())
        assert serial() == before
        (files / "server.pem").write_bytes(good)
        authority_key = serialization.load_pem_private_key((files / "ca.key").read_bytes(), None)
        issue(files, "server", (authority_key, x509.load_pem_x509_certificate((files / "ca.pem").read_bytes())))
        server.process.send_signal(signal.SIGHUP)
        eventually(lambda: serial() != before)


def test_a_half_open_handshake_holds_nobody_up(files, site, start):
    with start(site, **tls(files)) as server:
        idle = [socket.create_connection(server.address, timeout=30) for _ in range(20)]
        for each in idle:
            each.sendall(b"\x16\x03\x01")
        assert over_tls(files, server, "/healthz")[0] == 200
        for each in idle:
            each.close()


def client_hello():
    """How a handshake begins."""
    said = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), said, server_hostname="localhost").do_handshake()
    return said.read()


HALF_OPEN = {
    "silent": lambda: b"",
    "five bytes": lambda: client_hello()[:5],
    "half a ClientHello": lambda: client_hello()[:200],
    "a ClientHello": client_hello,
}


@pytest.mark.slow
@pytest.mark.parametrize("begin", HALF_OPEN.values(), ids=HALF_OPEN.keys())
def test_thousands_of_half_open_handshakes_lock_nobody_out(files, site, start, crowd, eventually, begin):
    """They count like any other connection, cost little, and end after the ten seconds that a handshake may take."""
    with start(site, **tls(files)) as server:
        blob = f"{MODEL}/blobs/{site.promoted.layers[0].digest}"
        assert over_tls(files, server, blob, source="127.200.0.1")[2] == WEIGHTS
        before = server.use()
        gathered = crowd(server, 5000, 100, begin())
        while gathered.gathering():
            assert over_tls(files, server, "/healthz", source="127.200.0.1")[0] == 200
        for _ in range(5):
            assert over_tls(files, server, blob, source="127.200.0.1")[2] == WEIGHTS
        assert server.use().descriptors <= before.descriptors + 2048 + 50
        # Seen from the server: to a client that says nothing, a connection that was never accepted looks like one that was.
        eventually(lambda: server.use().descriptors <= before.descriptors + 5, seconds=90)
        assert over_tls(files, server, blob, source="127.200.0.1")[2] == WEIGHTS
        assert server.use().peak < 256 << 20
    assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize("begin", HALF_OPEN.values(), ids=HALF_OPEN.keys())
def test_a_half_open_handshake_counts_as_a_connection(files, site, start, crowd, eventually, begin):
    with start(site, **tls(files, max_connections=40)) as server:
        gathered = crowd(server, 100, 25, begin())
        eventually(lambda: not gathered.gathering())
        eventually(lambda: gathered.staying() <= 40, seconds=5)  # before the handshakes have had their time
        for _ in range(5):
            assert over_tls(files, server, "/healthz", source="127.200.0.1")[0] == 200


def test_what_is_no_handshake_ends_the_connection(files, site, start):
    with start(site, **tls(files)) as server:
        before = server.use()
        for data in (b"GET / HTTP/1.1\r\n\r\n", b"\0" * (1 << 20), b"\x16\x03\x01\xff\xff" + b"a" * (1 << 20), client_hello() + b"\x17" * (1 << 20)):
            assert b"HTTP" not in server.exchange(data)
        assert over_tls(files, server, "/healthz")[0] == 200
        assert server.use().peak - before.peak < 32 << 20
    assert "Traceback" not in server.log.read_text()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_second_listener_hands_out_blobs_by_link_and_nothing_else(files, site, start):
    port = free_port()
    with start(site, **tls(files, blob_listen=["127.0.0.1", port])) as server:
        status, headers, _ = over_tls(files, server, f"{MODEL}/blobs/{site.promoted.layers[0].digest}")
        assert status == 200
        location = headers["Location"]
        assert location.startswith(f"http://localhost:{port}/capability/")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", location.partition(str(port))[2], headers={"Range": "bytes=5-9"})
        assert connection.getresponse().read() == WEIGHTS[5:10]
        for path in (f"{MODEL}/manifests/270m", "/token", "/v2/", "/healthz", location.partition(str(port))[2] + "0"):
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            assert answer.status in (403, 404), path
        connection.close()


def test_workers_share_nonces_links_and_one_journal(site, start):
    key = site.enroll("gpu-01")
    site.publish()
    blob = f"{MODEL}/blobs/{site.promoted.layers[0].digest}"
    with start(site, workers=3, anonymous_pull=False) as server:
        headers = server.token(key)
        locations = [server.ask(blob, headers={**headers, "Range": "bytes=0-9"}) for _ in range(30)]
        assert {answer.status for answer in locations} == {206}
        location = server.ask(blob, headers=headers).headers["Location"]
        assert {server.ask(location, headers={"Range": "bytes=1-3"}).body for _ in range(30)} == {WEIGHTS[1:4]}
        replays = [server.ask_token(key, nonce="the-same-nonce").status for _ in range(12)]
        assert sorted(replays) == [200] + [403] * 11
    entries = list(read_journal(site.state / "access.jsonl"))
    assert [entry.members["verb"] for entry in entries].count("blob") == 31


def test_a_worker_that_dies_is_replaced_and_none_outlives_the_server(site, start, eventually):
    def children():
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def alive(worker):
        with contextlib.suppress(OSError):
            return "Z" not in Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[0]
        return False

    with start(site, workers=2) as server:
        pid = server.process.pid
        workers = children()
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)
        eventually(lambda: len(children()) == 2 and workers[0] not in children())
        assert {server.ask("/healthz").status for _ in range(10)} == {200}
        workers = children()
        server.process.kill()
        server.process.wait()
        eventually(lambda: not any(map(alive, workers)))


def test_workers_end_together_and_let_a_transfer_finish(site, start):
    with start(site, workers=2, max_rate=2_000_000, drain_seconds=20) as server:
        path = f"{MODEL}/blobs/{site.promoted.layers[0].digest}"
        received = []
        thread = threading.Thread(target=lambda: received.append(server.ask(path)))
        thread.start()
        deadline = time.monotonic() + 20
        while not any(entry["verb"] == "blob" for entry in (site.journal() if (site.state / "access.jsonl").exists() else [])):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        server.process.terminate()
        assert server.process.wait(30) == 0
        thread.join()
        assert received[0].body == WEIGHTS


def test_revoked_in_the_middle_of_a_part(site, start):
    """One part may take minutes: revocation ends it while it is under way."""
    key = site.enroll("gpu-01")
    site.publish()
    with start(site, anonymous_pull=False, max_rate=300_000) as server:
        headers = server.token(key)
        connection = http.client.HTTPConnection(*server.address, timeout=30)
        connection.request("GET", f"{MODEL}/blobs/{site.promoted.layers[0].digest}", headers=headers)
        answer = connection.getresponse()
        assert answer.status == 200
        answer.read(1000)
        del site.nodes["gpu-01"]
        site.publish()
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            answer.read()
        connection.close()
        assert "it is no longer allowed" in server.log.read_text()


def test_one_node_may_not_take_all_downloads(site, start):
    with start(site, max_downloads=2, max_rate=200_000) as server:
        path = f"{MODEL}/blobs/{site.promoted.layers[0].digest}"
        location = server.ask(path, headers={"Range": "bytes=0-0"}).headers["Location"] or path
        running = []
        for _ in range(2):
            connection = http.client.HTTPConnection(*server.address, timeout=30)
            connection.request("GET", location)
            running.append((connection, connection.getresponse()))
        refused = server.ask(location)
        assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
        for connection, _ in running:
            connection.close()


def test_connections_beyond_the_cap_are_closed_and_do_not_stop_the_server(site, start, eventually):
    with start(site, max_connections=40) as server:
        crowd = []
        for _ in range(60):
            with contextlib.suppress(OSError):
                crowd.append(socket.create_connection(server.address, timeout=30))

        def closed():
            count = 0
            for each in crowd:
                each.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    try:
                        count += each.recv(1) == b""
                    except ConnectionError:
                        count += 1
            return count

        eventually(lambda: closed() >= 50)  # ten of one address may stay
        for each in crowd:
            each.close()
        eventually(lambda: alive(server))


def alive(server):
    with contextlib.suppress(OSError, http.client.HTTPException):
        return server.ask("/healthz").status == 200
    return False


@pytest.mark.slow
def test_a_client_that_never_finishes_its_request_is_dropped(site, start):
    """Slow loris: a header that never ends."""
    with start(site) as server, socket.create_connection(server.address, timeout=60) as slow:
        slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            assert slow.recv(100) == b""
        assert time.monotonic() - began < 55


def test_no_secret_is_in_the_log_or_the_journal(site, start):
    key = site.enroll("gpu-01")
    site.publish()
    with start(site, anonymous_pull=False) as server:
        headers = server.token(key)
        location = server.ask(f"{MODEL}/blobs/{site.promoted.layers[0].digest}", headers=headers).headers["Location"]
        server.ask(location)
        server.ask(location + "x")
        server.ask("/nothing", headers=headers)
    written = server.log.read_text() + (site.state / "access.jsonl").read_text()
    for secret in (
        headers["Authorization"][7:],
        location.rpartition("/")[2],
        json.loads((site.state / "server.key").read_bytes())["secrets"][0]["secret"],
    ):
        assert secret not in written
