"""Requests that nobody means well: each ends in a short answer, nothing more goes out than was asked for, and the server uses no more than before."""

import contextlib
import http.client
import json
import os
import re
import threading
import time
import urllib.parse

import pytest

MODEL = "/v2/library/gemma3"
MEGABYTE = 1 << 20
ANSWER = re.compile(rb"HTTP/1\.[01] (?P<status>[0-9]{3}) ")


def request(path="/healthz", *lines, method="GET", version="HTTP/1.1", host="x"):
    """A request of these header lines, as bytes."""
    head = [f"{method} {path} {version}".encode(), f"Host: {host}".encode(), *(line if isinstance(line, bytes) else line.encode() for line in lines)]
    return b"\r\n".join([*head, b"", b""])


LAST = request("/none", "Connection: close")


def statuses(received):
    return [int(found) for found in ANSWER.findall(received)]


def bodies(received):
    """What a connection answered, one body for each answer that has one."""
    found = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        [length] = re.findall(rb"(?i)\r\ncontent-length: ([0-9]+)", head)
        found.append(rest[: int(length)])
        received = rest[int(length) :]
    return found


def link(served):
    return served.server.ask(f"{MODEL}/blobs/{served.promoted.layers[0].digest}").headers["Location"]


@contextlib.contextmanager
def unmoved(server):
    """What happens in the block leaves the server as it was: it answers, wrote no traceback, and needed no more than a few megabytes."""
    assert server.ask("/healthz").status == 200
    before, noise = server.use(), server.log.read_text().count("Traceback")
    yield
    assert server.ask("/healthz").status == 200
    after = server.use()
    assert after.peak - before.peak < 32 * MEGABYTE
    assert after.descriptors <= before.descriptors + 20
    assert server.log.read_text().count("Traceback") == noise


# Who is asking


@pytest.fixture(scope="module")
def enrolled(make_home, start):
    site = make_home()
    site.promoted = site.add("library/gemma3:270m", 1, "promoted", b"weights", b"a licence")
    key = site.enroll("gpu-01")
    site.publish()
    with start(site, anonymous_pull=False) as server:
        yield site, server, key


def signed(key, server, target):
    return server.ask(target, headers={"Authorization": key.sign(server.url + target)})


def test_the_same_signed_request_opens_the_door_once_even_across_a_restart(home, start):
    home.add("library/gemma3:270m", 1, "promoted", b"weights")
    key = home.enroll("gpu-01")
    home.publish()
    target = f"/token?nonce={'n' * 22}&scope=repository%3Alibrary%2Fgemma3%3Apull&service=airlock&ts={int(time.time())}"
    with start(home, anonymous_pull=False, names=["registry.internal"]) as server:
        headers = {"Host": "registry.internal", "Authorization": key.sign(f"http://registry.internal{target}")}
        assert [server.ask(target, headers=headers).status for _ in range(3)] == [200, 403, 403]
    with start(home, anonymous_pull=False, names=["registry.internal"]) as server:
        refused = server.ask(target, headers=headers)
        assert (refused.status, refused.body) == (403, b"this signed request was used before")


def test_a_nonce_is_spent_whatever_else_the_next_request_says(enrolled):
    _, server, key = enrolled
    nonce = os.urandom(16).hex()
    assert server.ask_token(key, nonce=nonce).status == 200
    for changed in ({"skew": 5}, {"repository": "library/other"}, {"scope": None}):
        refused = server.ask_token(key, nonce=nonce, **changed)
        assert (refused.status, refused.body) == (403, b"this signed request was used before")


@pytest.mark.parametrize(
    "bend",
    [
        lambda target: target + "&scope=repository%3Alibrary%2Fother%3Apull",
        lambda target: target.replace("gemma3", "gemma4"),
        lambda target: target.replace("%3A", ":"),
        lambda target: target.replace("/token?", "/token?&"),
        lambda target: target.replace("ts=", "ts=0"),
        lambda target: target + "#",
        lambda target: "/token?" + "&".join(reversed(target.partition("?")[2].split("&"))),
    ],
    ids=["longer", "other model", "unescaped", "empty field", "zero", "fragment", "reordered"],
)
def test_a_signature_covers_every_character_of_the_address(enrolled, bend):
    _, server, key = enrolled
    target = f"/token?nonce={os.urandom(8).hex()}&scope=repository%3Alibrary%2Fgemma3%3Apull&service=airlock&ts={int(time.time())}"
    authorization = {"Authorization": key.sign(server.url + target)}
    refused = server.ask(bend(target), headers=authorization)
    assert refused.status in (403, 404)
    assert server.ask(target, headers=authorization).status == 200  # the attempt did not spend it


