"""What a server is told when it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from registry.server.capability import LIFETIME
from registry.server.node_auth import WINDOW
from registry.server.tls import ServerTls, server_tls

__all__ = ["ServerConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """What a server needs to know.

    ``blobs`` is the root of the blob store, ``view`` the published view's file, ``state`` the server's own directory; only the last one is
    written to.  ``port`` 0 lets the system choose.  ``drain_seconds`` is how long running transfers may go on after SIGTERM.
    ``redirect_host`` (``host`` or ``host:port``) answers blob requests with 307 to that other name of this server, which Ollama 0.3.1–0.3.9
    needs; empty: 200 with a ``Location``.  ``names`` are the host names by which nodes may ask; empty: the address they reached, and this machine's
    own names.  ``window`` is how many seconds a node's clock may differ.

    ``tls`` is the certificate and its key, ``client_ca`` whose client certificates are believed.  ``blob_listen`` is the host and port of a second
    listener that hands out blobs by link over plain HTTP, ``metrics_listen`` those of one that says what is counted.  ``workers`` is the number of
    processes; ``max_rate`` (bytes per second, 0: none) is for all of them together, ``max_connections`` and ``max_downloads`` of one node are for
    each.
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
    metrics_listen: tuple[str, int] | None = None
    workers: int = 1
    max_rate: float = 0.0
    max_connections: int = 2048
    max_downloads: int = 64

    def tls_now(self) -> ServerTls | None:
        """Return what the TLS files say now, or None for plain HTTP."""
        return server_tls(*self.tls, self.client_ca) if self.tls else None
