"""Speaks HTTP within limits, and answers in our own words when that can't be done."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from registry.server.body import FileResponse
from registry.server.metrics import CONNECTIONS_DROPPED, REFUSALS, Tally
from registry.server.oci import error
from registry.server.places import Place
from registry.server.reasons import Reason
from registry.server.routes import Route

__all__ = ["HttpServer"]

_LINE = 4096  # bytes: no request of Ollama's comes near
_HEADERS = 64
_IDLE_SECONDS = 75.0
_UNREAD_BODY_SECONDS = 1.0  # a refused upload is thrown away for so long, so that its sender can read the refusal

_UNREAD_ANSWER_SECONDS = 30.0  # for a client to take a small answer
_QUIET = 60.0  # seconds between two lines in the log about nonsense
_FIRST_SECONDS = 20.0  # from connecting to a whole first request: a client that sends a byte now and then holds nobody up
_log = logging.getLogger(__name__)


class HttpServer(web.Server):
    """aiohttp's low-level server with our limits; ``tally`` counts what no handler sees."""

    def __init__(self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], tally: Tally) -> None:
        super().__init__(handler)
        self.tally = tally
        self._quiet_until, self._unsaid = 0.0, 0

    def say_nonsense(self, address: str) -> None:
        """Log that something came in that is no request, now and then: whoever sends a million of them must not fill the disk."""
        now = asyncio.get_running_loop().time()
        if now < self._quiet_until:
            self._unsaid += 1
            return
        also = f", and {self._unsaid} times since the last such line" if self._unsaid else ""
        _log.info("refused what is not HTTP, or larger than allowed, from %s%s", address, also)
        self._quiet_until, self._unsaid = now + _QUIET, 0

    def protocol(self, place: Place) -> web.RequestHandler:
        """Return the protocol for the new connection that has this place."""
        return _Connection(
            self,
            place,
            loop=asyncio.get_running_loop(),
            access_log=None,  # pulls are in the journal; a log of requests would hold capability URLs
            auto_decompress=False,
            keepalive_timeout=_IDLE_SECONDS,
            lingering_time=_UNREAD_BODY_SECONDS,
            max_line_size=_LINE,
            max_field_size=_LINE,
            max_headers=_HEADERS,
        )


class _Connection(web.RequestHandler):
    _patience: asyncio.TimerHandle | None = None

    def __init__(self, server: HttpServer, place: Place, **settings: Any) -> None:
        super().__init__(server, **settings)
        self._place, self._server, self._tally = place, server, server.tally

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; whoever has said nothing whole for a while is dropped."""
        super().connection_made(transport)
        assert isinstance(transport, asyncio.Transport)
        self._place.drop = transport.abort
        self._patience = asyncio.get_running_loop().call_later(_FIRST_SECONDS, self._lose_patience)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Give the place back."""
        self._place.leave()
        if self._patience is not None:
            self._patience.cancel()
        super().connection_lost(exc)

    async def _handle_request(self, *arguments: Any) -> tuple[web.StreamResponse, bool]:
        self._place.busy()  # from the whole request to the last byte of its answer
        try:
            return await super()._handle_request(*arguments)
        finally:
            self._place.idle()

    async def finish_response(self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None) -> tuple[web.StreamResponse, bool]:
        """Send the answer.  A small one that its client doesn't read is no reason to keep a place: bodies of blobs have limits of their own."""
        if isinstance(resp, FileResponse):
            return await super().finish_response(request, resp, start_time)
        self._place.idle()
        timer = asyncio.get_running_loop().call_later(_UNREAD_ANSWER_SECONDS, self._place.drop)
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            timer.cancel()

    def _lose_patience(self) -> None:
        if not self._request_count:
            self._tally.count(CONNECTIONS_DROPPED, "slow")
            self.force_close()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer what the parser refused, or what a mistake of ours left unanswered."""
        del message  # the parser quotes what it was sent
        if isinstance(exc, HttpProcessingError):
            self._server.say_nonsense(request.remote or "")
            self._tally.count(REFUSALS, Reason.MALFORMED)
            response = error(status, "UNSUPPORTED", "this is not a request that a registry understands, or it is too large")
        else:
            _log.error("a request of %s was not answered", request.remote, exc_info=exc)
            response = error(500, "UNKNOWN", "the registry could not answer; ask its operator to read its log")
        self._tally.answered(Route.OTHER, response.status, 0.0)
        if request.writer.output_size > 0:
            raise ConnectionError  # half an answer is out: only closing tells the client
        response.force_close()
        return response