@pytest.mark.parametrize("who", ["enrolled", "unknown"])
def test_a_signed_request_with_too_many_fields_is_refused_like_any_other(enrolled, make_key, who):
    """A key is made in a moment: what it signs must not cost the operator a traceback in the log."""
    _, server, key = enrolled
    with unmoved(server):
        for count in (5, 9, 300):
            refused = server.ask_token(key if who == "enrolled" else make_key(), **{f"x{number}": "1" for number in range(count)})
            assert (refused.status, refused.headers["Content-Type"]) == (403, "text/plain; charset=utf-8")


def test_a_field_that_stands_twice_is_refused(enrolled):
    _, server, key = enrolled
    now = int(time.time())
    for query in (f"nonce=12345678&nonce=87654321&service=airlock&ts={now}", f"nonce=12345678&service=airlock&ts={now}&ts={now}"):
        refused = signed(key, server, f"/token?{query}")
        assert refused.status == 403
        assert b"twice" in refused.body


@pytest.mark.parametrize(
    "credentials", [b"Bearer \xff\xfe", b"bearer \xed\xa0\x80", b"Bearer \xc3\xa9", b"Basic \xff", b"\xff:\xff", b"Bearer " + b"a" * 4000]
)
@pytest.mark.parametrize("path", ["/v2/", f"{MODEL}/manifests/270m", "/token?service=airlock"])
def test_credentials_that_are_no_text_are_those_of_nobody(enrolled, credentials, path):
    _, server, _ = enrolled
    with unmoved(server):
        host = "{}:{}".format(*server.address)
        received = server.exchange(request(path, b"Authorization: " + credentials, "Connection: close", host=host))
        assert statuses(received) == [403 if path.startswith("/token") else 401]


def test_two_hosts_or_none_in_one_request_are_refused(enrolled):
    _, server, _ = enrolled
    host = "{}:{}".format(*server.address)
    for lines in (f"Host: {host}\r\nHost: evil.internal", f"Host: evil.internal\r\nHost: {host}", "X: y", f"Host:{host}\0"):
        received = server.exchange(f"GET {MODEL}/manifests/270m HTTP/1.1\r\n{lines}\r\nConnection: close\r\n\r\n".encode())
        assert statuses(received) == [400]
        assert b"realm" not in received


def test_a_proxys_form_of_address_gets_neither_challenge_nor_token(enrolled):
    """In the absolute form the address stands twice; only ``Host`` counts here, so nothing is answered to the other one."""
    _, server, _ = enrolled
    received = server.exchange(request("http://evil.internal/v2/", "Connection: close", host="{}:{}".format(*server.address)))
    assert statuses(received) in ([400], [404])
    assert b"realm" not in received


def test_a_link_bent_in_any_character_opens_nothing(served):
    target = link(served)
    with unmoved(served.server), contextlib.closing(http.client.HTTPConnection(*served.server.address, timeout=30)) as connection:
        for position, character in enumerate(target):
            for other in {"0" if character != "0" else "1", character.swapcase(), "", f"%{ord(character):02x}"} - {character}:
                bent = target[:position] + other + target[position + 1 :]
                connection.putrequest("GET", bent, skip_accept_encoding=True)
                connection.endheaders()
                answer = connection.getresponse()
                assert answer.status in (403, 404, 400), bent
                assert len(answer.read()) < 300
    assert served.server.ask(target).body == served.weights


def test_a_link_of_one_site_is_none_at_another(served, home, start):
    """The same model, the same names, another secret."""
    home.add("library/gemma3:270m", 1, "promoted", served.weights, b"a licence")
    home.publish()
    with start(home) as other:
        assert other.ask(link(served)).status == 403


