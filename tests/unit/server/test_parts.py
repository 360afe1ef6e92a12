"""The server's pure parts: ranges, capabilities, access, offers, journal, state; and that nothing in it can reach out."""

import asyncio
import datetime as dt
import errno
import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

import registry
from registry.content.callers import AccessRule
from registry.content.digest import digest_of
from registry.content.view import ServedState, View
from registry.errors import AirlockError, StoreFailed
from registry.server.access import ANONYMOUS, Access, Allow, Caller, Deny
from registry.server.body import FileResponse, Lanes, open_checked
from registry.server.capability import Capability, read_capability, write_capability
from registry.server.door import Door
from registry.server.journal import Journal
from registry.server.metrics import Tallies
from registry.server.nonces import Nonces
from registry.server.offer import make_offer
from registry.server.pace import Pace
from registry.server.places import Places
from registry.server.protocol import HttpServer
from registry.server.pump import Pump
from registry.server.ranges import Span, matches, select
from registry.server.run import ServerConfig, serve
from registry.server.secret import Secrets
from registry.server.state import state_directory
from registry.server.tls import server_tls
from registry.server.tokens import Token, read_token, write_token
from registry.store.access_journal import FIRST, read_journal

CAPABILITY = Capability("library/gemma3", "270m-r2", ServedState.PROMOTED, digest_of(b"x"), "-", 1000)
TALLY = Tallies(0).row(0)
TOKEN = Token("gpu-01.0123456789abcdef", "library/gemma3", 1000)


def test_importing_the_server_loads_no_network_client():
    """The effect wanted: "no auto-update" is the absence of a path, not a flag."""
    code = (
        "import sys, registry.server.run; print(sorted({m.split('.')[0] for m in sys.modules} & {'httpx','urllib3','requests','sqlite_utils','tuf'}))"
    )
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


@pytest.fixture(scope="module")
def secrets(tmp_path_factory):
    return Secrets(tmp_path_factory.mktemp("secrets") / "server.key", now=lambda: 1_800_000_000.0)


def test_a_capability_is_read_back_until_it_expires(secrets, tmp_path):
    target = write_capability(secrets, CAPABILITY)
    assert read_capability(secrets, target, now=999.9) == CAPABILITY
    assert read_capability(secrets, target, now=1000) is None
    assert read_capability(Secrets(tmp_path / "other.key", now=lambda: 0.0), target, now=1) is None


@given(st.data())
def test_a_capability_bent_in_any_character_is_none(secrets, data):
    target = write_capability(secrets, CAPABILITY)
    position = data.draw(st.integers(0, len(target) - 1))
    character = data.draw(st.characters().filter(lambda c: c != target[position]))
    assert read_capability(secrets, target[:position] + character + target[position + 1 :], now=1) is None
    assert read_capability(secrets, target[:position] + target[position + 1 :], now=1) is None


def test_leading_zeros_and_escapes_make_no_second_spelling(secrets):
    target = write_capability(secrets, CAPABILITY)
    for other in (target.replace("/1000/", "/01000/"), target.replace(":", "%3a"), target + "\n", target.upper()):
        assert read_capability(secrets, other, now=1) is None


@given(st.data())
def test_a_token_is_read_back_and_bent_in_any_character_is_none(secrets, data):
    text = write_token(secrets, TOKEN)
    assert read_token(secrets, text, now=999.9) == TOKEN
    assert read_token(secrets, text, now=1000) is None
    position = data.draw(st.integers(0, len(text) - 1))
    character = data.draw(st.characters().filter(lambda c: c != text[position]))
    assert read_token(secrets, text[:position] + character + text[position + 1 :], now=1) is None


def test_a_token_is_no_capability_and_the_other_way_round(secrets):
    """One secret, two uses: what was signed for one must never be taken for the other."""
    fields = write_capability(secrets, CAPABILITY)[len("/capability/") : -65]
    assert not secrets.made(b"airlock token v1\n", fields, write_capability(secrets, CAPABILITY)[-64:])


def test_who_may_pull():
    for state in (ServedState.PROMOTED, ServedState.APPROVED, None):
        assert Access(anonymous_pull=True).decide(ANONYMOUS, "library/gemma3", state) == Allow()
        assert isinstance(Access(anonymous_pull=False).decide(ANONYMOUS, "library/gemma3", state), Deny)


NODE = Caller("gpu-01.0", "gpu-01")
TESTER = Caller("gpu-02.0", "gpu-02", frozenset({"test", "clinic"}))
BEARER = Caller("token.ci.0", "token ci", frozenset(), ("library/*",))
RULES = (AccessRule("clinic", "clinical/*"), AccessRule("everyone", "library/*"))


