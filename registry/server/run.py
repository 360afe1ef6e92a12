"""Starts the server: checks what it was given, binds its sockets, and runs it in one process or several."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

from registry.errors import AirlockError, Usage
from registry.server.config import ServerConfig
from registry.server.journal import Journal
from registry.server.listening import bind, url_of
from registry.server.metrics import WORKER_ENDS, Tallies
from registry.server.nonces import Nonces
from registry.server.secret import Secrets
from registry.server.state import JOURNAL_NAME, KEY_NAME, NONCES_NAME, state_directory
from registry.server.workers import Workers
from registry.server.working import Sockets, Worker, work

__all__ = ["ServerConfig", "serve"]


def serve(config: ServerConfig, *, ready: Callable[..., None]) -> None:
    """Serve until SIGTERM or SIGINT, then stop accepting, let running transfers finish for ``drain_seconds``, and return.

    A second signal ends the waiting; SIGHUP reads the TLS files again.  Call it in the main thread, before there are others.

    Args:
        config: what to serve, where.
        ready: called once when it accepts connections, with the server's URL and, if there is a listener for metrics, theirs.

    Raises:
        StoreFailed: the state directory can't be used, or another server uses it.
        AirlockError: the address can't be listened on, or TLS can't be spoken with these files.
    """
    if config.client_ca is not None and config.tls is None:
        raise Usage("client certificates need TLS", hint="name --tls-cert and --tls-key")
    config.tls_now()  # says now, and not in each worker, what is wrong with the files
    with state_directory(config.state) as directory:
        # Made once and closed here: workers then open what is there, and what is wrong with it is said by one voice.
        Secrets(directory / KEY_NAME, now=time.time)
        tallies = Tallies(config.workers)
        Journal(directory / JOURNAL_NAME, now=time.time, tally=tallies.row(0)).close()
        Nonces(directory / NONCES_NAME).close()
        sockets = _bind(config)
        url = url_of(sockets[0].main, "https" if config.tls else "http")
        urls = [url] if sockets[0].metrics is None else [url, f"{url_of(sockets[0].metrics, 'http')}/metrics"]

        def close() -> None:
            for each in sockets:
                each.close()

        def run(number: int, tell: Callable[[], None], parent: int) -> None:
            for other in sockets[:number] + sockets[number + 1 :]:
                other.close()
            work(config, directory, Worker(number, sockets[number], tallies, tell, parent))

        try:
            if config.workers == 1:
                work(config, directory, Worker(0, sockets[0], tallies, lambda: ready(*urls)))
            else:
                Workers(config.workers, run, close, lambda: tallies.row(0).count(WORKER_ENDS)).run(lambda: ready(*urls))
        finally:
            close()


def _bind(config: ServerConfig) -> list[Sockets]:
    bound: list[list[socket.socket]] = []
    try:
        bound.append(bind(config.host, config.port, config.workers))
        blobs = bind(*config.blob_listen, config.workers, option="--blob-listen") if config.blob_listen else []
        bound.append(blobs)
        if config.metrics_listen:
            bound.append(bind(*config.metrics_listen, 1, option="--metrics-listen"))  # any worker can speak for all
    except AirlockError:
        for each in (listener for listeners in bound for listener in listeners):
            each.close()
        raise
    watched = bound[2][0] if config.metrics_listen else None
    return [
        Sockets(main, blobs[number] if blobs else None, (watched.dup() if number else watched) if watched else None)
        for number, main in enumerate(bound[0])
    ]
