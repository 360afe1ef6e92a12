"""Speaks HTTP within limits, and answers in our own words when that can't be done."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from registry.server.oci import error

__all__ = ["HttpServer"]

_LINE = 4096  # bytes: no request of Ollama's comes near
_HEADERS = 64
_IDLE_SECONDS = 75.0
_UNREAD_BODY_SECONDS = 1.0  # a refused upload is thrown away for so long, so that its sender can read the refusal

_FIRST_SECONDS = 20.0  # from connecting to a whole first request: a client that sends a byte now and then holds nobody up
_LARGEST_SHARE = 4  # one address may have a quarter of all connections

_log = logging.getLogger(__name__)


class HttpServer(web.Server):
    """aiohttp's low-level server with our limits; an instance is the protocol factory that ``loop.create_server`` wants.

    Beyond ``max_connections``, and for one address beyond a quarter of them, new connections are closed at once.
    """

    def __init__(self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], *, max_connections: int) -> None:
        super().__init__(handler)
        self._most = max_connections
        self._here: Counter[str] = Counter()

    def admit(self, address: str) -> bool:
        """Count one more connection from ``address``, unless there are too many."""
        if self._here.total() >= self._most or self._here[address] >= max(1, self._most // _LARGEST_SHARE):
            return False
        self._here[address] += 1
        return True

    def leave(self, address: str) -> None:
        """Count one less."""
        self._here[address] -= 1
        if not self._here[address]:
            del self._here[address]

    def __call__(self) -> web.RequestHandler:
        """Return the protocol for one new connection."""
        return _Connection(
            self,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # allowed, but typed otherwise: pulls are in the journal; a log of requests would hold capability URLs
            auto_decompress=False,
            keepalive_timeout=_IDLE_SECONDS,
            lingering_time=_UNREAD_BODY_SECONDS,
            max_line_size=_LINE,
            max_field_size=_LINE,
            max_headers=_HEADERS,
        )


class _Connection(web.RequestHandler):
    _admitted: str | None = None
    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or close it at once when there are too many."""
        server = self._manager
        assert isinstance(server, HttpServer)
        address = str((transport.get_extra_info("peername") or ("",))[0])
        super().connection_made(transport)
        if not server.admit(address):
            assert isinstance(transport, asyncio.Transport)
            transport.abort()
            return
        self._admitted = address
        self._server = server
        self._patience = asyncio.get_running_loop().call_later(_FIRST_SECONDS, self._lose_patience)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Count it out."""
        if self._admitted is not None:
            self._server.leave(self._admitted)
            self._admitted = None
        if self._patience is not None:
            self._patience.cancel()
        super().connection_lost(exc)

    def _lose_patience(self) -> None:
        if not self._request_count:
            self.force_close()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer what the parser refused, or what a mistake of ours left unanswered."""
        del message  # the parser quotes what it was sent
        if isinstance(exc, HttpProcessingError):
            _log.info("refused what is not HTTP, or larger than allowed, from %s", request.remote)
            response = error(status, "UNSUPPORTED", "this is not a request that a registry understands, or it is too large")
        else:
            _log.error("a request of %s was not answered", request.remote, exc_info=exc)
            response = error(500, "UNKNOWN", "the registry could not answer; ask its operator to read its log")
        if request.writer.output_size > 0:
            raise ConnectionError  # half an answer is out: only closing tells the client
        response.force_close()
        return response
