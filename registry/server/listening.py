"""Where the server listens: sockets bound once, before the workers, so that a worker that ends loses no connection."""

from __future__ import annotations

import errno
import os
import socket

from registry.errors import AirlockError

__all__ = ["bind", "url_of"]

_BACKLOG = 4096  # who comes while the loop is busy: a hundred nodes begin 1,600 connections at once; the kernel takes at most net.core.somaxconn


def bind(host: str, port: int, count: int, *, option: str = "--listen") -> list[socket.socket]:
    """Return ``count`` listening sockets for one address, among which the kernel spreads connections (SO_REUSEPORT).

    ``port`` 0 lets the system choose.

    Raises:
        AirlockError: the address can't be listened on.
    """
    sockets: list[socket.socket] = []
    try:
        for _ in range(count):
            family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
            made = socket.socket(family, kind, protocol)
            sockets.append(made)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if count > 1:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made.bind(address)
            made.listen(_BACKLOG)
            made.setblocking(False)
            port = made.getsockname()[1]
    except OSError as error:
        for made in sockets:
            made.close()
        why = os.strerror(error.errno) if error.errno and not isinstance(error, socket.gaierror) else str(error.strerror)
        hint = f"choose another address with {option} HOST:PORT"
        if error.errno == errno.EADDRINUSE:
            hint = f"another airlock serve may be running; {hint}"
        raise AirlockError(f"{host}:{port}: can't be listened on", why=why, hint=hint, unchanged="nothing is served") from error
    return sockets


def url_of(listener: socket.socket, scheme: str) -> str:
    """Return the URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
