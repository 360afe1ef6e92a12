"""Disks that misbehave under a running server: a store swapped, unmounted, made read-only; a state directory that is full; odd things in a file's place."""

import contextlib
import hashlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from registry.store.access_journal import read_journal

MODEL = "/v2/library/gemma3"
PROGRAM = Path(sys.executable).with_name("airlock")
LARGE = 64 << 20


@pytest.fixture
def mount():
    """``mount(where, *options)`` and, to take it away again, ``mount.away(where)``; whatever the test did, nothing stays mounted."""
    if os.geteuid() != 0:
        pytest.skip("this user may not mount a file system")
    mounted = []

    def do(where, *options):
        where.mkdir(exist_ok=True)
        done = subprocess.run(["mount", *map(str, options), str(where)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"not on this machine: {done.stderr.strip()}")
        mounted.append(where)

    def away(where):
        subprocess.run(["umount", "--lazy", str(where)], check=True)
        mounted.remove(where)

    do.away = away
    yield do
    for each in reversed(mounted.copy()):
        away(each)


@pytest.fixture
def site(home):
    home.promoted = home.add("library/gemma3:270m", 1, "promoted", b"weights", b"a licence")
    home.publish()
    home.blob = f"{MODEL}/blobs/{home.promoted.layers[0].digest}"
    return home


@contextlib.contextmanager
def begun(server, path):
    """A download of which only the first bytes were read."""
    with server.connect() as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(1)
        assert head.startswith(b"HTTP/1.1 200 OK")
        yield connection


def rest(connection):
    """The digest and length of what still comes."""
    sha256, length = hashlib.sha256(), 0
    while more := connection.recv(1 << 20):
        sha256.update(more)
        length += len(more)
    return f"sha256:{sha256.hexdigest()}", length


# A blob swapped


def test_a_blob_swapped_for_another_of_its_size_is_noticed_by_who_hashes_it(home, start):
    """A transfer goes on with the file that it opened.  The next one gets what lies there: its digest is the client's to compare, as Ollama does."""
    manifest = home.add("library/gemma3:270m", 1, "promoted", bytes(LARGE))
    home.publish()
    digest = manifest.layers[0].digest
    path, blob = home.blobs.path(digest), f"{MODEL}/blobs/{digest}"
    with start(home) as server:
        with begun(server, blob) as connection:
            other = path.with_name("other")
            other.write_bytes(b"\1" * LARGE)
            other.rename(path)
            assert rest(connection) == (digest, LARGE)
        answer = server.ask(blob)
        assert (answer.status, answer.headers["Docker-Content-Digest"]) == (200, digest)
        assert f"sha256:{hashlib.sha256(answer.body).hexdigest()}" != digest


def test_a_manifest_swapped_for_another_of_its_size_is_never_served(site, start):
    """Manifests are small, hashed when they are read, and kept: what lies there later is not what is answered."""
    digest = site.releases["library/gemma3:270m", 1].manifest
    path = site.blobs.path(digest)
    bent = site.promoted.to_bytes().replace(site.promoted.layers[0].digest.encode(), site.promoted.layers[1].digest.encode())
    assert len(bent) == path.stat().st_size

    def swap():
        path.with_name("other").write_bytes(bent)
        path.with_name("other").rename(path)

    with start(site) as server:
        swap()
        site.publish()
        deadline = time.monotonic() + 20
        while server.health()["sequence"] != site.sequence:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert server.ask(f"{MODEL}/manifests/270m").body == site.promoted.to_bytes()
    with start(site) as server:
        assert server.ask(f"{MODEL}/manifests/270m").status == 404
        assert server.health()["unreadable"] == 1


def test_check_finds_the_blob_that_was_swapped(serving):
    """The whole site, with the real programs: the server hands out what lies there, the client's digest differs, and ``airlock check`` names the blob."""
    view = json.loads(serving.path("in/published/view.json").read_bytes())
    assert view["releases"]
    served = subprocess.Popen(
        [str(PROGRAM), "--home", "in", "serve", "--listen", "127.0.0.1:0", "--anonymous-pull", "--quiet"],
        cwd=serving.root,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        address = served.stdout.readline().strip().rpartition("/")[2]

        def fetch(path):
            return subprocess.run(["curl", "--silent", "--fail", f"http://{address}/v2/library/tiny/{path}"], capture_output=True, check=True).stdout

        digest = json.loads(fetch("manifests/1b"))["layers"][0]["digest"]
        path = serving.path("in/blobs/sha256", digest[7:9], digest[7:])
        content = path.read_bytes()
        assert fetch(f"blobs/{digest}") == content
        path.with_name("other").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        path.with_name("other").rename(path)
        assert f"sha256:{hashlib.sha256(fetch(f'blobs/{digest}')).hexdigest()}" != digest
    finally:
        served.send_signal(signal.SIGTERM)
        served.wait(30)
        served.stdout.close()
    found = serving.program("--home", "in", "check")
    assert found.code == 7
    assert f"blob {digest} is damaged" in found.lines["why"]
    assert serving.program("--home", "in", "check", "--no-contents").code == 0  # nothing but the content is wrong


def put_fifo(path, _):
    os.mkfifo(path)


def put_held_fifo(path, stack):
    os.mkfifo(path)
    stack.callback(os.close, os.open(path, os.O_RDWR))


def put_socket(path, _):
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as made:  # the whole path would be too long for an address
        made.bind(path.name)


def put_device(number):
    def put(path, _):
        try:
            os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, number))
        except PermissionError:
            pytest.skip("this user may not make a device")

    return put


