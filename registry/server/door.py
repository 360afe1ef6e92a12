"""The door: accepts connections on one listening socket, finds a place for each, and leads it through the TLS handshake.

asyncio's own ``create_server`` shows a connection to nobody until its handshake is through: whoever opens ten thousand and says nothing would take
every descriptor.  Here a connection counts from the moment it is accepted.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket

from registry.server.metrics import CONNECTIONS_DROPPED
from registry.server.places import Full, Place, Places
from registry.server.protocol import HttpServer
from registry.server.tls import ServerTls
from registry.server.tls_transport import TlsTransport, shake_hands

__all__ = ["Door"]

_AT_ONCE = 16  # accepted in one turn of the loop
_HANDSHAKE = 10.0  # seconds for a TLS handshake
_BREATH = 0.2  # seconds without accepting when there are no descriptors left
_OUT_OF = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

_log = logging.getLogger(__name__)


class Door:
    """Leads who comes to ``server``; ``tls`` may be replaced: connections that are there keep what they have."""

    def __init__(self, listening: socket.socket, places: Places, server: HttpServer, tls: ServerTls | None = None) -> None:
        """Closed at first."""
        self.tls = tls
        self._listening, self._places, self._server = listening, places, server
        self._loop = asyncio.get_running_loop()
        self._silent: dict[socket.socket, asyncio.TimerHandle] = {}
        self._entering: dict[asyncio.Task[None], Place] = {}
        self._reopens: asyncio.TimerHandle | None = None
        self._short = False

    def open(self) -> None:
        """Accept connections from now on."""
        self._reopens = None
        self._loop.add_reader(self._listening.fileno(), self._accept)

    def close(self) -> None:
        """Accept none any more; those in the middle of a handshake are dropped."""
        self._loop.remove_reader(self._listening.fileno())
        if self._reopens is not None:
            self._reopens.cancel()
        for connection in list(self._silent):
            self._drop(connection)
        for place in list(self._entering.values()):
            place.drop()

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, address = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _OUT_OF:
                    raise
                self._pause(error)
                return
            self._short = False
            self._let_in(connection, str(address[0]))

    def _pause(self, error: OSError) -> None:
        if not self._short:
            _log.error("no connection can be accepted just now: %s; raise LimitNOFILE, or lower --max-connections", error.strerror)
        self._short = True
        self._loop.remove_reader(self._listening.fileno())
        self._reopens = self._loop.call_later(_BREATH, self.open)

    def _let_in(self, connection: socket.socket, address: str) -> None:
        place = self._places.take(address, connection.close)
        if isinstance(place, Full):
            connection.close()
            return
        connection.setblocking(False)
        if self.tls is None:
            self._enter(connection, place)
            return
        # What TLS needs for one connection is a hundred times what a socket does: nothing is made before there is a first byte.
        timer = self._loop.call_later(_HANDSHAKE, self._give_up, connection, place)
        self._silent[connection] = timer
        place.drop = lambda: self._drop(connection)
        self._loop.add_reader(connection.fileno(), self._heard, connection, place)

    def _heard(self, connection: socket.socket, place: Place) -> None:
        self._silent.pop(connection).cancel()
        self._loop.remove_reader(connection.fileno())
        self._enter(connection, place)

    def _give_up(self, connection: socket.socket, place: Place) -> None:
        self._drop(connection)
        place.leave()
        self._server.tally.count(CONNECTIONS_DROPPED, "handshake")

    def _drop(self, connection: socket.socket) -> None:
        self._silent.pop(connection).cancel()
        self._loop.remove_reader(connection.fileno())
        connection.close()

    def _enter(self, connection: socket.socket, place: Place) -> None:
        task = self._loop.create_task(self._connect(connection, place))
        place.drop = task.cancel
        self._entering[task] = place
        task.add_done_callback(lambda entered: self._entered(entered, connection, place))

    async def _connect(self, connection: socket.socket, place: Place) -> None:
        protocol = self._server.protocol(place)
        if self.tls is None:
            await self._loop.connect_accepted_socket(lambda: protocol, connection)
        else:
            await self._secure(connection, protocol, self.tls)

    async def _secure(self, connection: socket.socket, protocol: asyncio.Protocol, tls: ServerTls) -> None:
        # It takes the descriptor over from the socket that it is given.
        secured = tls.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        try:
            async with asyncio.timeout(_HANDSHAKE):
                await shake_hands(secured)
            TlsTransport(secured, protocol)
        except BaseException:
            secured.close()
            raise

    def _entered(self, task: asyncio.Task[None], connection: socket.socket, place: Place) -> None:
        self._entering.pop(task, None)
        if task.cancelled() or task.exception() is not None:
            # No handshake: not TLS, too slow, dropped for somebody else, or gone.  An everyday event, like any client that leaves early.
            if place.taken:  # nobody else needed it
                self._server.tally.count(CONNECTIONS_DROPPED, "handshake")
            place.leave()
            connection.close()