@pytest.mark.parametrize(
    ("who", "rules", "repository", "state", "allowed"),
    [
        (NODE, (), "library/gemma3", "promoted", True),
        (NODE, (), "clinical/triage", "promoted", True),
        (NODE, (), "library/gemma3", "approved", False),
        (NODE, (), "library/gemma3", None, True),
        (NODE, (), "", None, True),
        (TESTER, (), "library/gemma3", "approved", True),
        (NODE, RULES, "library/gemma3", "promoted", True),
        (NODE, RULES, "clinical/triage", "promoted", False),
        (NODE, RULES, "clinical/triage", None, False),
        (NODE, RULES, "other/model", "promoted", False),
        (NODE, RULES, "", None, True),
        (TESTER, RULES, "clinical/triage", "approved", True),
        (TESTER, RULES, "other/model", "approved", False),
        (BEARER, (), "library/gemma3", "promoted", True),
        (BEARER, (), "clinical/triage", "promoted", False),
        (BEARER, RULES, "library/gemma3", "approved", False),
    ],
)
def test_groups_rules_and_states(who, rules, repository, state, allowed):
    decision = Access(anonymous_pull=False, rules=rules).decide(who, repository, ServedState(state) if state else None)
    assert isinstance(decision, Allow) is allowed
    assert allowed or who.name in decision.reason


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
        journal = Journal(path, now=lambda: 1_800_000_000.0, tally=TALLY)
        journal.handed_out("blob", node="-", peer="10.0.0.7", repository="library/gemma3", digest=digest_of(b"x"))
        journal.close()
        with path.open("ab") as file:
            file.write(b'{"torn')
    journal = Journal(path, now=lambda: 1_800_000_000.0, tally=TALLY)
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
            Journal(path, now=lambda: 0.0, tally=TALLY)
        assert "mv " in refused.value.hint


def test_a_flood_of_denials_is_counted_and_not_written(tmp_path):
    clock = [0.0]
    journal = Journal(tmp_path / "access.jsonl", now=lambda: clock[0], tally=TALLY)
    for _ in range(10_000):
        journal.denied("no", node="-", peer="p", repository="")
    clock[0] = 1.0
    journal.denied("no", node="-", peer="p", repository="")
    journal.close()
    lines = journal_lines(tmp_path / "access.jsonl")
    assert len(lines) == 101
    assert json.loads(lines[-1])["suppressed"] == 9900


def test_knocks_are_written_once_an_hour_for_each_key(tmp_path):
    clock = [0.0]
    journal = Journal(tmp_path / "access.jsonl", now=lambda: clock[0], tally=TALLY)
    for clock[0] in (0.0, 1.0, 3599.0, 3601.0):
        journal.knocked("key one", peer="p", repository="r")
        journal.knocked("key two", peer="p", repository="r")
    journal.close()
    keys = [entry.members["key"] for entry in read_journal(tmp_path / "access.jsonl")]
    assert keys == ["key one", "key two"] * 2


def test_many_writers_make_one_chain(tmp_path):
    """Workers are processes; here each has its own open file, which is what the lock is about."""
    path = tmp_path / "access.jsonl"
    journals = [Journal(path, now=lambda: 1_800_000_000.0, tally=TALLY) for _ in range(3)]
    for turn in range(60):
        journals[turn % 7 % 3].handed_out("blob", node="-", peer=str(turn), repository="r", digest=digest_of(b"x"))
    for journal in journals:
        journal.close()
    assert [entry.members["peer"] for entry in read_journal(path)] == [str(turn) for turn in range(60)]


def test_whoever_asks_how_long_it_is_disturbs_no_writer(tmp_path):
    """Whoever watches the server asks from a thread, while two workers write."""
    path = tmp_path / "access.jsonl"

    def write(journal):
        for _ in range(1500):
            journal.handed_out("blob", node="gpu-01", peer="10.0.0.7", repository="library/gemma3", digest=digest_of(b"x"))

    journal = Journal(path, now=lambda: 1_800_000_000.0, tally=TALLY)
    child = os.fork()
    if not child:
        write(Journal(path, now=lambda: 1_800_000_000.0, tally=TALLY))
        os._exit(0)
    ended, lengths = threading.Event(), []

    def look():
        while not ended.is_set():
            lengths.append(journal.length()[1])

    looking = threading.Thread(target=look)
    looking.start()
    try:
        write(journal)
        assert os.waitpid(child, 0)[1] == 0
    finally:
        ended.set()
        looking.join()
    entries = list(read_journal(path))
    assert len(entries) == 3000
    assert lengths == sorted(lengths)
    assert journal.length() == (entries[0].digest, 3000)
    journal.close()


def test_a_changed_removed_or_added_line_shows(tmp_path):
    path = tmp_path / "access.jsonl"
    journal = Journal(path, now=lambda: 1_800_000_000.0, tally=TALLY)
    for peer in ("10.0.0.1", "10.0.0.2", "10.0.0.3"):
        journal.denied("no", node="-", peer=peer, repository="")
    journal.close()
    lines = path.read_bytes().splitlines(keepends=True)
    for changed in (lines[0].replace(b"0.0.1", b"0.0.9") + lines[1] + lines[2], lines[0] + lines[2], lines[1] + lines[2], b"x\n" + b"".join(lines)):
        path.write_bytes(changed)
        with pytest.raises(StoreFailed, match="damaged"):
            list(read_journal(path))
    path.write_bytes(b"".join(lines) + b'{"half')  # one that is being written
    assert len(list(read_journal(path))) == 3


