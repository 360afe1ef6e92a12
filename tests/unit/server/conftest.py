"""A home with published models, and a real server process over it."""

import base64
import contextlib
import hashlib
import http.client
import json
import os
import resource
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import registry
from registry.content.callers import KnownNode, KnownToken
from registry.content.digest import digest_of
from registry.content.manifest import CONFIG_TYPE, MANIFEST_TYPE, Descriptor, Manifest
from registry.content.reference import Reference
from registry.content.view import PublishedRelease, ServedState, View
from registry.store.blobs import LocalBlobStore
from registry.store.files import replace_file
from registry.trust.statement import Release

PROGRAM = """
import json, logging, sys
from pathlib import Path
from registry.server.run import ServerConfig, serve
options = json.loads(sys.argv[1])
options |= {name: Path(options[name]) for name in ("blobs", "view", "state", "client_ca") if name in options}
if "tls" in options:
    options["tls"] = tuple(map(Path, options["tls"]))
logging.basicConfig(level=logging.INFO)
serve(ServerConfig(**options), ready=lambda *urls: print(*urls, flush=True))
"""

CROWD = """
import json, resource, select, socket, sys
order = json.loads(sys.argv[1])
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
poll, opening, crowd = select.epoll(), {}, []

def let_in(most):
    while len(opening) > most:
        for number, _ in poll.poll():
            each = opening.pop(number)
            poll.unregister(number)
            try:
                each.send(bytes.fromhex(order["text"]))
            except OSError:
                pass  # it was sent away already: it had its turn

def here(each):
    try:
        while each.recv(65536):
            pass
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False

for number in range(order["count"]):
    each = socket.socket()
    each.setblocking(False)
    each.bind((order["sources"][number % len(order["sources"])], 0))
    each.connect_ex(tuple(order["address"]))
    opening[each.fileno()] = each
    poll.register(each, select.EPOLLOUT)
    crowd.append(each)
    let_in(100)
let_in(0)
print("all", flush=True)
for line in sys.stdin:
    if not order["reads"]:
        print(len(crowd), flush=True)
    else:
        print(sum(map(here, crowd)), flush=True)
"""


class OllamaKey:
    """The key of a stock Ollama, and how it signs (ollama, ``server/auth.go``)."""

    def __init__(self):
        self.private = Ed25519PrivateKey.generate()
        raw = self.private.public_key().public_bytes_raw()
        self.wire = base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + raw).decode()
        self.public = f"ssh-ed25519 {self.wire}"

    def sign(self, url):
        """Return the ``Authorization`` header for GET ``url``."""
        nothing = base64.b64encode(hashlib.sha256(b"").hexdigest().encode()).decode()
        return f"{self.wire}:{base64.b64encode(self.private.sign(f'GET,{url},{nothing}'.encode())).decode()}"


@dataclass
class Home:
    """What an inside home holds, as far as the server reads it."""

    root: Path
    releases: dict = field(default_factory=dict)
    sequence: int = 0
    nodes: dict = field(default_factory=dict)
    rules: tuple = ()
    tokens: dict = field(default_factory=dict)
    accepted: int | None = None
    journals: dict = field(default_factory=dict)

    @property
    def blobs(self):
        return LocalBlobStore(self.root / "blobs")

    @property
    def view(self):
        return self.root / "published" / "view.json"

    @property
    def state(self):
        return self.root / "server"

    def add(self, name, number, state, *contents):
        """Add a release whose layers have these contents; return its manifest."""
        repository, _, tag = name.partition(":")
        layers = tuple(Descriptor("application/vnd.ollama.image.model", self.blobs.add(content), len(content)) for content in contents)
        config = b'{"model_format":"gguf"}'
        manifest = Manifest(Descriptor(CONFIG_TYPE, self.blobs.add(config), len(config)), layers)
        digest = self.blobs.add(manifest.to_bytes())
        namespace, _, model = repository.partition("/")
        objects = (Descriptor(MANIFEST_TYPE, digest, len(manifest.to_bytes())), *manifest.blobs)
        stated = Release("ab" * 32, Reference(namespace, model, tag), number, "cd" * 32, objects, "file:synthetic.gguf")
        statement = self.blobs.add(stated.to_bytes())
        self.releases[name, number] = PublishedRelease("ab" * 32, repository, tag, number, ServedState(state), digest, statement)
        return manifest

    def publish(self):
        """Replace the published view as the writer does."""
        self.sequence += 1
        self.view.parent.mkdir(exist_ok=True)
        replace_file(self.view, self.published().to_bytes())

    def published(self):
        known = tuple(self.nodes.values()), self.rules, tuple(self.tokens.values())
        return View("site-1", self.sequence, tuple(self.releases.values()), (), *known, self.accepted, self.journals)

    def enroll(self, name, *groups, certificate="", key=None):
        """Enrol a node, with a new key if it has neither a key nor a certificate; return its key."""
        key = key or (None if certificate else OllamaKey())
        self.nodes[name] = KnownNode(name, key.public if key else "", certificate, tuple(sorted(groups)))
        return key

    def issue(self, name, *patterns, groups=(), expires=None):
        """Issue a bearer token; return its text."""
        text = f"airlock_{name}-and-32-random-bytes"
        self.tokens[name] = KnownToken(name, digest_of(text.encode()), patterns, expires or int(time.time()) + 3600, groups)
        return text

    def journal_lines(self):
        """Return the digest of each line of the access journal."""
        return [digest_of(line) for line in (self.state / "access.jsonl").read_bytes().splitlines()]

    def journal(self):
        return [json.loads(line) for line in (self.state / "access.jsonl").read_text().splitlines()]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def code(self):
        return json.loads(self.body)["errors"][0]["code"]


