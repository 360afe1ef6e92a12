"""Moves files into sockets without a copy through this program: a few slices in each turn of the event loop, everybody in turn.

``loop.sendfile`` sends as much as a socket takes, for every socket that takes any, before the loop looks at anything else: with hundreds of parts a
request for a manifest then waits for hundreds of copies.  It also asks the kernel three more times for each slice.  Here the sockets wait in an epoll
instance of their own, which is one readable descriptor to the loop; the kernel hands out those that are ready in the order of a queue, so that nobody
is served twice before everybody was served once (epoll_wait(2), "Notes": round robin through the ready descriptors).
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

__all__ = ["NoZeroCopy", "Pump", "Sending"]

_AT_ONCE = 8  # slices in one turn of the loop, so that a manifest waits for milliseconds
_SLICE = 4 << 20  # bytes at most in one slice, which takes about half a millisecond; a socket's buffer takes less than that as a rule
_GONE = {errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN}
_UNSUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}


class NoZeroCopy(Exception):
    """The file system can't do it, and nothing was sent."""


@dataclass(slots=True, eq=False)
class Sending:
    """``left`` bytes from ``offset`` of ``file`` that are still to go into ``socket`` (both descriptors); ``moved`` hears of each slice."""

    transport: asyncio.WriteTransport
    socket: int
    file: int
    offset: int
    left: int
    moved: Callable[[int], None]
    done: asyncio.Future[None]

    def fail(self, error: BaseException) -> None:
        """End it; its waiter raises ``error``."""
        if not self.done.done():
            self.done.set_exception(error)


class Pump:
    """Works in the running event loop, from the first file to :meth:`close`."""

    def __init__(self) -> None:
        """Make the epoll instance."""
        self._epoll = select.epoll()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._epoll.fileno(), self._turn)
        self._sending: dict[int, Sending] = {}

    def close(self) -> None:
        """Send nothing any more."""
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
        for sending in self._sending.values():
            sending.fail(ConnectionResetError())

    def begin(self, transport: asyncio.WriteTransport, file: int, offset: int, count: int, moved: Callable[[int], None]) -> Sending:
        """Begin to send ``count`` bytes of ``file`` from ``offset``; wait for it with :meth:`end`.  All that was written before must be out.

        Raises:
            NoZeroCopy: there is no descriptor left for it.
            ConnectionError: the client is gone.
        """
        if transport.is_closing():
            raise ConnectionResetError
        try:
            # A descriptor of our own: the transport's could be closed and given to another connection while it is in our queue.
            own = os.dup(transport.get_extra_info("socket").fileno())
        except OSError as error:  # there is none left
            raise NoZeroCopy from error
        try:
            self._epoll.register(own, select.EPOLLOUT)
        except OSError as error:
            os.close(own)
            raise NoZeroCopy from error
        self._sending[own] = Sending(transport, own, file, offset, count, moved, self._loop.create_future())
        return self._sending[own]

    async def end(self, sending: Sending) -> None:
        """Wait until ``sending`` is through; fewer bytes went out where the file ended early (``left`` says how many are missing).

        Raises:
            NoZeroCopy: the file system can't do it, and nothing was sent.
            ConnectionError: the client is gone.
            OSError: the file can't be read.
        """
        try:
            await sending.done
        finally:
            del self._sending[sending.socket]
            # Closing alone would leave it in the queue for as long as the transport has the same socket open (epoll(7), question 6).
            with suppress(OSError, ValueError):
                self._epoll.unregister(sending.socket)
            os.close(sending.socket)

    def _turn(self) -> None:
        for descriptor, _ in self._epoll.poll(0, _AT_ONCE):
            sending = self._sending[descriptor]
            if not sending.done.done():
                self._slice(sending)
            if sending.done.done():  # its waiter comes in the next turn of the loop
                self._epoll.modify(descriptor, 0)

    def _slice(self, sending: Sending) -> None:
        if sending.transport.is_closing():
            sending.fail(ConnectionResetError())
            return
        try:
            count = os.sendfile(sending.socket, sending.file, sending.offset, min(sending.left, _SLICE))
        except BlockingIOError:
            return
        except OSError as error:
            sending.fail(NoZeroCopy() if error.errno in _UNSUPPORTED else ConnectionResetError() if error.errno in _GONE else error)
            return
        sending.offset += count
        sending.left -= count
        sending.moved(count)
        if not count or not sending.left:
            sending.done.set_result(None)
