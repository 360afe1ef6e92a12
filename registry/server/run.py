"""Runs the server: listens, tells that it is ready, and ends without cutting off a pull that can still finish."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from registry.errors import AirlockError, StoreFailed, Usage
from registry.server.app import App
from registry.server.capability import LIFETIME
from registry.server.gate import Gate
from registry.server.hosts import Hosts
from registry.server.journal import Journal
from registry.server.listening import bind, url_of
from registry.server.node_auth import WINDOW
from registry.server.nonces import Nonces
from registry.server.pace import Pace
from registry.server.protocol import HttpServer
from registry.server.secret import Secrets
from registry.server.state import JOURNAL_NAME, KEY_NAME, NONCES_NAME, state_directory
from registry.server.tls import server_context
from registry.server.token_endpoint import TokenEndpoint
from registry.server.transfers import Transfers
from registry.server.watch import Watch
from registry.server.workers import Workers

__all__ = ["ServerConfig", "serve"]

_LOOK = 1.0  # seconds between looks at the secrets, and at the bodies under way
_HANDSHAKE = 10.0  # seconds for a TLS handshake
_RENEW_BY = 0  # the worker that renews the secrets

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """What a server needs to know.

    ``blobs`` is the root of the blob store, ``view`` the published view's file, ``state`` the server's own directory; only the last one is
    written to.  ``port`` 0 lets the system choose.  ``drain_seconds`` is how long running transfers may go on after SIGTERM.
    ``redirect_host`` (``host`` or ``host:port``) answers blob requests with 307 to that other name of this server, which Ollama 0.3.1–0.3.9
    needs; empty: 200 with a ``Location``.  ``names`` are the host names by which nodes may ask; empty: the address they reached, and this machine's
    own names.  ``window`` is how many seconds a node's clock may differ.

    ``tls`` is the certificate and its key, ``client_ca`` whose client certificates are believed.  ``blob_listen`` is the host and port of a second
    listener that hands out blobs by link over plain HTTP.  ``workers`` is the number of processes; ``max_rate`` (bytes per second, 0: none) is for
    all of them together, ``max_connections`` and ``max_downloads`` of one node are for each.
    """

    blobs: Path
    view: Path
    state: Path
    host: str = "127.0.0.1"
    port: int = 5000
    anonymous_pull: bool = False
    drain_seconds: float = 10.0
    capability_seconds: int = LIFETIME
    redirect_host: str = ""
    names: Sequence[str] = ()
    window: int = WINDOW
    tls: tuple[Path, Path] | None = None
    client_ca: Path | None = None
    blob_listen: tuple[str, int] | None = None
    workers: int = 1
    max_rate: float = 0.0
    max_connections: int = 2048
    max_downloads: int = 64

    def context(self) -> ssl.SSLContext | None:
        """Return the TLS context as the files say now, or None for plain HTTP."""
        return server_context(*self.tls, self.client_ca) if self.tls else None


@dataclass(frozen=True, slots=True)
class _Sockets:
    """Where one worker listens."""

    main: socket.socket
    blobs: socket.socket | None

    def close(self) -> None:
        """Close them; what waits in their queues is refused."""
        self.main.close()
        if self.blobs is not None:
            self.blobs.close()


@dataclass(frozen=True, slots=True)
class _Worker:
    """One process that serves: its number, where it listens, whom it tells that it does, and what ends when its parent is gone."""

    number: int
    sockets: _Sockets
    ready: Callable[[], None]
    parent: int | None = None


def serve(config: ServerConfig, *, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT, then stop accepting, let running transfers finish for ``drain_seconds``, and return.

    A second signal ends the waiting; SIGHUP reads the TLS files again.  Call it in the main thread, before there are others.

    Args:
        config: what to serve, where.
        ready: called once with the server's URL when it accepts connections.

    Raises:
        StoreFailed: the state directory can't be used, or another server uses it.
        AirlockError: the address can't be listened on, or TLS can't be spoken with these files.
    """
    if config.client_ca is not None and config.tls is None:
        raise Usage("client certificates need TLS", hint="name --tls-cert and --tls-key")
    config.context()  # says now, and not in each worker, what is wrong with the files
    with state_directory(config.state) as directory:
        # Made once and closed here: workers then open what is there, and what is wrong with it is said by one voice.
        Secrets(directory / KEY_NAME, now=time.time)
        Journal(directory / JOURNAL_NAME, now=time.time).close()
        Nonces(directory / NONCES_NAME).close()
        sockets = _bind(config)
        url = url_of(sockets[0].main, "https" if config.tls else "http")

        def close() -> None:
            for each in sockets:
                each.close()

        def work(number: int, tell: Callable[[], None], parent: int) -> None:
            for other in sockets[:number] + sockets[number + 1 :]:
                other.close()
            _work(config, directory, _Worker(number, sockets[number], tell, parent))

        try:
            if config.workers == 1:
                _work(config, directory, _Worker(0, sockets[0], lambda: ready(url)))
            else:
                Workers(config.workers, work, close).run(lambda: ready(url))
        finally:
            close()