def test_a_secret_is_renewed_and_the_old_one_still_believed_while_it_matters(tmp_path):
    clock = [1_800_000_000.0]
    first, second = (Secrets(tmp_path / "server.key", now=lambda: clock[0]) for _ in range(2))
    early = first.mac(b"x", "text")
    assert second.made(b"x", "text", early)
    clock[0] += 25 * 3600
    first.renew()
    assert first.mac(b"x", "text") == early  # a worker that hasn't read the new secret yet must believe it: it is not used for a minute
    second.follow()
    clock[0] += 61
    late = first.mac(b"x", "text")
    assert late != early
    assert second.made(b"x", "text", late)
    assert second.made(b"x", "text", early)
    clock[0] += 24 * 3600
    first.renew()
    assert not first.made(b"x", "text", early)
    assert first.made(b"x", "text", late)
    assert (tmp_path / "server.key").stat().st_mode & 0o777 == 0o600


def test_a_secret_file_that_is_not_one_is_an_error_with_a_hint(tmp_path):
    for content in (b"{}", b"nonsense", b'{"secrets":[],"v":2}', b'{"secret":"00","v":1}', b'{"secrets":[{"made":1,"secret":"00"}],"v":2}'):
        (tmp_path / "server.key").write_bytes(content)
        with pytest.raises(StoreFailed, match="not the server's secrets"):
            Secrets(tmp_path / "server.key", now=lambda: 0.0)


def test_a_nonce_is_used_once_by_all_workers_and_across_a_restart(tmp_path):
    first, second = Nonces(tmp_path / "nonces.db"), Nonces(tmp_path / "nonces.db")
    assert first.use("a", expires=100, now=1)
    assert not second.use("a", expires=100, now=2)
    first.close()
    second.close()
    third = Nonces(tmp_path / "nonces.db")
    assert not third.use("a", expires=100, now=100)
    assert third.use("a", expires=300, now=101)  # forgotten: its timestamp has run out
    third.close()


def test_a_nonce_store_that_is_damaged_is_an_error(tmp_path):
    (tmp_path / "nonces.db").write_bytes(b"nonsense" * 1000)
    with pytest.raises(StoreFailed):
        Nonces(tmp_path / "nonces.db")


def test_the_state_directory_is_the_owners(tmp_path):
    with state_directory(tmp_path / "server"):
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


def no_sendfile(*_):
    """As on a file system that can't."""
    raise OSError(errno.EINVAL, "Invalid argument")


WAYS = {
    "TLS": (True, {}),
    "TLS, read by a thread": (True, {"_cached": lambda *_: 0}),
    "sendfile": (False, {}),
    "no sendfile": (False, {"os.sendfile": no_sendfile}),
    "no sendfile, read by a thread": (False, {"os.sendfile": no_sendfile, "_cached": lambda *_: 0}),
}


@pytest.mark.parametrize(("encrypted", "changes"), WAYS.values(), ids=WAYS.keys())
def test_the_same_bytes_arrive_whichever_way_they_go(tmp_path, monkeypatch, encrypted, changes):
    """sendfile can't encrypt, and a file may not be in memory."""
    content = os.urandom(9 * 1024 * 1024 + 7)
    (tmp_path / "blob").write_bytes(content)
    pem, port, ready, ended = certificate(tmp_path), [], threading.Event(), threading.Event()
    for name, change in changes.items():
        monkeypatch.setattr(f"registry.server.pump.{name}", change)

    async def run():
        pump, tally = Pump(), Tallies(0).row(0)

        async def respond(_):
            file, span = open_checked(tmp_path / "blob", len(content)), Span(5, len(content) - 5, len(content), partial=True)
            return FileResponse(file, span, status=206, headers={"ETag": '"e"'}, lanes=Lanes(Pace(), pump), caller="-")

        server = HttpServer(respond, tally)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.setblocking(False)
            door = Door(listening, Places(8, tally), server, server_tls(pem, pem, None) if encrypted else None)
            door.open()
            port.append(listening.getsockname()[1])
            ready.set()
            await asyncio.to_thread(ended.wait)
            door.close()
            await server.shutdown(1)
            pump.close()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    try:
        assert ready.wait(20)
        client = ssl.create_default_context(cafile=str(pem))
        client.check_hostname = False
        secure = {"context": client} if encrypted else {}
        connection = (http.client.HTTPSConnection if encrypted else http.client.HTTPConnection)("127.0.0.1", port[0], timeout=30, **secure)
        for _ in range(2):  # the connection is as good after a body as before it
            connection.request("GET", "/")
            answer = connection.getresponse()
            first = answer.read(100_000)
            time.sleep(0.1)  # until the socket is full
            assert (answer.status, answer.headers["ETag"], first + answer.read() == content[5:]) == (206, '"e"', True)
        connection.close()
    finally:
        ended.set()
        thread.join()