def put_longer(path, _):
    path.write_bytes(b"weights and more")


ODD = {
    "nothing": lambda *_: None,
    "a fifo": put_fifo,
    "a fifo that somebody holds": put_held_fifo,
    "a socket": put_socket,
    "/dev/null": put_device(3),
    "/dev/zero": put_device(5),
    "/dev/full": put_device(7),
    "a directory": lambda path, _: path.mkdir(),
    "a link to the blob": lambda path, _: path.symlink_to(path.with_name("aside")),
    "a link to /dev/zero": lambda path, _: path.symlink_to("/dev/zero"),
    "a link to itself": lambda path, _: path.symlink_to(path),
    "an empty file": lambda path, _: path.touch(),
    "a longer file": put_longer,
}


@pytest.fixture(scope="module")
def standing(make_home, start):
    """A site and its server, for tests that leave both as they were."""
    home = make_home()
    home.promoted = home.add("library/gemma3:270m", 1, "promoted", b"weights", b"a licence")
    home.publish()
    home.blob = f"{MODEL}/blobs/{home.promoted.layers[0].digest}"
    with start(home) as server:
        yield home, server


@pytest.mark.parametrize("put", ODD.values(), ids=ODD.keys())
def test_what_is_no_file_in_a_blobs_place_is_refused_at_once(standing, eventually, put):
    site, server = standing
    path = site.blobs.path(site.promoted.layers[0].digest)
    aside = path.with_name("aside")
    link = server.ask(site.blob).headers["Location"]
    before, said = server.use(), server.log.read_text().count("can't be served")
    with contextlib.ExitStack() as stack:
        path.rename(aside)
        stack.callback(aside.rename, path)
        put(path, stack)
        stack.callback(lambda: path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True))
        for method, target in (("GET", site.blob), ("HEAD", site.blob), ("GET", link), ("HEAD", link)):
            answer = server.ask(target, method)
            assert answer.status in (500, 503)
            if method == "GET":
                assert answer.code == {500: "UNKNOWN", 503: "UNAVAILABLE"}[answer.status]
                assert "Location" not in answer.headers
                assert len(answer.body) < 200
        assert server.ask(f"{MODEL}/manifests/270m").status == 200
        assert server.ask(f"{MODEL}/blobs/{site.promoted.layers[1].digest}").body == b"a licence"
    assert server.ask(link).body == b"weights"
    eventually(lambda: server.use().descriptors <= before.descriptors)
    assert server.log.read_text().count("can't be served") == said + 1
    assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize("put", ODD.values(), ids=ODD.keys())
