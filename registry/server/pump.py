"""Moves files into sockets: a few slices in each turn of the event loop, everybody in turn; over plain HTTP without a copy through this program.

``loop.sendfile`` sends as much as a socket takes, for every socket that takes any, before the loop looks at anything else: with hundreds of parts a
request for a manifest then waits for hundreds of copies.  It also asks the kernel three more times for each slice.  Here the sockets wait in an epoll
instance of their own, which is one readable descriptor to the loop; the kernel hands out those that are ready in the order of a queue, so that nobody
is served twice before everybody was served once (epoll_wait(2), "Notes": round robin through the ready descriptors).

What has to be encrypted, and what a file system can't send by itself, goes through one buffer that all share: nothing waits in it, since what a
socket doesn't take now is read again when it does.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from registry.server.tls_transport import TlsTransport

__all__ = ["Pump", "Sending"]

_AT_ONCE = 8  # slices in one turn of the loop, so that a manifest waits for milliseconds
_SLICE = 8 << 20  # bytes at most in one slice that the kernel sends by itself, in half a millisecond; every slice wakes its client once more
_COPY = 256 << 10  # bytes read and encrypted at once, in a fifth of a millisecond
_GONE = {errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN}
_UNSUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}


@dataclass(slots=True, eq=False)
class Sending:
    """``left`` bytes from ``offset`` of ``file`` that are still to go out; ``moved`` hears of each slice.

    ``socket`` and ``file`` are descriptors, ``write`` puts bytes into the socket.  Where bytes are ``copied``, ``again`` of them were begun:
    OpenSSL wants all of these once more, however many have gone out (SSL_write(3), "Warnings").
    """

    transport: asyncio.WriteTransport
    socket: int
    file: int
    offset: int
    left: int
    moved: Callable[[int], None]
    done: asyncio.Future[None]
    write: Callable[[memoryview], int]
    copied: bool
    again: int = 0

    def fail(self, error: BaseException) -> None:
        """End it; its waiter raises ``error``."""
        if not self.done.done():
            self.done.set_exception(error)

    def advance(self, count: int) -> None:
        """Take note that ``count`` bytes went out, none of them at the end of the file."""
        self.offset += count
        self.left -= count
        self.again = 0
        self.moved(count)
        if not count or not self.left:
            self.done.set_result(None)


class Pump:
    """Works in the running event loop, from the first file to :meth:`close`."""

    def __init__(self) -> None:
        """Make the epoll instance."""
        self._epoll = select.epoll()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._epoll.fileno(), self._turn)
        self._sending: dict[int, Sending] = {}
        self._room = memoryview(bytearray(_COPY))

    def close(self) -> None:
        """Send nothing any more."""
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
        for sending in self._sending.values():
            sending.fail(ConnectionResetError())

    def begin(self, transport: asyncio.WriteTransport, file: int, offset: int, count: int, moved: Callable[[int], None]) -> Sending:
        """Begin to send ``count`` bytes of ``file`` from ``offset``; wait for it with :meth:`end`.  All that was written before must be out.

        Raises:
            ConnectionError: the client is gone.
            OSError: there is no descriptor left for it.
        """
        if transport.is_closing():
            raise ConnectionResetError
        connection = transport.get_extra_info("socket")
        # A descriptor of our own: the transport's could be closed and given to another connection while it is in our queue.
        own = os.dup(connection.fileno())
        try:
            self._epoll.register(own, select.EPOLLOUT)
        except OSError:
            os.close(own)
            raise
        _cork(connection, 1)
        encrypts = isinstance(transport, TlsTransport)
        write = transport.send if isinstance(transport, TlsTransport) else partial(os.write, own)
        self._sending[own] = Sending(transport, own, file, offset, count, moved, self._loop.create_future(), write, copied=encrypts)
        return self._sending[own]

    async def end(self, sending: Sending) -> None:
        """Wait until ``sending`` is through; fewer bytes went out where the file ended early (``left`` says how many are missing).

        Raises:
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
            _cork(sending.transport.get_extra_info("socket"), 0)

    def _turn(self) -> None:
        for descriptor, _ in self._epoll.poll(0, _AT_ONCE):
            sending = self._sending[descriptor]
            if not sending.done.done():
                self._slice(sending)
            if sending.done.done():  # its waiter comes in the next turn of the loop
                with suppress(OSError):  # not there while a thread reads for it
                    self._epoll.modify(descriptor, 0)

    def _slice(self, sending: Sending) -> None:
        if sending.transport.is_closing():
            sending.fail(ConnectionResetError())
        elif sending.copied:
            self._copy(sending)
        else:
            self._hand_over(sending)

    def _hand_over(self, sending: Sending) -> None:
        try:
            count = os.sendfile(sending.socket, sending.file, sending.offset, min(sending.left, _SLICE))
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                sending.copied = True
            else:
                sending.fail(ConnectionResetError() if error.errno in _GONE else error)
            return
        sending.advance(count)

    def _copy(self, sending: Sending) -> None:
        wanted = sending.again or min(sending.left, _COPY)
        room = self._room[:wanted]
        count = _cached(sending.file, room, sending.offset)
        if count == wanted or (count and not sending.again):
            self._put(sending, room[:count])
            return
        self._epoll.unregister(sending.socket)
        reading = self._loop.run_in_executor(None, os.pread, sending.file, wanted, sending.offset)
        reading.add_done_callback(partial(self._read, sending))

    def _read(self, sending: Sending, reading: asyncio.Future[bytes]) -> None:
        """Send what a thread has read."""
        error = ConnectionResetError() if reading.cancelled() else reading.exception()
        if error:
            sending.fail(error)
        elif sending.done.done() or sending.transport.is_closing():
            sending.fail(ConnectionResetError())
        elif len(data := reading.result()) < (sending.again or 1):
            sending.done.set_result(None)  # the file ended early
        else:
            self._epoll.register(sending.socket, select.EPOLLOUT)
            self._put(sending, memoryview(data))

    def _put(self, sending: Sending, data: memoryview) -> None:
        try:
            count = sending.write(data)
        except ssl.SSLWantWriteError:
            sending.again = len(data)
        except BlockingIOError:
            return
        except OSError:
            sending.fail(ConnectionResetError())
        else:
            sending.advance(count)


def _cork(connection: socket.socket, on: int) -> None:
    """Let the kernel send full segments only (tcp(7), ``TCP_CORK``), or what there is.

    A record of TLS would leave by itself, and wake its client, sixteen times as often.
    """
    with suppress(OSError):  # closed, or no TCP
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, on)


def _cached(descriptor: int, room: memoryview, offset: int) -> int:
    """Read what the page cache holds of the wanted bytes, and return how many: a disk must not stop the loop, a thread costs more than the copy."""
    try:
        return os.preadv(descriptor, [room], offset, os.RWF_NOWAIT)
    except OSError:  # not cached, or a file system that doesn't know the flag
        return 0