def _send(connection, data):
    with contextlib.suppress(OSError):  # the server may close before it has read everything
        connection.sendall(data)


@dataclass(frozen=True)
class Use:
    peak: int
    memory: int
    descriptors: int


@dataclass(frozen=True)
class Server:
    process: subprocess.Popen
    url: str
    log: Path
    metrics: str = ""

    @property
    def address(self):
        parts = urllib.parse.urlsplit(self.url)
        return parts.hostname, parts.port

    def connect(self, source="127.0.0.1"):
        """Return a connection from the address ``source``."""
        return socket.create_connection(self.address, timeout=30, source_address=(source, 0))

    def exchange(self, data):
        """Send these bytes, whatever they are, and return what comes back until the server closes the connection."""
        received = b""
        with self.connect() as connection, contextlib.suppress(ConnectionError):
            sender = threading.Thread(target=_send, args=(connection, data))
            sender.start()
            try:
                while more := connection.recv(65536):
                    received += more
            finally:
                sender.join()
        return received

    def use(self, process=None):
        """What the server's process (or another one) uses: memory in bytes at its peak and now, and open descriptors."""
        proc = Path(f"/proc/{process or self.process.pid}")
        fields = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
        peak, now = (int(fields[name].split()[0]) << 10 for name in ("VmHWM", "VmRSS"))
        return Use(peak, now, len(list((proc / "fd").iterdir())))

    def sending(self, digest):
        """How many times the server has the blob open: once for each body under way."""
        opened = 0
        for descriptor in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                opened += descriptor.readlink().name == digest.removeprefix("sha256:")
        return opened

    def ask(self, path, method="GET", headers=(), body=None, source="127.0.0.1"):
        """Send one request with exactly this path and return the answer."""
        connection = http.client.HTTPConnection(*self.address, timeout=30, source_address=(source, 0))
        with contextlib.closing(connection):
            connection.putrequest(method, path, skip_accept_encoding=True, skip_host="Host" in dict(headers))
            for name, value in dict(headers).items():
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())

    def ask_token(self, key, repository="library/gemma3", *, skew=0, sign=None, headers=(), **fields):
        """Ask for a token as a node does; ``sign`` is the origin in the signed URL, ``fields`` replaces those of the query."""
        query = {
            "nonce": os.urandom(16).hex(),
            "scope": f"repository:{repository}:pull",
            "service": "airlock",
            "ts": str(int(time.time()) + skew),
        }
        target = "/token?" + urllib.parse.urlencode({name: value for name, value in {**query, **fields}.items() if value is not None})
        return self.ask(target, headers={"Authorization": key.sign((sign or self.url) + target), **dict(headers)})

    def token(self, key, repository="library/gemma3"):
        """Return the headers by which a node asks for something in ``repository``."""
        answer = self.ask_token(key, repository)
        assert answer.status == 200, answer.body
        return {"Authorization": f"Bearer {json.loads(answer.body)['token']}"}

    def health(self):
        return json.loads(self.ask("/healthz").body)


