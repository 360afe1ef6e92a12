"""Sends bytes of one checked file.

aiohttp's own ``FileResponse`` replaces our ETag, serves ``.gz`` siblings, answers 404 for a store that is not mounted, and copies 16 KiB at a
time over TLS.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from io import FileIO
from pathlib import Path

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from registry.errors import StoreFailed
from registry.server.pace import Pace
from registry.server.pump import Pump, Sending
from registry.server.ranges import Span

__all__ = ["FileResponse", "Lanes", "Outcome", "open_checked"]

_log = logging.getLogger(__name__)


def open_checked(path: Path, size: int) -> FileIO:
    """Open the file at ``path``, which must be a regular one of exactly ``size`` bytes.  What was checked is what will be sent.

    Raises:
        OSError: it can't be opened: not there, not mounted, not readable by this user.
        StoreFailed: a link, a device, or of another size than the manifest says.
    """
    # Without O_NONBLOCK a fifo in the file's place would stop the whole server.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_size != size:
        os.close(descriptor)
        raise StoreFailed(f"{path.name}: damaged in the store", why=f"expected a regular file of {size} bytes, found {status.st_size} bytes")
    return FileIO(descriptor, "rb")


class Outcome(StrEnum):
    """How a body came to its end."""

    WHOLE = "whole"
    LEFT = "left"
    NO_LONGER_ALLOWED = "no_longer_allowed"
    STALLED = "stalled"
    FAILED = "failed"


@dataclass(slots=True)
class Lanes:
    """How the bodies of one process share it: the ``pace`` of all, and the ``pump`` that sends them."""

    pace: Pace
    pump: Pump


class FileResponse(web.StreamResponse):
    """Answers with ``span`` of ``file`` to ``caller`` and closes the file, whatever happens.

    ``sent`` bytes went out so far; :meth:`abort` ends it in the middle; ``outcome`` is right once it has ended.
    """

    def __init__(self, file: FileIO, span: Span, *, status: int, headers: Mapping[str, str], lanes: Lanes, caller: str) -> None:
        super().__init__(status=status, headers=headers)
        self.content_length = span.count
        self.sent = 0
        self.outcome = Outcome.LEFT
        self._file = file
        self._span = span
        self._lanes = lanes
        self._caller = caller
        self._transport: asyncio.Transport | None = None
        self._sending: Sending | None = None

    def abort(self, why: Outcome) -> None:
        """Close the connection at once: it is all that tells a client that what it was promised ends here."""
        self.outcome = why
        if self._transport is not None:
            self._transport.abort()
        if self._sending is not None:
            self._sending.fail(ConnectionResetError())

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the headers, then the bytes.  aiohttp calls this once; a client that goes away meanwhile is an everyday event."""
        with self._file, self._lanes.pace.body(self._caller):
            writer = await super().prepare(request)
            try:
                if writer is not None:  # else aiohttp had answered already
                    await self._send(request, writer)
                    self.outcome = Outcome.WHOLE
            except ConnectionError:
                raise
            except OSError as error:
                if self.outcome is Outcome.LEFT:
                    self.outcome = Outcome.FAILED
                _log.warning("blob %s: can't be read any further: %s", Path(str(self._file.name)).name, error.strerror)
                raise ConnectionResetError from error  # the headers are out: only closing tells the client
        return writer

    async def _send(self, request: web.BaseRequest, writer: AbstractStreamWriter) -> None:
        transport = self._transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError
        reading = transport.is_reading()
        transport.pause_reading()  # a client that closes its half of the connection still gets what it asked for
        try:
            await self._slices(transport, writer)
        finally:
            if reading and not transport.is_closing():
                transport.resume_reading()

    async def _slices(self, transport: asyncio.Transport, writer: AbstractStreamWriter) -> None:
        if transport.get_write_buffer_size():  # the headers must be out before anything goes past the transport
            transport.set_write_buffer_limits(high=0)
            await writer.drain()
            transport.set_write_buffer_limits()
        pace, pump = self._lanes.pace, self._lanes.pump
        while self.sent < self._span.count:
            wanted = pace.slice(self._span.count - self.sent)
            before = self.sent
            try:
                self._sending = pump.begin(transport, self._file.fileno(), self._span.offset + before, wanted, self._moved)
                await pump.end(self._sending)
            finally:
                self._sending = None
            if self.sent - before < wanted:
                raise OSError(None, f"it ended {self._span.count - self.sent} bytes early")
            await pace.spent(wanted)

    def _moved(self, count: int) -> None:
        self.sent += count