def _bind(config: ServerConfig) -> list[_Sockets]:
    main = bind(config.host, config.port, config.workers)
    try:
        blobs = bind(*config.blob_listen, config.workers, option="--blob-listen") if config.blob_listen else [None] * config.workers
    except AirlockError:
        for each in main:
            each.close()
        raise
    return [_Sockets(*each) for each in zip(main, blobs, strict=True)]


def _work(config: ServerConfig, directory: Path, worker: _Worker) -> None:
    """Serve in this process."""
    with closing(Journal(directory / JOURNAL_NAME, now=time.time)) as journal, closing(Nonces(directory / NONCES_NAME)) as nonces:
        gate = Gate(Watch(config.view, config.blobs), config.anonymous_pull, Secrets(directory / KEY_NAME, now=time.time), journal, time.time)
        app = App(
            gate,
            TokenEndpoint(gate, nonces, config.window),
            Transfers(config.blobs, Pace(config.max_rate / config.workers, config.max_downloads), time.time),
            Hosts(frozenset(name.lower() for name in config.names)),
            redirect_host=config.redirect_host,
            capability_seconds=config.capability_seconds,
            blob_port=worker.sockets.blobs.getsockname()[1] if worker.sockets.blobs else None,
        )
        asyncio.run(_serve(app, config, worker))


async def _serve(app: App, config: ServerConfig, worker: _Worker) -> None:
    loop = asyncio.get_running_loop()
    asked_once, asked_twice = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (asked_twice if asked_once.is_set() else asked_once).set()

    def on_orphaned() -> None:
        assert worker.parent is not None
        loop.remove_reader(worker.parent)
        asked_once.set()

    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, on_signal)
    if worker.parent is not None:
        loop.add_reader(worker.parent, on_orphaned)
    server = HttpServer(app.handle, max_connections=config.max_connections)
    blob_server = HttpServer(app.handle_blobs, max_connections=config.max_connections)
    await asyncio.to_thread(app.gate.watch.refresh)
    door = _Door(config, server, worker.sockets.main)
    await door.open()
    hangups = asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, hangups.set)
    listeners = [await loop.create_server(blob_server, sock=worker.sockets.blobs)] if worker.sockets.blobs else []
    chores: set[asyncio.Task[NoReturn]] = {
        asyncio.create_task(app.gate.watch.follow()),
        asyncio.create_task(_look_after(app, renew=worker.number == _RENEW_BY)),
        asyncio.create_task(door.open_again_after(hangups)),
    }
    try:
        worker.ready()
        waiting = asyncio.create_task(asked_once.wait())
        await asyncio.wait({*chores, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        for chore in chores:
            if chore.done():
                chore.result()  # a mistake of ours must end the server, not freeze what it serves
    finally:
        door.close()
        for listener in listeners:
            listener.close()
        worker.sockets.close()
        for each_server in (server, blob_server):
            each_server.pre_shutdown()
        await _drain(app.running, asked_twice, config.drain_seconds)
        for each_server in (server, blob_server):
            await each_server.shutdown(0.5)
        for chore in chores:
            chore.cancel()
        await asyncio.gather(*chores, return_exceptions=True)


class _Door:
    """The main listener; opened again on the same socket when the TLS files were replaced, so that no connection is refused meanwhile."""

    def __init__(self, config: ServerConfig, server: HttpServer, listening: socket.socket) -> None:
        self._config, self._server, self._socket = config, server, listening
        self._listener: asyncio.Server | None = None

    async def open(self) -> None:
        context = self._config.context()
        timeout = _HANDSHAKE if context else None
        loop = asyncio.get_running_loop()
        before = self._listener
        self._listener = await loop.create_server(self._server, sock=self._socket.dup(), ssl=context, ssl_handshake_timeout=timeout)
        if before is not None:
            before.close()

    async def open_again_after(self, hangups: asyncio.Event) -> NoReturn:
        while True:
            await hangups.wait()
            hangups.clear()
            if self._config.tls is None:
                continue
            try:
                await self.open()
            except AirlockError as error:
                _log.warning("the TLS files were not read again, the ones before stay in use: %s", error)
            else:
                _log.info("the TLS files were read again")

    def close(self) -> None:
        if self._listener is not None:
            self._listener.close()


async def _look_after(app: App, *, renew: bool) -> NoReturn:
    """Once a second: renew or follow the secrets, and end bodies that may not go on.  A full disk leaves the secrets there are."""
    while True:
        with suppress(OSError, StoreFailed):
            if renew:
                app.gate.secrets.renew()
            app.gate.secrets.follow()
        app.transfers.end()
        await asyncio.sleep(_LOOK)


async def _drain(running: set[asyncio.Task[object]], hurry: asyncio.Event, seconds: float) -> None:
    if not running:
        return
    _log.warning("stopping; %d running transfers may take %g more seconds", len(running), seconds)
    pressed = asyncio.create_task(hurry.wait())
    done = asyncio.ensure_future(asyncio.wait(set(running)))
    await asyncio.wait({pressed, done}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    pressed.cancel()
    done.cancel()
    if running:
        _log.warning("%d transfers were cut off", len(running))
    for task in set(running):
        task.cancel()
