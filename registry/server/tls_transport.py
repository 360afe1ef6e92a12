"""TLS straight into the socket, as a transport for asyncio.

asyncio's own TLS encrypts into a buffer in memory, copies it out as an object, joins it to what waits, and sends that: four copies of every byte, in
buffers that OpenSSL never shrinks.  Here OpenSSL reads from the socket and writes to it, and keeps one record of each connection: for hundreds of
bodies at once that takes half the CPU, and a third of the memory.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable
from contextlib import suppress

__all__ = ["TlsTransport", "shake_hands"]

_RECORD = 16 << 10  # bytes of plaintext in a TLS record at most (RFC 8446, section 5.1): what is read at once, so that OpenSSL keeps nothing back
_READS = 16  # records read in one turn of the event loop
_HIGH, _LOW = 64 << 10, 16 << 10  # bytes that wait when the protocol is asked to pause, and when it may go on
_GOODBYE = 5.0  # seconds for a client to close its side after we closed ours
_DISCARDED = 1 << 20  # bytes it may still send meanwhile


async def shake_hands(connection: ssl.SSLSocket) -> None:
    """Lead a connection that doesn't block through its TLS handshake.

    Raises:
        OSError: it failed, or the client is gone (``ssl.SSLError`` is one).
    """
    loop, descriptor = asyncio.get_running_loop(), connection.fileno()
    while True:
        try:
            connection.do_handshake()
        except ssl.SSLWantReadError:
            await _until(lambda ready: loop.add_reader(descriptor, ready), lambda: loop.remove_reader(descriptor))
        except ssl.SSLWantWriteError:
            await _until(lambda ready: loop.add_writer(descriptor, ready), lambda: loop.remove_writer(descriptor))
        else:
            return


async def _until(begin: Callable[[Callable[[], None]], None], end: Callable[[], object]) -> None:
    ready = asyncio.Event()
    begin(ready.set)
    try:
        await ready.wait()
    finally:
        end()


class TlsTransport(asyncio.Transport):
    """Carries ``protocol`` over ``connection``, which doesn't block and whose handshake is through.

    What asyncio's transports promise holds here, too.  Besides, :meth:`send` goes past the buffer.
    """

    def __init__(self, connection: ssl.SSLSocket, protocol: asyncio.Protocol) -> None:
        """Begin: the protocol hears of its connection at once."""
        about = {
            "socket": connection,
            "ssl_object": connection,
            "sslcontext": connection.context,
            "peercert": connection.getpeercert(),
            "cipher": connection.cipher(),
            "peername": connection.getpeername(),
            "sockname": connection.getsockname(),
        }
        super().__init__(about)
        self._loop = asyncio.get_running_loop()
        self._connection, self._descriptor = connection, connection.fileno()
        self._protocol: asyncio.BaseProtocol = protocol
        self._waiting: deque[bytes] = deque()
        self._high, self._low = _HIGH, _LOW
        self._reading, self._paused, self._closing, self._ended, self._heard_all = True, False, False, False, False
        self._goodbye: asyncio.TimerHandle | None = None
        self._may_discard = _DISCARDED
        protocol.connection_made(self)
        if not self._closing:
            self._loop.add_reader(self._descriptor, self._read)

    # Reading

    def is_reading(self) -> bool:
        """Tell whether what arrives goes to the protocol."""
        return self._reading and not self._closing

    def pause_reading(self) -> None:
        """Leave what arrives where it is."""
        if self.is_reading():
            self._reading = False
            self._loop.remove_reader(self._descriptor)

    def resume_reading(self) -> None:
        """Go on."""
        if not self._reading and not self._closing:
            self._reading = True
            self._loop.add_reader(self._descriptor, self._read)
            self._loop.call_soon(self._read)  # what OpenSSL has decrypted already makes no descriptor readable

    def _read(self) -> None:
        for _ in range(_READS):
            if not self.is_reading():
                return
            try:
                data = self._connection.recv(_RECORD)
            except ssl.SSLWantReadError:
                return
            except OSError as error:
                self._end(error)
                return
            assert isinstance(self._protocol, asyncio.Protocol)
            if not data:
                self._heard_all = True
                self._loop.remove_reader(self._descriptor)
                self._protocol.eof_received()
                self.close()
                return
            self._protocol.data_received(data)
        if self.is_reading() and self._connection.pending():
            self._loop.call_soon(self._read)

    # Writing

    def write(self, data: bytes | bytearray | memoryview[int]) -> None:
        """Send ``data`` now, as far as that goes, and the rest when the socket takes it."""
        if self._closing or not data:
            return
        if not self._waiting:
            sent = self._put(data)
            if sent is None or sent == len(data):
                return
            data = memoryview(data)[sent:]
            self._loop.add_writer(self._descriptor, self._write)
        self._waiting.append(bytes(data))  # the same bytes must come again: OpenSSL has encrypted some of them already (SSL_write(3), "Warnings")
        self._pause_or_resume()

    def send(self, data: memoryview[int]) -> int:
        """Send ``data`` past the buffer, where nothing waits, and return how many bytes went out.

        Raises:
            ssl.SSLWantWriteError: the socket takes no more; come again with the same bytes.
            OSError: the client is gone, or the transport is closing.
        """
        if self._closing or self._waiting:
            raise ConnectionResetError
        return self._connection.send(data)

    def _put(self, data: bytes | bytearray | memoryview[int]) -> int | None:
        """Return how many bytes went out, or None when that ended the connection."""
        try:
            return self._connection.send(data)
        except ssl.SSLWantWriteError:
            return 0
        except OSError as error:
            self._end(error)
            return None

    def _write(self) -> None:
        while self._waiting:
            sent = self._put(self._waiting[0])
            if not sent:
                return
            if rest := self._waiting[0][sent:]:
                self._waiting[0] = rest
            else:
                self._waiting.popleft()
        self._loop.remove_writer(self._descriptor)
        self._pause_or_resume()
        if self._closing:
            self._say_goodbye()

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait."""
        return sum(map(len, self._waiting))

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return at how many bytes the protocol may go on, and above how many it is asked to pause."""
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set them."""
        self._high = high if high is not None else 4 * low if low is not None else _HIGH
        self._low = low if low is not None else self._high // 4
        self._pause_or_resume()

    def can_write_eof(self) -> bool:
        """Tell that half a connection can't be closed."""
        return False

    def _pause_or_resume(self) -> None:
        size = self.get_write_buffer_size()
        if not self._paused and size > self._high:
            self._paused = True
            self._protocol.pause_writing()
        elif self._paused and size <= self._low:
            self._paused = False
            self._protocol.resume_writing()

    # The end

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Let another one take over."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return who uses this transport."""
        return self._protocol

    def is_closing(self) -> bool:
        """Tell whether it is at its end."""
        return self._closing

    def close(self) -> None:
        """Send what waits, say that this was all, and close."""
        if self._closing:
            return
        self._loop.remove_reader(self._descriptor)
        self._closing = True
        if not self._waiting:
            self._loop.call_soon(self._say_goodbye)

    def abort(self) -> None:
        """Close at once."""
        self._end(None)

    def _say_goodbye(self) -> None:
        """Tell the client that this was all (RFC 8446, section 6.1), and wait a moment for it to leave.

        Closing while something arrives would reset the connection, and take the end of our answer with it.
        """
        if self._ended:
            return
        with suppress(OSError, ValueError):
            self._connection.unwrap()
        try:
            self._connection.shutdown(socket.SHUT_WR)  # after which the object reads and writes without TLS
        except OSError:
            self._heard_all = True
        if self._heard_all:
            self._end(None)
            return
        self._goodbye = self._loop.call_later(_GOODBYE, self.abort)
        self._loop.add_reader(self._descriptor, self._discard)

    def _discard(self) -> None:
        try:
            self._may_discard -= (count := len(self._connection.recv(_RECORD)))
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            count = 0
        if not count or self._may_discard < 0:
            self.abort()

    def _end(self, error: Exception | None) -> None:
        if self._ended:
            return
        self._closing = self._ended = True
        self._loop.remove_reader(self._descriptor)
        self._loop.remove_writer(self._descriptor)
        if self._goodbye is not None:
            self._goodbye.cancel()
        self._waiting.clear()
        self._connection.close()
        self._loop.call_soon(self._protocol.connection_lost, error)
