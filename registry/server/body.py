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
from registry.server.ranges import Span

__all__ = ["FileResponse", "open_checked"]

_READ = 512 * 1024  # bytes per read over TLS; 16 KiB costs five times the CPU, 4 MiB no less than this

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
    """Answers with ``span`` of ``file`` and closes the file, whatever happens."""

    def __init__(self, file: FileIO, span: Span, *, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(status=status, headers=headers)
        self.content_length = span.count
        self._file = file
        self._span = span

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the headers, then the bytes.  aiohttp calls this once; a client that goes away meanwhile is an everyday event."""
        with self._file:
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
        transport, span = request.transport, self._span
        if transport is None or transport.is_closing():
            raise ConnectionResetError
        sent = 0
        if transport.get_extra_info("sslcontext") is None:
            try:
                sent = await asyncio.get_running_loop().sendfile(transport, self._file, span.offset, span.count, fallback=False)
            except asyncio.SendfileNotAvailableError:
                sent = await self._copy()  # nothing was sent yet: a file system without sendfile, or a client that is already gone
        else:
            sent = await self._copy()
        if sent < span.count:
            raise OSError(None, f"it ended {span.count - sent} bytes early")

    async def _copy(self) -> int:
        loop, sent = asyncio.get_running_loop(), 0
        while sent < self._span.count:
            wanted = min(_READ, self._span.count - sent)
            data = await loop.run_in_executor(None, os.pread, self._file.fileno(), wanted, self._span.offset + sent)
            if not data:
                break
            await self.write(data)
            sent += len(data)
        return sent
