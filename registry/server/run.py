"""Runs the server: listens, tells that it is ready, and ends without cutting off a pull that can still finish."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from registry.errors import AirlockError, StoreFailed
from registry.server.app import App
from registry.server.capability import LIFETIME
from registry.server.hosts import Hosts
from registry.server.journal import Journal
from registry.server.node_auth import WINDOW
from registry.server.nonces import Nonces
from registry.server.protocol import HttpServer
from registry.server.secret import Secrets
from registry.server.state import JOURNAL_NAME, KEY_NAME, NONCES_NAME, state_directory
from registry.server.watch import Watch

__all__ = ["ServerConfig", "serve"]

_BACKLOG = 1024
_RENEW = 60.0  # seconds between looks at the age of the secrets

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """What a server needs to know.

    ``blobs`` is the root of the blob store, ``view`` the published view's file, ``state`` the server's own directory; only the last one is
    written to.  ``port`` 0 lets the system choose.  ``drain_seconds`` is how long running transfers may go on after SIGTERM.
    ``redirect_host`` (``host`` or ``host:port``) answers blob requests with 307 to that other name of this server, which Ollama 0.3.1–0.3.9
    needs; empty: 200 with a ``Location``.  ``names`` are the host names by which nodes may ask; empty: the address they reached, and this machine's
    own names.  ``window`` is how many seconds a node's clock may differ.
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


def serve(config: ServerConfig, *, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT, then stop accepting, let running transfers finish for ``drain_seconds``, and return.

    A second signal ends the waiting.  Call it in the main thread.

    Args:
        config: what to serve, where.
        ready: called once with the server's URL when it accepts connections.

    Raises:
        StoreFailed: the state directory can't be used, or another server uses it.
        AirlockError: the address can't be listened on.
    """
    with (
        state_directory(config.state) as directory,
        closing(Journal(directory / JOURNAL_NAME, now=time.time)) as journal,
        closing(Nonces(directory / NONCES_NAME)) as nonces,
    ):
        app = App(
            watch=Watch(config.view, config.blobs),
            anonymous_pull=config.anonymous_pull,
            secrets=Secrets(directory / KEY_NAME, now=time.time),
            journal=journal,
            nonces=nonces,
            hosts=Hosts(frozenset(name.lower() for name in config.names)),
            now=time.time,
            redirect_host=config.redirect_host,
            capability_seconds=config.capability_seconds,
            window=config.window,
        )
        asyncio.run(_serve(app, config, ready))


async def _serve(app: App, config: ServerConfig, ready: Callable[[str], None]) -> None:
    loop = asyncio.get_running_loop()
    asked_once, asked_twice = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (asked_twice if asked_once.is_set() else asked_once).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    server = HttpServer(app.handle)
    await asyncio.to_thread(app.watch.refresh)
    listener = await _listen(server, config.host, config.port)
    chores = {asyncio.create_task(app.watch.follow()), asyncio.create_task(_keep_secrets(app.secrets))}
    try:
        ready(_url(listener))
        done, _ = await asyncio.wait({*chores, waiting := asyncio.create_task(asked_once.wait())}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        for chore in done & chores:
            chore.result()  # a mistake of ours must end the server, not freeze what it serves
    finally:
        listener.close()
        server.pre_shutdown()
        await _drain(app.running, asked_twice, config.drain_seconds)
        await server.shutdown(0.5)
        for chore in chores:
            chore.cancel()
        await asyncio.gather(*chores, return_exceptions=True)


async def _keep_secrets(secrets: Secrets) -> NoReturn:
    """Renew the secrets when they are due; a full disk leaves those there are."""
    while True:
        with suppress(OSError, StoreFailed):
            secrets.renew()
        await asyncio.sleep(_RENEW)


async def _listen(server: HttpServer, host: str, port: int) -> asyncio.Server:
    try:
        return await asyncio.get_running_loop().create_server(server, host, port, backlog=_BACKLOG)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno and not isinstance(error, socket.gaierror) else str(error.strerror)
        hint = "choose another address with --listen HOST:PORT"
        if error.errno == errno.EADDRINUSE:
            hint = f"another airlock serve may be running; {hint}"
        raise AirlockError(f"{host}:{port}: can't be listened on", why=why, hint=hint, unchanged="nothing is served") from error


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


def _url(listener: asyncio.Server) -> str:
    host, port = listener.sockets[0].getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
