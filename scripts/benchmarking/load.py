"""Download one file to many nodes at once, to each in ranged parts, each part on a connection of its own."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import selectors
import ssl
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Self

from benchmarking.certificate import HOST
from benchmarking.lineup import Contestant
from benchmarking.processes import cpu_of, wait_until_quiet
from benchmarking.shelf import Shelf

PARTS = 16  # as Ollama does
_CIPHERS = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"  # in the order of Go's crypto/tls, which Ollama speaks with
STALLED = 60  # seconds without a byte, after which curl gives up
BLOCK = 1 << 20


def address_of(number: int) -> str:
    """Return the loopback address from which a node asks, because airlock allows one address no more than a quarter of its connections."""
    return f"127.0.{1 + number // 250}.{1 + number % 250}"


@dataclass(slots=True)
class Node:
    """One node: a curl that waits for its orders on standard input, so that starting it isn't part of what is timed."""

    address: str
    orders: str
    size: int
    process: subprocess.Popen[str] | None = None
    began: float = 0.0
    ended: float = 0.0

    def __enter__(self) -> Self:
        """Start curl."""
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End it, wherever it is."""
        if self.process is not None:
            self.process.kill()
            with self.process:
                pass

    def start(self) -> None:
        """Start a curl that waits."""
        command = ["curl", "--disable", "--config", "-"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def begin(self) -> None:
        """Let it download."""
        assert self.process is not None
        assert self.process.stdin is not None
        self.began = time.perf_counter()
        with contextlib.suppress(BrokenPipeError), self.process.stdin:  # if it has ended already, that is said when it is noticed
            self.process.stdin.write(self.orders)

    def finish(self, contestant: Contestant) -> None:
        """Take note that it has ended; end the program if it hasn't got the whole file, in parts."""
        self.ended = time.perf_counter()
        assert self.process is not None
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        with self.process:
            parts = [line.split() for line in self.process.stdout]
            errors = self.process.stderr.readline().strip()
        got = sum(int(size) for _, size in parts)
        if self.process.returncode or got != self.size or [status for status, _ in parts] != ["206"] * PARTS:
            sys.exit(f"bench: {contestant.name}: the download by {self.address} failed: {errors or f'{got} of {self.size} bytes came'}")


@contextlib.contextmanager
def waiting(contestant: Contestant, shelf: Shelf, count: int) -> Iterator[list[Node]]:
    """Yield that many nodes, each with its link and a curl that has started and waits for its orders."""
    with contextlib.ExitStack() as stack:
        nodes = [stack.enter_context(Node(address_of(each), _orders(contestant, shelf, each), shelf.size)) for each in range(count)]
        wait_until_quiet([each.process.pid for each in nodes if each.process])
        yield nodes


def cpu_of_clients(nodes: Sequence[Node]) -> float:
    """Return the CPU seconds of nodes that haven't ended yet."""
    return sum(cpu_of(each.process.pid) for each in nodes if each.process)


def download(contestant: Contestant, nodes: Sequence[Node]) -> list[float]:
    """Let every waiting node fetch the file once, all at the same moment; return the seconds that each one took."""
    for each in nodes:
        each.begin()
    with _ends(nodes) as ends:
        while ends.get_map():
            for key, _ in ends.select():
                key.data.finish(contestant)
                ends.unregister(key.fd)
                os.close(key.fd)
    return [each.ended - each.began for each in nodes]


def keep_downloading(contestant: Contestant, nodes: Sequence[Node], until: IO[str]) -> None:
    """Let every waiting node fetch the file over and over, until there is something to read from ``until``."""
    for each in nodes:
        each.begin()
    with _ends(nodes) as ends:
        ends.register(until, selectors.EVENT_READ)
        while True:
            for key, _ in ends.select():
                if key.data is None:
                    return
                key.data.finish(contestant)
                ends.unregister(key.fd)
                os.close(key.fd)
                key.data.start()
                key.data.begin()
                ends.register(os.pidfd_open(key.data.process.pid), selectors.EVENT_READ, key.data)


def prove(contestant: Contestant, shelf: Shelf) -> None:
    """Fetch the whole file once; end the program if it isn't the one that all are to serve."""
    hashed = hashlib.sha256()
    with _asked(contestant, shelf, 0) as answer:
        while block := answer.read(BLOCK):
            hashed.update(block)
    if f"sha256:{hashed.hexdigest()}" != shelf.weights:
        sys.exit(f"bench: {contestant.name}: it doesn't send the file that it was given (status {answer.status})")


def _orders(contestant: Contestant, shelf: Shelf, number: int) -> str:
    """Return curl's configuration for one node."""
    url = urllib.parse.urljoin(contestant.origin, _link(contestant, shelf, number) if contestant.authorizes else contestant.weights)
    step = shelf.size // PARTS
    parts = []
    for part in range(PARTS):
        last = shelf.size - 1 if part == PARTS - 1 else (part + 1) * step - 1
        parts.append(
            f'url = "{url}"\nrange = "{part * step}-{last}"\ninterface = "{address_of(number)}"\ncacert = "{shelf.certificate}"\n'
            f'tls13-ciphers = "{_CIPHERS}"\n'
            'output = "/dev/null"\nwrite-out = "%{http_code} %{size_download}\\n"\n'
            f"no-progress-meter\nfail\nhttp1.1\nspeed-limit = 1\nspeed-time = {STALLED}\n"
        )
    return f"parallel\nparallel-immediate\nparallel-max = {PARTS}\n" + "next\n".join(parts)


def _link(contestant: Contestant, shelf: Shelf, number: int) -> str:
    """Return the link that a node gets for its token.  Ollama asks for it once for each blob, before it fetches parts: it isn't timed."""
    with _asked(contestant, shelf, number) as answer:
        link = answer.getheader("Location")
    if not link:
        sys.exit(f"bench: {contestant.name}: no link to the file for {address_of(number)} (status {answer.status})")
    return link


@contextlib.contextmanager
def _asked(contestant: Contestant, shelf: Shelf, number: int) -> Iterator[http.client.HTTPResponse]:
    where = {"timeout": STALLED, "source_address": (address_of(number), 0)}
    context = ssl.create_default_context(cafile=shelf.certificate) if contestant.tls else None
    connection = (
        http.client.HTTPSConnection(HOST, contestant.port, context=context, **where)
        if context
        else http.client.HTTPConnection(HOST, contestant.port, **where)
    )
    with contextlib.closing(connection):
        headers = {"Authorization": f"Bearer {shelf.tokens[number]}"} if contestant.authorizes else {}
        try:
            connection.request("GET", contestant.weights, headers=headers)
            answer = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            sys.exit(f"bench: {contestant.name}: asked for the file it doesn't answer: {error}")
        yield answer


@contextlib.contextmanager
def _ends(nodes: Sequence[Node]) -> Iterator[selectors.BaseSelector]:
    """Yield a selector that tells which of them has ended, at the moment when it has."""
    with selectors.DefaultSelector() as selector:
        for each in nodes:
            assert each.process is not None
            selector.register(os.pidfd_open(each.process.pid), selectors.EVENT_READ, each)
        try:
            yield selector
        finally:
            for key in list(selector.get_map().values()):
                if key.data is not None:
                    os.close(key.fd)