def test_a_link_that_ran_out_is_refused_over_the_same_connection(home, start):
    manifest = home.add("library/gemma3:270m", 1, "promoted", b"weights")
    home.publish()
    with start(home, capability_seconds=2) as server, contextlib.closing(http.client.HTTPConnection(*server.address, timeout=30)) as connection:
        target = server.ask(f"{MODEL}/blobs/{manifest.layers[0].digest}").headers["Location"]
        found = []
        deadline = time.monotonic() + 20
        while (not found or found[-1] == 206) and time.monotonic() < deadline:
            connection.request("GET", target, headers={"Range": "bytes=0-0"})
            answer = connection.getresponse()
            answer.read()
            found.append(answer.status)
            time.sleep(0.1)
        assert set(found) == {206, 403}


HEX = "0" * 64


@pytest.mark.parametrize(
    "path",
    [
        b"/v2/library/..%2f..%2fgemma3/manifests/270m",
        b"/v2/library/%2e%2e/gemma3/manifests/270m",
        b"/v2/library/gemma3/manifests/%252e%252e%252fetc",
        b"/v2/library/gemma3/manifests/..\\..\\etc\\passwd",
        b"/v2/library\\gemma3/manifests/270m",
        b"/v2/library/%c0%ae%c0%ae/manifests/270m",
        b"/v2/library/gemma3./../gemma3/manifests/270m",
        b"/v2/library/gemma3/manifests/..",
        b"/v2/library/gemma3/manifests/.270m",
        b"/v2/library/gemma3/manifests/270m;x=1",
        b"/v2/library/gemma3/manifests/270m%20",
        b"/v2/library/gemma3/manifests/270m%0d%0aX-Evil:1",
        b"/v2/library/gemma3/manifests/latest:sha256:" + HEX.encode(),
        b"/v2/library/gemma3/blobs/..",
        b"/v2/library/gemma3/blobs/sha256:" + b"%30" * 64,
        b"/v2/library/gemma3/blobs/sha256:" + HEX.encode() + b"/../../x",
        b"/v2/library/gemma3/blobs/sha256:" + HEX.encode() + b"/",
        b"/v2/library/gemma3/blobs/sha256:sha256:" + HEX.encode(),
        b"/v2/library/gemma3/blobs/sha256-" + HEX.encode(),
        b"/v2/library/gemma3/blobs/sha256:" + HEX.encode() + b"0",
        b"/v2/library/gemma3/blobs/sha256:" + b"0" * 3000,
        b"/v2/library/gemma3/blobs/sha256:" + b"../" * 21 + b"0",
        b"/v2/library/gemma3/referrers/../../../x",
        b"/v2/library/gemma3/referrers/sha256:..",
        b"/v2/library/gemma3/tags/list/../../../_catalog",
        b"/v2/library/gemma3/tags%2flist",
        "/v2/library/gemmа3/manifests/270m".encode(),  # the а is Cyrillic
        "/v2/library/gemma３/manifests/270m".encode(),  # the digit is full-width
        b"/v2/library/gemma3/blobs/sha256:" + "٠".encode() * 64,
        "/v2/library/gemma3/manifests/270\u212a".encode(),
        b"/v2/library/gemma3/manifests/\xff\xfe",
        b"/v2/library/gemma3/manifests/270m\x7f",
        b"/v2/library/gemma3/manifests/" + b"%41" * 1000,
        b"/capability/../v2/",
        b"/capability/library/gemma3/270m-r1/promoted/sha256:" + HEX.encode() + b"/-/99999999999/" + HEX.encode(),
        b"/capability/%2e%2e/healthz",
        b"/./v2/library/gemma3/manifests/270m",
        b"/v2/./library/gemma3/manifests/270m",
        b"/token/../v2/",
        b"/healthz/",
        b"/healthz%00",
        b"/v2/_catalog/..",
        b"/v2/library/gemma3",
    ],
    ids=lambda path: path[:60].decode("ascii", "backslashreplace"),
)
def test_no_trick_with_a_path_finds_anything(served, path):
    with unmoved(served.server):
        received = served.server.exchange(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        [status] = statuses(received)
        assert status in (400, 403, 404)
        head, _, body = received.partition(b"\r\n\r\n")
        assert set(json.loads(body)) == {"errors"}
        assert len(body) < 300
        assert b"X-Evil" not in head


def test_no_page_of_names_is_asked_for_in_a_way_that_breaks_it(served):
    with unmoved(served.server):
        for query in (
            "n=-1",
            "n=1e9",
            "n=%d9%a3",
            "n=9999999",
            "n=",
            "n=0x1",
            "n=1&last=%ff%00%0d%0aX-Evil:1",
            "last=" + "%F0%9F%A6%99" * 300,
            "&" * 3000,
        ):
            for path in ("/v2/_catalog", f"{MODEL}/tags/list"):
                answer = served.server.ask(f"{path}?{query}")
                assert answer.status in (200, 400), query
                assert "X-Evil" not in answer.headers
                assert answer.status == 200 or answer.code == "PAGINATION_NUMBER_INVALID"


# Ranges


RANGES = {
    "the same again and again": "bytes=" + ",".join(["0-"] * 1300),
    "overlapping": "bytes=" + ",".join(f"{number}-1048575" for number in range(300)),
    "one byte each": "bytes=" + ",".join(f"{number}-{number}" for number in range(0, 900, 2)),
    "from the end": "bytes=" + ",".join(f"-{number}" for number in range(1, 700)),
    "two": "bytes=0-0,-1",
    "empty ones": "bytes=" + "," * 3500,
}


@pytest.mark.parametrize("header", RANGES.values(), ids=RANGES.keys())
@pytest.mark.parametrize("by", ["path", "link"])
def test_many_ranges_give_the_blob_once_and_no_more(served, header, by):
    """RFC 9110, 14.2: a server may ignore a Range header; it need not send what overlaps twice."""
    target = link(served) if by == "link" else f"{MODEL}/blobs/{served.promoted.layers[0].digest}"
    with unmoved(served.server):
        received = served.server.exchange(request(target, f"Range: {header}", "Connection: close"))
    assert statuses(received) == [200]
    assert received.partition(b"\r\n\r\n")[2] == served.weights


BIG = str(2**64 - 1)


@pytest.mark.parametrize(
    ("header", "status", "wanted"),
    [
        (f"bytes={BIG}-", 416, None),
        (f"bytes={BIG}-{BIG}", 416, None),
        (f"bytes={2**64}-{2**64 + 1}", 416, None),
        (f"bytes={2**63 - 1}-", 416, None),
        (f"bytes=0-{BIG}", 206, slice(0, None)),
        (f"bytes=1048576-{2**64}", 206, slice(1048576, None)),
        (f"bytes=-{BIG}", 206, slice(0, None)),
        (f"bytes=-{2**63}", 206, slice(0, None)),
        ("bytes=" + "9" * 4000 + "-", 416, None),
        ("bytes=0-" + "9" * 4000, 206, slice(0, None)),
        ("bytes=-" + "9" * 4000, 206, slice(0, None)),
        ("bytes=" + "0" * 3900 + "5-9", 206, slice(5, 10)),
        ("bytes=-" + "0" * 4000, 416, None),
        ("BYTES=5-9", 206, slice(5, 10)),
        ("bytes=9-5", 200, slice(0, None)),
        ("bytes=--5", 200, slice(0, None)),
        ("bytes=-5-", 200, slice(0, None)),
        ("bytes=-5--1", 200, slice(0, None)),
        ("bytes=+1-2", 200, slice(0, None)),
        ("bytes=0x1-0x2", 200, slice(0, None)),
        ("bytes=1e3-2e3", 200, slice(0, None)),
        ("bytes=1.0-2.0", 200, slice(0, None)),
        ("bytes=1_0-2_0", 200, slice(0, None)),
        ("bytes=0-1-2", 200, slice(0, None)),
        ("bytes=0 - 1", 200, slice(0, None)),
        ("bytes =0-1", 200, slice(0, None)),
        ("bytes=-", 200, slice(0, None)),
        ("bytes=", 200, slice(0, None)),
        ("bytes", 200, slice(0, None)),
        ("", 200, slice(0, None)),
        ("bytes=٠-٣", 200, slice(0, None)),
        ("bytes=²-³", 200, slice(0, None)),
        ("bits=0-1", 200, slice(0, None)),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else None,
)
def test_a_range_is_one_of_digits_or_is_none(served, header, status, wanted):
    for target in (link(served), f"{MODEL}/blobs/{served.promoted.layers[0].digest}"):
        with unmoved(served.server):
            received = served.server.exchange(request(target, f"Range: {header}", "Connection: close"))
        assert statuses(received) == [status]
        head, _, body = received.partition(b"\r\n\r\n")
        if wanted is None:
            assert f"\r\nContent-Range: bytes */{len(served.weights)}\r\n".encode() in head
            assert len(body) < 300
        else:
            assert body == served.weights[wanted]
        assert (b"\r\nContent-Range: bytes " in head) is (status in (206, 416))


def test_a_head_has_no_range(served):
    """RFC 9110, 14.2: only GET has one."""
    for header in ("bytes=0-0", f"bytes={BIG}-"):
        answer = served.server.ask(link(served), "HEAD", headers={"Range": header})
        assert (answer.status, answer.headers["Content-Length"], answer.body) == (200, str(len(served.weights)), b"")


def test_thousands_of_single_bytes_over_one_connection(served):
    target = link(served)
    with unmoved(served.server), contextlib.closing(http.client.HTTPConnection(*served.server.address, timeout=30)) as connection:
        for number in range(2000):
            offset = number * 523
            connection.request("GET", target, headers={"Range": f"bytes={offset}-{offset}"})
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (206, served.weights[offset : offset + 1])


# Requests that are none, or too large


NO_REQUESTS = {
    "65 headers": request("/healthz", *(f"X-{number}: 1" for number in range(65))),
    "a header of 5 KiB": request("/healthz", "X: " + "a" * 5120),
    "a name of 5 KiB": request("/healthz", "a" * 5120 + ": x"),
    "a megabyte without a line end": b"GET /healthz HTTP/1.1\r\nX: " + b"a" * MEGABYTE,
    "a request line without end": b"GET /" + b"a" * MEGABYTE,
    "a method without end": b"A" * MEGABYTE,
    "a version without end": b"GET / HTTP/1." + b"1" * MEGABYTE,
    "10,000 tiny lines": request("/healthz", *["a:b"] * 10_000),
    "tiny lines without an end": b"GET /healthz HTTP/1.1\r\n" + b"a:b\r\n" * 10_000,
    "NUL in a value": request("/healthz", b"X: a\0b"),
    "NUL in a name": request("/healthz", b"X\0: a"),
    "NUL in the line": request("/health\0z"),
    "CR in a value": request("/healthz", b"X: a\rX-Evil: b"),
    "CR alone": b"GET /healthz HTTP/1.1\rHost: x\r\r",
    "LF alone": b"GET /healthz HTTP/1.1\nHost: x\n\n",
    "blank before the colon": request("/healthz", "X : a"),
    "a folded line": request("/healthz", "X: a", " b"),
    "no name": request("/healthz", ": a"),
    "no colon": request("/healthz", "X"),
    "HTTP/9.9": request(version="HTTP/9.9"),
    "HTTP/1.00": request(version="HTTP/1.00"),
    "http/1.1": request(version="http/1.1"),
    "a method of 500 letters": request(method="A" * 500),
    "a method with a sign": request(method="G@T"),
    "tabs for blanks": b"GET\t/healthz\tHTTP/1.1\r\nHost: x\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0",
    "a TLS ClientHello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(505),
    "an SSH client": b"SSH-2.0-OpenSSH_9.2\r\n",
    "zeros": bytes(MEGABYTE),
    "lengths that differ": request("/healthz", "Content-Length: 5", "Content-Length: 40") + request("/v2/"),
    "a length twice": request("/healthz", "Content-Length: 0", "Content-Length: 0"),
    "a list of lengths": request("/healthz", "Content-Length: 5, 5") + b"12345",
    "a negative length": request("/healthz", "Content-Length: -1"),
    "a signed length": request("/healthz", "Content-Length: +1") + b"1",
    "a length in another base": request("/healthz", "Content-Length: 0x10"),
    "an endless length": request("/healthz", "Content-Length: " + "9" * 3000),
    "a length and chunks": request("/healthz", "Content-Length: 4", "Transfer-Encoding: chunked") + b"0\r\n\r\n" + request("/v2/"),
    "chunks and a length": request("/healthz", "Transfer-Encoding: chunked", "Content-Length: 4") + b"0\r\n\r\n" + request("/v2/"),
    "chunks twice": request("/healthz", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "chunks and something else": request("/healthz", "Transfer-Encoding: chunked, identity") + b"0\r\n\r\n" + request("/v2/"),
    "no such encoding": request("/healthz", "Transfer-Encoding: xchunked") + b"0\r\n\r\n",
    "a bent encoding": request("/healthz", b"Transfer-Encoding: \x0bchunked") + b"0\r\n\r\n",
    "a chunk of no size": request("/healthz", "Transfer-Encoding: chunked") + b"zz\r\n\r\n",
    "a chunk of negative size": request("/healthz", "Transfer-Encoding: chunked") + b"-1\r\n\r\n",
    "a trailer of 10,000 lines": request("/healthz", "Transfer-Encoding: chunked") + b"0\r\n" + b"a: b\r\n" * 10_000,
}


@pytest.mark.parametrize("data", NO_REQUESTS.values(), ids=NO_REQUESTS.keys())
def test_what_is_no_request_gets_one_refusal_and_the_connection_ends(served, data):
    """One answer and no more: what stands behind a request of doubtful length is never taken for another one."""
    with unmoved(served.server):
        received = served.server.exchange(data)
        assert statuses(received) == [400]
        head, _, body = received.partition(b"\r\n\r\n")
        assert json.loads(body)["errors"][0]["code"] == "UNSUPPORTED"
        assert len(body) < 300
        assert b"X-Evil" not in head
        assert b"aaaa" not in body


def test_as_many_and_as_large_headers_as_allowed_are_served(served):
    received = served.server.exchange(request("/healthz", *(f"X-{number}: {'a' * 50}" for number in range(62)), "Connection: close"))
    assert statuses(received) == [200]
    assert statuses(served.server.exchange(request("/healthz", "X: " + "a" * 4000, "Connection: close"))) == [200]


def test_a_request_in_the_body_of_another_one_is_not_answered(served):
    inner = request("/v2/")
    outer = request("/healthz", f"Content-Length: {len(inner)}")
    chunked = request("/healthz", "Transfer-Encoding: chunked") + b"%x\r\n%s\r\n0\r\n\r\n" % (len(inner), inner)
    for data in (outer + inner + LAST, chunked + LAST):
        received = served.server.exchange(data)
        assert statuses(received) == [200, 404]
        assert b'"status"' in bodies(received)[0]


@pytest.mark.parametrize("path", ["/healthz", "blob"])
def test_an_endless_body_of_a_get_is_not_read_for_long(served, path):
    """A blob is sent all the same; what else the client sends is thrown away for a moment, then the connection ends."""
    target = f"{MODEL}/blobs/{served.promoted.layers[0].digest}" if path == "blob" else path
    with unmoved(served.server), served.server.connect() as connection:
        connection.sendall(request(target, "Transfer-Encoding: chunked"))
        ended = threading.Event()

        def receive():
            with contextlib.suppress(ConnectionError):
                while connection.recv(MEGABYTE):
                    pass
            ended.set()

        reader = threading.Thread(target=receive)
        reader.start()
        with contextlib.suppress(ConnectionError):
            while not ended.is_set():
                connection.sendall(b"10000\r\n" + bytes(65536) + b"\r\n")
        assert ended.wait(30)
        reader.join()


@pytest.mark.parametrize("tail", [b"1;" + b"a" * MEGABYTE, b"0" * MEGABYTE, b"1\r\nx" * 100_000], ids=["extension", "size", "bent"])
def test_chunks_that_are_none_end_the_connection(served, tail):
    with unmoved(served.server):
        received = served.server.exchange(request("/healthz", "Transfer-Encoding: chunked") + tail)
        assert statuses(received)[0] in (200, 400)
        assert len(statuses(received)) == 1


@pytest.mark.parametrize(
    "lines",
    [
        ["Expect: 100-continue"],
        ["Expect: 200-ok"],
        ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"],
        ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="],
        ["Connection: Upgrade", "Upgrade: TLS/1.0"],
    ],
    ids=["100-continue", "200-ok", "h2c", "websocket", "TLS"],
)
def test_nobody_is_asked_to_go_on_or_to_change_the_protocol(served, lines):
    """``Expect`` and ``Upgrade`` are left alone (RFC 9110, 7.8 and 10.1.1): the answer is the answer, and what follows is HTTP/1.1."""
    with unmoved(served.server), served.server.connect() as connection:
        connection.sendall(request("/v2/", *lines))
        received = b""
        while not received.endswith(b"\r\n\r\n{}"):
            received += connection.recv(65536)
        connection.sendall(LAST)
        while more := connection.recv(65536):
            received += more
    assert statuses(received) == [200, 404]
    assert b"pgrade" not in received


def test_a_refused_upload_is_not_asked_to_go_on(served):
    received = served.server.exchange(request("/v2/", "Expect: 100-continue", "Content-Length: 1000000000", method="PUT"))
    assert statuses(received) == [405]


def test_a_thousand_requests_at_once_are_answered_in_their_order(served):
    target = link(served)
    offsets = [number * 997 for number in range(1000)]
    with unmoved(served.server):
        received = served.server.exchange(b"".join(request(target, f"Range: bytes={offset}-{offset}") for offset in offsets) + LAST)
    assert statuses(received) == [206] * 1000 + [404]
    assert b"".join(bodies(received)[:1000]) == bytes(served.weights[offset] for offset in offsets)


def test_a_flood_of_requests_whose_answers_nobody_reads_is_not_kept_in_memory(home, start):
    """Behind a download that stands still, whatever else the client sends has to wait in its own network."""
    manifest = home.add("library/gemma3:270m", 1, "promoted", bytes(64 * MEGABYTE))
    home.publish()
    with start(home) as server, unmoved(server), contextlib.ExitStack() as stack:
        for flood in (request("/v2/"), request(f"{MODEL}/blobs/{manifest.layers[0].digest}"), b"\r\n"):
            connection = stack.enter_context(server.connect())
            connection.sendall(request(f"{MODEL}/blobs/{manifest.layers[0].digest}"))
            connection.settimeout(1)
            with contextlib.suppress(OSError):
                for _ in range(1000):
                    connection.sendall(flood * 1000)


def test_a_flood_of_nonsense_does_not_fill_the_disk(home, start):
    """Anybody who reaches the server can send it: what it writes about that is bounded, in the log and in the journal."""
    home.add("library/gemma3:270m", 1, "promoted", b"weights")
    home.publish()
    with start(home, anonymous_pull=False) as server:
        for _ in range(1000):
            assert statuses(server.exchange(b"nonsense\r\n\r\n")) == [400]
            assert statuses(server.exchange(request("/v2/", "Connection: close", host="{}:{}".format(*server.address)))) == [401]
        assert len(home.journal()) < 300
        assert len(server.log.read_text().splitlines()) < 300


def test_a_crowd_of_strangers_does_not_hide_a_node_that_knocks(home, start, make_key, eventually):
    """Keys cost nothing, so knocks are written down at a limited rate; one that came too fast is written down when its node asks again."""
    home.add("library/gemma3:270m", 1, "promoted", b"weights")
    home.publish()
    with start(home, anonymous_pull=False) as server:
        for _ in range(200):
            assert server.ask_token(make_key()).status == 403
        key = make_key()

        def is_known():
            assert server.ask_token(key).status == 403
            return key.public in {entry["key"] for entry in home.journal() if entry["verb"] == "knock"}

        eventually(is_known, seconds=20)
        assert len(home.journal()) < 400


@pytest.mark.slow
def test_a_request_a_byte_at_a_time_ends_within_the_limit(served):
    """Slow loris that never pauses: the first request has 20 seconds; one behind another on the same connection has 75."""
    drip = request("/healthz", *(f"X-{number}: {'a' * 80}" for number in range(40)))
    with served.server.connect() as first, served.server.connect() as second:
        second.sendall(request("/healthz"))
        assert second.recv(15) == b"HTTP/1.1 200 OK"
        began, ended = time.monotonic(), {}
        for position in range(400):
            for name, connection in {"first": first, "second": second}.items():
                if name not in ended:
                    try:
                        connection.sendall(drip[position : position + 1])
                    except ConnectionError:
                        ended[name] = time.monotonic() - began
            if len(ended) == 2:
                break
            time.sleep(0.5)
        assert ended["first"] < 60
        assert ended["second"] < 150
    assert served.server.ask("/healthz").status == 200


def test_an_escaped_token_request_is_no_second_spelling(enrolled):
    _, server, key = enrolled
    query = urllib.parse.urlencode({"nonce": os.urandom(8).hex(), "service": "airlock", "ts": int(time.time())})
    for target in (f"/%74oken?{query}", f"/token/?{query}", f"/TOKEN?{query}", f"//token?{query}"):
        assert signed(key, server, target).status == 404
    assert signed(key, server, f"/token?{query}").status == 200