def test_what_is_no_file_in_a_manifests_or_statements_place_stops_nobody(site, start, put):
    site.add("library/gemma3:1b", 2, "promoted", b"other weights")
    site.publish()
    bent, whole = (site.releases[name, number] for name, number in (("library/gemma3:270m", 1), ("library/gemma3:1b", 2)))
    with contextlib.ExitStack() as stack:
        for digest in (bent.manifest, whole.statement):
            path = site.blobs.path(digest)
            path.rename(path.with_name("aside"))
            put(path, stack)
        with start(site) as server:
            assert server.ask(f"{MODEL}/manifests/270m").status == 404
            assert server.ask(f"{MODEL}/manifests/1b").status == 200
            assert server.ask(f"{MODEL}/referrers/{whole.manifest}").status == 200
            assert server.health()["unreadable"] == 1
    assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize("writer", [False, True], ids=["nobody writes", "somebody could write"])
def test_a_fifo_in_the_published_views_place_changes_nothing(site, start, eventually, writer):
    """Whether or not somebody holds its other end and says nothing."""
    with start(site) as server, contextlib.ExitStack() as stack:
        site.view.unlink()
        os.mkfifo(site.view)
        if writer:
            stack.callback(os.close, os.open(site.view, os.O_RDWR))
        eventually(lambda: server.health()["status"] == "degraded")
        assert server.ask(site.blob).body == b"weights"
        assert server.health()["sequence"] == 1
        site.publish()
        eventually(lambda: server.health() == {"status": "ok", "sequence": 2, "releases": 1, "unreadable": 0, "problem": ""})
    assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize("odd", ["a directory", "a link", "/dev/zero", "a folder that is gone"])
def test_what_is_no_file_in_the_published_views_place_changes_nothing(site, start, eventually, odd):
    good, folder = site.view.read_bytes(), site.view.parent
    with start(site) as server:
        site.view.unlink()
        if odd == "a folder that is gone":
            folder.rename(folder.with_name("elsewhere"))
        elif odd == "a link":
            folder.joinpath("elsewhere").write_bytes(good.replace(b'"sequence":1', b'"sequence":5'))
            site.view.symlink_to("elsewhere")
        elif odd == "a directory":
            site.view.mkdir()
        else:
            put_device(5)(site.view, None)
        eventually(lambda: server.health()["status"] == "degraded")
        for _ in range(3):
            assert server.ask(site.blob).body == b"weights"
        assert server.health()["sequence"] == 1
        if odd == "a directory":
            site.view.rmdir()
        site.publish()
        eventually(lambda: server.health()["status"] == "ok")
        assert server.health()["sequence"] == 2
        assert server.use().peak < 200 << 20


# A store that goes away


def test_a_store_that_is_unmounted_and_comes_back(home, start, eventually, mount):
    """Manifests are still answered, blobs say so with 503 and come back by themselves; what was opened before goes on to its end."""
    manifest = home.add("library/gemma3:270m", 1, "promoted", bytes(LARGE))
    home.publish()
    blob = f"{MODEL}/blobs/{manifest.layers[0].digest}"
    kept = home.root / "kept"
    (home.root / "blobs").rename(kept)
    mount(home.root / "blobs", "--bind", kept)
    with start(home) as server:
        link = server.ask(blob).headers["Location"]
        with begun(server, blob) as connection:
            mount.away(home.root / "blobs")
            for path in (blob, link):
                answer = server.ask(path)
                assert (answer.status, answer.code) == (503, "UNAVAILABLE")
                assert json.loads(answer.body)["errors"][0]["message"] == "this blob can't be read from the registry's store just now"
                assert "Location" not in answer.headers
            assert server.ask(blob, "HEAD").status == 503
            assert server.ask(f"{MODEL}/manifests/270m").body == manifest.to_bytes()
            assert server.ask("/v2/library/none/manifests/latest").status == 404
            home.publish()  # a new view meanwhile: the manifests that were read are still known
            eventually(lambda: server.health()["sequence"] == home.sequence)
            assert server.ask(f"{MODEL}/manifests/270m").status == 200
            assert rest(connection) == (manifest.layers[0].digest, LARGE)
        mount(home.root / "blobs", "--bind", kept)
        assert len(server.ask(link).body) == LARGE
        assert server.ask(blob).status == 200
        assert server.health()["status"] == "ok"
    assert server.log.read_text().count("can't be served") == 1
    assert "Traceback" not in server.log.read_text()


