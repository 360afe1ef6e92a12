"""The server's pure parts: ranges, capabilities, access, offers, journal, state; and that nothing in it can reach out."""

import asyncio
import datetime as dt
import http.client
import json
import os
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

import registry
from registry.content.digest import digest_of
from registry.content.view import ServedState, View
from registry.errors import AirlockError, StoreFailed
from registry.server.access import ANONYMOUS, Access, Allow, Deny
from registry.server.body import FileResponse, open_checked
from registry.server.capability import Capability, read_capability, write_capability
from registry.server.journal import FIRST, Journal
from registry.server.offer import make_offer
from registry.server.ranges import Span, matches, select
from registry.server.run import ServerConfig, serve
from registry.server.state import load_secret, state_directory

SECRET = bytes(32)
CAPABILITY = Capability("library/gemma3", digest_of(b"x"), "-", 1000)


def test_importing_the_server_loads_no_network_client():
    """The effect wanted: "no auto-update" is the absence of a path, not a flag."""
    code = "import sys, registry.server.run; print(sorted({m.split('.')[0] for m in sys.modules} & {'httpx','urllib3','requests','sqlite3','tuf'}))"
    environment = {**os.environ, "PYTHONPATH": str(Path(registry.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@given(st.integers(1, 50), st.one_of(st.none(), st.integers(0, 60)), st.one_of(st.none(), st.integers(0, 60)))
def test_a_single_range_selects_what_python_slices(total, first, last):
    data = bytes(range(total))
    header = f"bytes={'' if first is None else first}-{'' if last is None else last}"
    span = select(header, None, etag='"e"', total=total)
    if first is None and last is None:
        expected = data
    elif first is None:
        expected = data[max(0, total - last) :] if last else None
    elif last is not None and last < first:
        expected = data  # not a range at all
    else:
        expected = data[first : None if last is None else last + 1] or None
    assert (span and data[span.offset : span.offset + span.count]) == expected
    if span and span.partial:
        assert span.content_range == f"bytes {span.offset}-{span.offset + span.count - 1}/{total}"


@given(st.text(max_size=40))
def test_any_range_header_gives_a_span_inside_or_none(header):
    for text in (header, f"bytes={header}"):
        span = select(text, None, etag='"e"', total=10)
        assert span is None or (span.offset >= 0 and span.count >= 1 and span.offset + span.count <= 10)


def test_ranges_with_thousands_of_digits():
    assert select("bytes=" + "9" * 5000 + "-", None, etag="", total=10) is None
    assert select("bytes=0-" + "9" * 5000, None, etag="", total=10) == Span(0, 10, 10, partial=True)
    assert select("bytes=-" + "0" * 5000 + "3", None, etag="", total=10) == Span(7, 3, 10, partial=True)


def test_entity_tags():
    assert matches('"a", W/"b"', '"b"')
    assert matches("*", '"b"')
    assert not matches(None, '"b"')
    assert not matches('"a", *', '"b"')
    assert not matches("b", '"b"')


def test_a_capability_is_read_back_until_it_expires():
    target = write_capability(SECRET, CAPABILITY)
    assert read_capability(SECRET, target, now=999.9) == CAPABILITY
    assert read_capability(SECRET, target, now=1000) is None
    assert read_capability(b"\1" * 32, target, now=1) is None


@given(st.data())
def test_a_capability_bent_in_any_character_is_none(data):
    target = write_capability(SECRET, CAPABILITY)
    position = data.draw(st.integers(0, len(target) - 1))
    character = data.draw(st.characters().filter(lambda c: c != target[position]))
    assert read_capability(SECRET, target[:position] + character + target[position + 1 :], now=1) is None
    assert read_capability(SECRET, target[:position] + target[position + 1 :], now=1) is None


def test_leading_zeros_and_escapes_make_no_second_spelling():
    target = write_capability(SECRET, CAPABILITY)
    for other in (target.replace("/1000/", "/01000/"), target.replace(":", "%3a"), target + "\n", target.upper()):
        assert read_capability(SECRET, other, now=1) is None


def test_who_may_pull():
    for state in (ServedState.PROMOTED, ServedState.APPROVED, None):
        assert Access(anonymous_pull=True).decide(ANONYMOUS, "library/gemma3", state) == Allow()
        assert isinstance(Access(anonymous_pull=False).decide(ANONYMOUS, "library/gemma3", state), Deny)


def test_an_offer_leaves_out_what_it_cannot_read_and_keeps_what_it_knows(home):
    home.add("library/gemma3:270m", 1, "promoted", b"shared", b"first")
    home.add("library/gemma3:270m", 2, "approved", b"shared", b"second")
    home.add("library/gemma3:1b", 3, "promoted", b"third")
    view = View("s", 1, tuple(home.releases.values()))
    gone = home.releases["library/gemma3:1b", 3].manifest
    home.blobs.path(gone).unlink()
    offer = make_offer(view, lambda digest: home.blobs.read(digest, limit=10**6), {})
    assert list(offer.unreadable) == [gone]
    assert offer.resolver.resolve("library/gemma3", "1b") is None
    assert offer.blob("library/gemma3", digest_of(b"third")) is None
    assert offer.blob("LIBRARY/gemma3", digest_of(b"shared")).state is ServedState.PROMOTED
    assert offer.blob("library/gemma3", digest_of(b"second")).state is ServedState.APPROVED
    again = make_offer(view, lambda digest: (_ for _ in ()).throw(OSError(5, "gone")), offer.manifests)
    assert again.manifests == offer.manifests


def test_an_offer_believes_no_bytes_that_have_another_digest(home):
    home.add("library/gemma3:270m", 1, "promoted", b"first")
    other = home.add("library/gemma3:1b", 2, "promoted", b"second").to_bytes()
    offer = make_offer(View("s", 1, (home.releases["library/gemma3:270m", 1],)), lambda _: other, {})
    assert offer.releases == ()
    assert len(offer.unreadable) == 1


def journal_lines(path):
    return path.read_bytes().splitlines()


def test_the_journal_is_a_chain_across_restarts_and_torn_lines(tmp_path):
    path = tmp_path / "access.jsonl"
    for _ in range(2):
        journal = Journal(path, now=lambda: 1_800_000_000.0)
        journal.handed_out("blob", node="-", peer="10.0.0.7", repository="library/gemma3", digest=digest_of(b"x"))
        journal.close()
        with path.open("ab") as file:
            file.write(b'{"torn')
    journal = Journal(path, now=lambda: 1_800_000_000.0)
    journal.denied("no", node="-", peer="10.0.0.7", repository="")
    journal.close()
    lines = journal_lines(path)
    entries = [json.loads(line) for line in lines]
    assert [entry["seq"] for entry in entries] == [1, 2, 3]
    assert [entry["prev"] for entry in entries] == [FIRST, digest_of(lines[0]), digest_of(lines[1])]
    assert entries[0]["time"] == "2027-01-15T08:00:00Z"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_journal_that_is_not_ours_is_not_continued(tmp_path):
    path = tmp_path / "access.jsonl"
    for content in (b"nonsense\n", b'{"seq":"1"}\n', b"x" * 9000):
        path.write_bytes(content)
        with pytest.raises(StoreFailed) as refused:
            Journal(path, now=lambda: 0.0)
        assert "mv " in refused.value.hint


def test_a_flood_of_denials_is_counted_and_not_written(tmp_path):
    clock = [0.0]
    journal = Journal(tmp_path / "access.jsonl", now=lambda: clock[0])
    for _ in range(10_000):
        journal.denied("no", node="-", peer="p", repository="")
    clock[0] = 1.0
    journal.denied("no", node="-", peer="p", repository="")
    journal.close()
    lines = journal_lines(tmp_path / "access.jsonl")
    assert len(lines) == 101
    assert json.loads(lines[-1])["suppressed"] == 9900


def test_the_secret_is_made_once_and_stays(tmp_path):
    with state_directory(tmp_path / "server") as directory:
        secret = load_secret(directory)
        assert len(secret) == 32
        assert load_secret(directory) == secret
        (directory / "server.key").write_bytes(b"{}")
        with pytest.raises(StoreFailed):
            load_secret(directory)
    assert (tmp_path / "server").stat().st_mode & 0o777 == 0o700


def test_two_servers_do_not_share_a_state_directory(tmp_path):
    with state_directory(tmp_path), pytest.raises(StoreFailed, match="in use by another server"), state_directory(tmp_path):
        pass
    with state_directory(tmp_path):
        pass


def test_an_unusable_state_directory_is_an_error_with_a_hint(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreFailed) as failed, state_directory(tmp_path / "file" / "server"):
        pass
    assert failed.value.hint


def test_a_taken_port_is_an_error_with_a_hint(tmp_path, served):
    host, port = served.server.address
    config = ServerConfig(blobs=tmp_path, view=tmp_path / "view.json", state=tmp_path / "server", host=host, port=port)
    with pytest.raises(AirlockError) as refused:
        serve(config, ready=lambda _: pytest.fail("it must not get ready"))
    assert refused.value.why == "Address already in use"
    assert "--listen" in refused.value.hint


def test_only_regular_files_of_the_right_size_are_opened(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    open_checked(path, 5).close()
    with pytest.raises(StoreFailed):
        open_checked(path, 6)
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(OSError, match="symbolic"):
        open_checked(tmp_path / "link", 5)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(StoreFailed):
        open_checked(tmp_path / "fifo", 5)


def certificate(directory):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    made = made.not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1)).sign(key, hashes.SHA256())
    path = directory / "tls.pem"
    plain = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(plain + made.public_bytes(serialization.Encoding.PEM))
    return path


def test_over_tls_the_same_bytes_arrive(tmp_path):
    """sendfile can't encrypt; the response then reads the file itself."""
    content = os.urandom(3 * 1024 * 1024 + 7)
    (tmp_path / "blob").write_bytes(content)
    pem = certificate(tmp_path)

    async def respond(_):
        file = open_checked(tmp_path / "blob", len(content))
        return FileResponse(file, Span(5, len(content) - 5, len(content), partial=True), status=206, headers={"ETag": '"e"'})

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)
    loop, port, ended = asyncio.new_event_loop(), [], threading.Event()

    async def run(ready):
        server = web.Server(respond, access_log=None)
        listener = await loop.create_server(server, "127.0.0.1", 0, ssl=context)
        port.append(listener.sockets[0].getsockname()[1])
        ready.set()
        await loop.run_in_executor(None, ended.wait)
        listener.close()
        await server.shutdown(1)

    ready = threading.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(run(ready)))
    thread.start()
    try:
        assert ready.wait(20)
        client = ssl.create_default_context(cafile=str(pem))
        client.check_hostname = False
        connection = http.client.HTTPSConnection("127.0.0.1", port[0], context=client, timeout=30)
        connection.request("GET", "/")
        answer = connection.getresponse()
        assert (answer.status, answer.headers["ETag"], answer.read() == content[5:]) == (206, '"e"', True)
        connection.close()
    finally:
        ended.set()
        thread.join()
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