@contextlib.contextmanager
def serving(home, **options):
    """Run a server over ``home`` while the block runs."""
    paths = {"blobs": str(home.root / "blobs"), "view": str(home.view), "state": str(home.state)}
    environment = {**os.environ, "PYTHONPATH": str(Path(registry.__file__).parents[1]), "PYTHONWARNINGS": "error"}
    home.root.mkdir(exist_ok=True)
    log = home.root / "server.log"
    with log.open("ab") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, json.dumps({**paths, "port": 0, "anonymous_pull": True, **options})],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    try:
        url, *metrics = process.stdout.readline().split() or [""]
        assert url, log.read_text()
        yield Server(process, url, log, *metrics)
    finally:
        process.terminate()
        try:
            process.wait(30)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


@pytest.fixture(scope="session")
def make_home(tmp_path_factory):
    """A function that returns a home that outlives a test."""
    return lambda: Home(tmp_path_factory.mktemp("shared") / "home")


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


@pytest.fixture(scope="session")
def start():
    """``with start(home, **options) as server:`` runs a server."""
    return serving


@dataclass(frozen=True)
class Served:
    """A server and what it serves: one promoted model, one approved one, one that is only in the store."""

    server: Server
    home: Home
    promoted: Manifest
    approved: Manifest
    hidden: Manifest
    weights: bytes


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    home = Home(tmp_path_factory.mktemp("served"))
    weights = bytes(range(256)) * 4096 + b"the end"
    promoted = home.add("library/gemma3:270m", 1, "promoted", weights, b"a licence")
    approved = home.add("library/gemma3:270m", 2, "approved", b"other weights", b"a licence")
    hidden = home.add("library/gemma3:270m", 3, "approved", b"hidden weights")
    del home.releases["library/gemma3:270m", 3]
    home.add("clinical/triage:latest", 1, "approved", b"triage")
    home.publish()
    with serving(home) as server:
        yield Served(server, home, promoted, approved, hidden, weights)


class Crowd:
    """Many connections from many addresses, held by processes of their own: this one may not open so many files."""

    def __init__(self, address, count, sources, text, *, reads):
        each = min(2500, resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 100)
        shares = [min(each, count - begun) for begun in range(0, count, each)]
        self._processes = []
        for number, share in enumerate(shares):
            order = {"address": address, "count": share, "sources": sources[number :: len(shares)] or sources, "text": text.hex(), "reads": reads}
            command = [sys.executable, "-c", CROWD, json.dumps(order)]
            self._processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        self._waiters = [threading.Thread(target=process.stdout.readline) for process in self._processes]
        for waiter in self._waiters:
            waiter.start()

    def gathering(self):
        """Whether some of them have not been let in, or sent away, yet."""
        return any(waiter.is_alive() for waiter in self._waiters)

    def staying(self):
        """How many the server has not closed."""
        for process in self._processes:
            process.stdin.write("how many\n")
            process.stdin.flush()
        return sum(int(process.stdout.readline()) for process in self._processes)

    def leave(self):
        """Close all of them."""
        for process in self._processes:
            process.kill()
            process.wait()
        for waiter in self._waiters:
            waiter.join()
        for process in self._processes:
            process.stdin.close()
            process.stdout.close()


@pytest.fixture
def crowd():
    """``crowd(server, count, addresses)`` opens connections from as many addresses, each with the same ``text``; they leave when the test ends.

    With ``reads=False`` none of them ever reads what it is sent.
    """
    crowds = []

    def gather(server, count, addresses, text=b"", *, reads=True):
        sources = [f"127.{7 + len(crowds)}.{number // 250}.{1 + number % 250}" for number in range(addresses)]
        crowds.append(Crowd(server.address, count, sources, text, reads=reads))
        return crowds[-1]

    yield gather
    for each in crowds:
        each.leave()


@pytest.fixture
def manifest_digest():
    return lambda manifest: digest_of(manifest.to_bytes())


@pytest.fixture(scope="session")
def make_key():
    """A function that returns a new key of an Ollama."""
    return OllamaKey


@pytest.fixture(scope="session")
def eventually():
    """Poll until a probe holds; changes must be seen within a second, the rest is patience with a busy machine."""

    def wait(probe, seconds=10):
        deadline = time.monotonic() + seconds
        while not probe():
            assert time.monotonic() < deadline, "it never happened"
            time.sleep(0.05)

    return wait
