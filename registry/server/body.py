"""Sends bytes of one checked file: zero-copy over plain HTTP, in large reads over TLS.

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
from registry.server.pump import NoZeroCopy, Pump, Sending
from registry.server.ranges import Span
from registry.server.turns import Turns

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
    """How the bodies of one process share it: the ``pace`` of all, the ``pump`` for what goes without a copy, ``turns`` for what is copied."""

    pace: Pace
    pump: Pump
    turns: Turns


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
        self._buffer: memoryview | None = None
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
        if transport.get_extra_info("sslcontext") is not None:
            await self._slices(transport, writer, zero_copy=False)
            return
        reading = transport.is_reading()
        transport.pause_reading()  # a client that closes its half of the connection still gets what it asked for
        try:
            await self._slices(transport, writer, zero_copy=True)
        finally:
            if reading and not transport.is_closing():
                transport.resume_reading()

    async def _slices(self, transport: asyncio.Transport, writer: AbstractStreamWriter, *, zero_copy: bool) -> None:
        if transport.get_write_buffer_size():  # the headers must be out before anything goes past the transport
            transport.set_write_buffer_limits(high=0)
            await writer.drain()
            transport.set_write_buffer_limits()
        pace = self._lanes.pace
        while self.sent < self._span.count:
            wanted = pace.slice(self._span.count - self.sent)
            before = self.sent
            if zero_copy:
                try:
                    await self._hand_over(transport, wanted)
                except NoZeroCopy:
                    zero_copy = False
                    continue
            else:
                await self._copy(transport, writer, wanted)
            if self.sent - before < wanted:
                raise OSError(None, f"it ended {self._span.count - self.sent} bytes early")
            await pace.spent(wanted)

    async def _hand_over(self, transport: asyncio.Transport, wanted: int) -> None:
        try:
            self._sending = self._lanes.pump.begin(transport, self._file.fileno(), self._span.offset + self.sent, wanted, self._moved)
            await self._lanes.pump.end(self._sending)
        finally:
            self._sending = None

    def _moved(self, count: int) -> None:
        self.sent += count

    def _room(self, size: int) -> memoryview:
        """Return where to read ``size`` bytes: the same place each time, unless so many read that each keeping one would be too much."""
        if self._lanes.pace.crowded:
            self._buffer = None
            return memoryview(bytearray(size))
        if self._buffer is None or len(self._buffer) < size:
            self._buffer = memoryview(bytearray(size))
        return self._buffer[:size]

    async def _copy(self, transport: asyncio.Transport, writer: AbstractStreamWriter, wanted: int) -> None:
        loop, until, pace = asyncio.get_running_loop(), self.sent + wanted, self._lanes.pace
        encrypted = transport.get_extra_info("sslcontext") is not None
        # With these limits nothing of ours waits in asyncio any more when drain() returns.  So one buffer serves for all slices, and a client that
        # stalls holds two or three; asyncio's own limits would let it hold three quarters of a megabyte.  A plain transport pauses above the limit,
        # one of TLS when it is reached (asyncio, ``transports.py`` and ``sslproto.py``).
        transport.set_write_buffer_limits(high=int(encrypted), low=0)
        while self.sent < until:
            await self._lanes.turns.wait(pace.active)
            if encrypted and not transport.is_reading():
                # It sent hundreds of requests ahead.  asyncio would not see it close its half, and throw away what we write, without a word.
                raise ConnectionResetError
            room, offset = self._room(min(pace.read(), until - self.sent)), self._span.offset + self.sent
            count = _cached(self._file.fileno(), room, offset)
            if not count:
                count = await loop.run_in_executor(None, os.preadv, self._file.fileno(), [room], offset)
            if not count:
                return
            await writer.write(room[:count])
            await writer.drain()
            self.sent += count


def _cached(descriptor: int, room: memoryview, offset: int) -> int:
    """Read what the page cache holds of the wanted bytes, and return how many: a disk must not stop the loop, a thread costs more than the copy."""
    try:
        return os.preadv(descriptor, [room], offset, os.RWF_NOWAIT)
    except OSError:  # not cached, or a file system that doesn't know the flag
        return 0