@pytest.mark.slow
def test_a_server_that_is_started_before_its_store_is_mounted(site, start, eventually, mount):
    kept = site.root / "kept"
    (site.root / "blobs").rename(kept)
    (site.root / "blobs").mkdir()
    with start(site) as server:
        assert server.ask(f"{MODEL}/manifests/270m").status == 404
        assert server.health()["unreadable"] == 1
        mount(site.root / "blobs", "--bind", kept)
        eventually(lambda: server.ask(f"{MODEL}/manifests/270m").status == 200, seconds=30)
        assert server.ask(site.blob).body == b"weights"


def test_a_store_and_a_view_that_are_read_only_are_served_as_before(site, start, mount):
    """The server writes to neither of them."""
    with start(site) as server:
        for folder in (site.root / "blobs", site.view.parent):
            mount(folder, "--bind", folder)
            subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
        with pytest.raises(OSError, match="Read-only"):
            site.view.touch()
        assert server.ask(site.blob).body == b"weights"
        assert server.ask(f"{MODEL}/manifests/270m").status == 200
    with start(site) as server:
        assert server.ask(site.blob).body == b"weights"
        assert server.health()["status"] == "ok"


# A state directory that is full


def fill(folder):
    """Write until there is no room; return the file to be removed."""
    file = folder / "filler"
    with file.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while True:
            stream.write(bytes(4096))
    return file


def test_with_a_full_state_directory_nothing_is_handed_out_and_denials_stay_denials(site, start, eventually, mount):
    """Nothing unrecorded goes out; and the journal is whole, without half a line, before and after."""
    key = site.enroll("gpu-01")
    site.publish()
    mount(site.state, "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs")
    with start(site, anonymous_pull=False) as server:
        headers = server.token(key)
        link = server.ask(site.blob, headers=headers).headers["Location"]
        filler = fill(site.state)

        def refused():  # the last page of the journal still has room for some lines
            return server.ask(f"{MODEL}/manifests/270m", headers=headers).status == 503

        eventually(refused)
        for _ in range(5):
            for path in (f"{MODEL}/manifests/270m", site.blob):
                answer = server.ask(path, headers=headers)
                assert (answer.status, answer.code) == (503, "UNAVAILABLE")
                assert b"journal" in answer.body
                assert "Location" not in answer.headers
        assert server.ask(link).body == b"weights"  # decided and recorded before the disk was full
        assert server.ask(link + "0").status == 403
        assert server.ask(f"{MODEL}/manifests/270m").status == 401
        assert server.ask(site.blob).status == 401
        assert server.ask(f"{MODEL}/manifests/none", headers=headers).status == 404
        assert server.ask("/v2/", "POST").status == 405
        assert server.ask("/v2/", headers={"Host": "evil.internal"}).status == 421
        assert server.ask_token(key, skew=4000).status == 403
        handed = [server.ask_token(key) for _ in range(20)]
        assert {answer.status for answer in handed} <= {200, 503}  # as long as the nonce could be written down
        assert server.health()["status"] == "ok"
        lines = list(read_journal(site.state / "access.jsonl"))
        filler.unlink()
        eventually(lambda: server.ask(f"{MODEL}/manifests/270m", headers=headers).status == 200)
        assert server.ask(site.blob, headers=server.token(key)).body == b"weights"
    after = list(read_journal(site.state / "access.jsonl"))
    assert len(after) > len(lines)
    assert "Traceback" not in server.log.read_text()


def test_a_nonce_that_cannot_be_written_down_opens_nothing(site, start, eventually, mount):
    """On a full disk a signed request is refused with 503, never accepted twice; with room again it is good once."""
    key = site.enroll("gpu-01")
    site.publish()
    mount(site.state, "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs")
    with start(site, anonymous_pull=False) as server:
        filler = fill(site.state)
        eventually(lambda: server.ask_token(key).status == 503, seconds=60)
        nonce = os.urandom(8).hex()
        answers = [server.ask_token(key, nonce=nonce) for _ in range(3)]
        assert [answer.status for answer in answers] == [503] * 3
        assert {answer.code for answer in answers} == {"UNAVAILABLE"}
        assert all(b'"token"' not in answer.body for answer in answers)
        filler.unlink()
        assert [server.ask_token(key, nonce=nonce).status for _ in range(3)] == [200, 403, 403]
    assert "Traceback" not in server.log.read_text()
