"""Start the servers that are compared, each over the same model."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarking.certificate import HOST
from benchmarking.shelf import REPOSITORY, TAG, Shelf, docker_store

ROOT = Path(__file__).resolve().parents[2]
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
SERVE = """
import json, sys
from pathlib import Path
from registry.server.run import ServerConfig, serve
options = json.loads(sys.argv[1])
options |= {name: Path(options[name]) for name in ("blobs", "view", "state")}
if options["tls"]:
    options["tls"] = tuple(map(Path, options["tls"]))
serve(ServerConfig(**options), ready=lambda url: None)
"""


@dataclass(frozen=True, slots=True)
class Contestant:
    """One server: how it is started, and where it has the weights and the manifest.

    One that ``authorizes`` is sent bearer tokens, and hands out the weights by a link that it gives to whoever asks with one, as Ollama does.
    """

    program: str
    tls: bool
    port: int
    command: list[str]
    weights: str
    manifest: str
    authorizes: bool = False

    @property
    def name(self) -> str:
        """What the table calls it."""
        return f"{self.program} {'TLS' if self.tls else 'plain'}"

    @property
    def origin(self) -> str:
        """Where it answers."""
        return f"{'https' if self.tls else 'http'}://{HOST}:{self.port}"


def lineup(shelf: Shelf, *, workers: int, over_tls: tuple[bool, ...] = (False, True)) -> Iterator[Contestant]:
    """Yield airlock, and nginx and docker-registry where they are installed: over plain HTTP, over TLS."""
    for tls in over_tls:
        yield _airlock(shelf, tls, workers)
        if nginx := shutil.which("nginx", path=PATH):
            yield _nginx(nginx, shelf, tls)
        if docker := shutil.which("docker-registry", path=PATH):
            yield _docker(docker, shelf, tls)


def _airlock(shelf: Shelf, tls: bool, workers: int) -> Contestant:
    port = _free_port()
    options = {
        "blobs": str(shelf.blobs.root),
        "view": str(shelf.view),
        "state": str(shelf.directory / f"state-{port}"),
        "port": port,
        "tls": [str(shelf.certificate), str(shelf.key)] if tls else None,
        "workers": workers,
    }
    command = [sys.executable, "-c", SERVE, json.dumps(options)]
    return Contestant("airlock", tls, port, command, f"/v2/{REPOSITORY}/blobs/{shelf.weights}", _manifest_path(), authorizes=True)


def _nginx(program: str, shelf: Shelf, tls: bool) -> Contestant:
    """One process that sends files; the manifest is a file like any other, and so a lower bound for whoever has to look something up."""
    port = _free_port()
    written, scratch = shelf.directory / f"nginx-{port}.conf", shelf.directory / f"nginx-{port}"
    scratch.mkdir()
    elsewhere = "".join(f"{kind}_temp_path {scratch}/{kind}; " for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    secured = f"ssl_certificate {shelf.certificate}; ssl_certificate_key {shelf.key};" if tls else ""
    written.write_text(
        f"daemon off; worker_processes 1; pid {scratch}/pid; error_log stderr;\n"
        + ("user root;\n" if os.geteuid() == 0 else "")
        + "events { worker_connections 4096; }\n"
        f"http {{ access_log off; sendfile on; tcp_nopush on; {elsewhere}\n"
        f"server {{ listen {HOST}:{port} backlog=1024{' ssl' if tls else ''}; {secured} root {shelf.blobs.root}; }} }}\n"
    )
    paths = [f"/{shelf.blobs.path(digest).relative_to(shelf.blobs.root)}" for digest in (shelf.weights, shelf.manifest)]
    return Contestant("nginx", tls, port, [program, "-c", str(written), "-p", str(scratch)], *paths)


def _docker(program: str, shelf: Shelf, tls: bool) -> Contestant:
    """Debian's configuration (it remembers descriptors in memory), without its password."""
    port = _free_port()
    store, written = shelf.directory / f"docker-{port}", shelf.directory / f"docker-{port}.yml"
    docker_store(shelf, store)
    secured = f"\n  tls:\n    certificate: {shelf.certificate}\n    key: {shelf.key}" if tls else ""
    written.write_text(
        "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\n"
        f"storage:\n  cache:\n    blobdescriptor: inmemory\n  filesystem:\n    rootdirectory: {store}\n"
        f"http:\n  addr: {HOST}:{port}{secured}\n"
    )
    command = [program, "serve", str(written)]
    return Contestant("docker-registry", tls, port, command, f"/v2/{REPOSITORY}/blobs/{shelf.weights}", _manifest_path())


def _manifest_path() -> str:
    return f"/v2/{REPOSITORY}/manifests/{TAG}"


def _free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def started(contestant: Contestant, directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends."""
    log = directory / f"{contestant.name}.log"
    more = {"PYTHONPATH": str(ROOT)} if contestant.program == "airlock" else {}
    with log.open("wb") as written:
        process = subprocess.Popen(contestant.command, env={**os.environ, **more}, stdin=subprocess.DEVNULL, stdout=written, stderr=written)
    try:
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection((HOST, contestant.port), timeout=1):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"bench: {contestant.name} does not start\n{log.read_text()[-2000:]}")
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
