"""Speaks HTTP within limits, and answers in our own words when that can't be done."""

from __future__ import annotations

import asyncio
import logging

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from registry.server.oci import error

__all__ = ["HttpServer"]

_LINE = 4096  # bytes: no request of Ollama's comes near
_HEADERS = 64
_IDLE_SECONDS = 75.0
_UNREAD_BODY_SECONDS = 1.0  # a refused upload is thrown away for so long, so that its sender can read the refusal

_log = logging.getLogger(__name__)


class HttpServer(web.Server):
    """aiohttp's low-level server with our limits; an instance is the protocol factory that ``loop.create_server`` wants."""

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
