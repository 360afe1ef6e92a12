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
from io import FileIO
from pathlib import Path

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from registry.errors import StoreFailed
from registry.server.pace import Pace
from registry.server.ranges import Span

__all__ = ["FileResponse", "open_checked"]

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


class FileResponse(web.StreamResponse):
    """Answers with ``span`` of ``file`` to ``caller`` and closes the file, whatever happens.

    ``sent`` bytes went out so far; :meth:`abort` ends it in the middle.
    """

    def __init__(self, file: FileIO, span: Span, *, status: int, headers: Mapping[str, str], pace: Pace, caller: str) -> None:
        super().__init__(status=status, headers=headers)
        self.content_length = span.count
        self.sent = 0
        self._file = file
        self._span = span
        self._pace = pace
        self._caller = caller
        self._transport: asyncio.Transport | None = None

    def abort(self) -> None:
        """Close the connection at once: it is all that tells a client that what it was promised ends here."""
        if self._transport is not None:
            self._transport.abort()

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the headers, then the bytes.  aiohttp calls this once; a client that goes away meanwhile is an everyday event."""
        with self._file, self._pace.body(self._caller):
            writer = await super().prepare(request)
            try:
                await self._send(request)
            except ConnectionError:
                raise
            except OSError as error:
                _log.warning("blob %s: can't be read any further: %s", Path(str(self._file.name)).name, error.strerror)
                raise ConnectionResetError from error  # the headers are out: only closing tells the client
        return writer

    async def _send(self, request: web.BaseRequest) -> None:
        self._transport = request.transport
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError
        encrypted = self._transport.get_extra_info("sslcontext") is not None
        while self.sent < self._span.count:
            wanted = min(self._pace.slice(), self._span.count - self.sent)
            before = self.sent
            if encrypted:
                await self._copy(wanted)
            else:
                await self._hand_over(self._transport, wanted)
            if self.sent - before < wanted:
                raise OSError(None, f"it ended {self._span.count - self.sent} bytes early")
            await self._pace.spent(wanted)

    async def _hand_over(self, transport: asyncio.Transport, wanted: int) -> None:
        loop, offset = asyncio.get_running_loop(), self._span.offset + self.sent
        try:
            self.sent += await loop.sendfile(transport, self._file, offset, wanted, fallback=False)
        except asyncio.SendfileNotAvailableError:
            await self._copy(wanted)  # nothing was sent yet: a file system without sendfile, or a client that is already gone

    async def _copy(self, wanted: int) -> None:
        loop, until = asyncio.get_running_loop(), self.sent + wanted
        while self.sent < until:
            size = min(self._pace.read(), until - self.sent)
            data: bytes | memoryview = _cached(self._file.fileno(), size, self._span.offset + self.sent)
            if not data:
                data = await loop.run_in_executor(None, os.pread, self._file.fileno(), size, self._span.offset + self.sent)
            if not data:
                return
            await self.write(data)
            self.sent += len(data)


def _cached(descriptor: int, size: int, offset: int) -> memoryview:
    """Return what the page cache holds of the wanted bytes, or nothing: a disk must not stop the loop, and a thread costs more than the copy."""
    buffer = bytearray(size)
    try:
        count = os.preadv(descriptor, [buffer], offset, os.RWF_NOWAIT)
    except OSError:  # not cached, or a file system that doesn't know the flag
        count = 0
    return memoryview(buffer)[:count]
