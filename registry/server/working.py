"""One process at work: listens, looks after what it serves, and ends without cutting off a pull that can still finish."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from registry.errors import AirlockError, StoreFailed
from registry.server.app import App
from registry.server.body import Lanes
from registry.server.config import ServerConfig
from registry.server.descriptors import raise_descriptor_limit
from registry.server.door import Door
from registry.server.gate import Gate
from registry.server.hosts import Hosts
from registry.server.journal import Journal
from registry.server.metrics import JOURNAL_LAG, LOOP_LAG, WORKERS, Tallies, Tally
from registry.server.nonces import Nonces
from registry.server.pace import Pace
from registry.server.places import Places
from registry.server.protocol import HttpServer
from registry.server.pump import Pump
from registry.server.secret import Secrets
from registry.server.state import JOURNAL_NAME, KEY_NAME, NONCES_NAME
from registry.server.token_endpoint import TokenEndpoint
from registry.server.transfers import Transfers
from registry.server.watch import Watch

__all__ = ["Sockets", "Worker", "work"]

_LOOK = 1.0  # seconds between looks at the secrets, and at the bodies under way
_RENEW_BY = 0  # the worker that renews the secrets
_WATCHERS = 64  # connections to the listener for metrics

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sockets:
    """Where one worker listens."""

    main: socket.socket
    blobs: socket.socket | None = None
    metrics: socket.socket | None = None

    def close(self) -> None:
        """Close them; what waits in their queues is refused."""
        for each in (self.main, self.blobs, self.metrics):
            if each is not None:
                each.close()


@dataclass(frozen=True, slots=True)
class Worker:
    """One process that serves: its number, where it listens and counts, whom it tells that it does, and what ends when its parent is gone."""

    number: int
    sockets: Sockets
    tallies: Tallies
    ready: Callable[[], None]
    parent: int | None = None

    @property
    def tally(self) -> Tally:
        """Where this process counts."""
        return self.tallies.row(self.number + 1)


def work(config: ServerConfig, directory: Path, worker: Worker) -> None:
    """Serve in this process."""
    raise_descriptor_limit(config.max_connections)
    gc.collect()
    gc.freeze()  # what is there stays; what a crowd leaves behind, in cycles, is then looked through often and cheaply
    worker.tally.begin(os.getpid())
    worker.tally.set(WORKERS, 1)
    with closing(Journal(directory / JOURNAL_NAME, now=time.time, tally=worker.tally)) as journal, closing(Nonces(directory / NONCES_NAME)) as nonces:
        asyncio.run(_serve(config, directory, worker, journal, nonces))


def _make_app(config: ServerConfig, directory: Path, worker: Worker, journal: Journal, nonces: Nonces) -> App:
    tally, secrets = worker.tally, Secrets(directory / KEY_NAME, now=time.time)
    gate = Gate(Watch(config.view, config.blobs), config.anonymous_pull, secrets, journal, tally, time.time)
    lanes = Lanes(Pace(config.max_rate / config.workers, config.max_downloads), Pump())
    return App(
        gate,
        TokenEndpoint(gate, nonces, config.window),
        Transfers(config.blobs, lanes, time.monotonic, tally),
        Hosts(frozenset(name.lower() for name in config.names)),
        tally,
        redirect_host=config.redirect_host,
        capability_seconds=config.capability_seconds,
        blob_port=worker.sockets.blobs.getsockname()[1] if worker.sockets.blobs else None,
    )


async def _serve(config: ServerConfig, directory: Path, worker: Worker, journal: Journal, nonces: Nonces) -> None:
    loop, app = asyncio.get_running_loop(), _make_app(config, directory, worker, journal, nonces)
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
    places, servers = Places(config.max_connections, worker.tally), [HttpServer(app.handle, worker.tally)]
    front = Door(worker.sockets.main, places, servers[0], config.tls_now())
    doors = [front]
    if worker.sockets.blobs is not None:
        servers.append(HttpServer(app.handle_blobs, worker.tally))
        doors.append(Door(worker.sockets.blobs, places, servers[-1]))
    if worker.sockets.metrics is not None:
        servers.append(_metrics_server(app, front, config, worker))
        doors.append(Door(worker.sockets.metrics, Places(_WATCHERS, servers[-1].tally), servers[-1]))
    await asyncio.to_thread(app.gate.watch.refresh)
    for door in doors:
        door.open()
    hangups = asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, hangups.set)
    chores: set[asyncio.Task[NoReturn]] = {
        asyncio.create_task(app.gate.watch.follow()),
        asyncio.create_task(_look_after(app, renew=worker.number == _RENEW_BY)),
        asyncio.create_task(_read_tls_again(config, front, hangups)),
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
        for door in doors:
            door.close()
        worker.sockets.close()
        for server in servers:
            server.pre_shutdown()
        await _drain(app.running, asked_twice, config.drain_seconds)
        for server in servers:
            await server.shutdown(0.5)
        for chore in chores:
            chore.cancel()
        await asyncio.gather(*chores, return_exceptions=True)
        app.transfers.lanes.pump.close()


def _metrics_server(app: App, front: Door, config: ServerConfig, worker: Worker) -> HttpServer:
    from registry.server.exposition import Exposition  # noqa: PLC0415 - only for those who ask for it

    places = config.max_connections * config.workers
    exposition = Exposition(worker.tallies, app.gate, lambda: front.tls.expires if front.tls else None, places)
    return HttpServer(exposition.handle, Tallies(0).row(0))  # scrapes aren't counted among pulls


async def _read_tls_again(config: ServerConfig, door: Door, hangups: asyncio.Event) -> NoReturn:
    """On SIGHUP: new connections get what the files say then; those that are there keep what they have."""
    while True:
        await hangups.wait()
        hangups.clear()
        if config.tls is None:
            continue
        try:
            door.tls = config.tls_now()
        except AirlockError as error:
            _log.warning("the TLS files were not read again, the ones before stay in use: %s", error)
        else:
            _log.info("the TLS files were read again")


async def _look_after(app: App, *, renew: bool) -> NoReturn:
    """Once a second: renew or follow the secrets, end bodies that may not go on, and make the journal durable.

    A full disk leaves the secrets there are.
    """
    loop = asyncio.get_running_loop()
    own = ThreadPoolExecutor(1, "journal")  # of its own, as that of the published view
    planned, syncing = loop.time(), loop.run_in_executor(own, app.gate.journal.sync)
    while True:
        app.tally.set(LOOP_LAG, max(0.0, loop.time() - planned))
        with suppress(OSError, StoreFailed):
            if renew:
                app.gate.secrets.renew()
            app.gate.secrets.follow()
        app.transfers.end()
        app.tally.set(JOURNAL_LAG, app.gate.journal.lag())
        if syncing.done():  # a disk that takes its time must not keep links and revocations waiting
            syncing = loop.run_in_executor(own, app.gate.journal.sync)
        planned = loop.time() + _LOOK
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
