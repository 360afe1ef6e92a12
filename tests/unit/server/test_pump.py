"""The pump: real sockets and files, everybody in turn, and every way in which it ends early."""

import asyncio
import contextlib
import os
import socket
from pathlib import Path

import pytest

from registry.server.pump import Pump

CONTENT = os.urandom(6 << 20)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "blob"
    path.write_bytes(CONTENT)
    with path.open("rb") as stream:
        yield stream


@contextlib.asynccontextmanager
async def pumping():
    pump = Pump()
    try:
        yield pump
    finally:
        pump.close()


@contextlib.asynccontextmanager
async def connected():
    """A transport to send into, and a reader at its other end."""
    here, there = socket.socketpair()
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=here)
    reader, writer = await asyncio.open_connection(sock=there)
    try:
        yield transport, reader
    finally:
        transport.abort()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def send(pump, transport, file, offset, count):
    moved = []
    sending = pump.begin(transport, file.fileno(), offset, count, moved.append)
    await pump.end(sending)
    return sum(moved), sending.left


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_the_bytes_asked_for_arrive(file):
    async def run():
        async with pumping() as pump, connected() as (transport, reader):
            before = descriptors()
            sending = asyncio.create_task(send(pump, transport, file, 7, 5_000_000))
            assert await reader.readexactly(5_000_000) == CONTENT[7 : 7 + 5_000_000]
            assert await sending == (5_000_000, 0)
            assert descriptors() == before

    asyncio.run(run())


def test_a_file_that_ends_early_says_how_much_is_missing(file):
    async def run():
        async with pumping() as pump, connected() as (transport, reader):
            sending = asyncio.create_task(send(pump, transport, file, len(CONTENT) - 10, 100))
            assert await reader.readexactly(10) == CONTENT[-10:]
            assert await sending == (10, 90)

    asyncio.run(run())


def test_a_client_that_leaves_is_a_connection_error(file):
    async def run():
        async with pumping() as pump, connected() as (transport, reader):
            sending = asyncio.create_task(send(pump, transport, file, 0, len(CONTENT)))
            await reader.readexactly(1000)
            reader._transport.abort()
            with pytest.raises(ConnectionError):
                await sending

    asyncio.run(run())


def test_a_transport_that_is_closed_meanwhile_gets_nothing_more_and_a_stalled_one_can_be_ended(file):
    async def run():
        async with pumping() as pump, connected() as (transport, reader):
            sending = pump.begin(transport, file.fileno(), 0, len(CONTENT), lambda _: None)
            waiting = asyncio.create_task(pump.end(sending))
            await reader.readexactly(1000)
            transport.abort()
            await reader.read(100_000)  # makes room, so that the pump would go on
            with pytest.raises(ConnectionError):
                await waiting
        async with pumping() as pump, connected() as (transport, _):
            sending = pump.begin(transport, file.fileno(), 0, len(CONTENT), lambda _: None)
            waiting = asyncio.create_task(pump.end(sending))
            await asyncio.sleep(0.05)  # full: nobody reads
            sending.fail(ConnectionResetError())
            with pytest.raises(ConnectionResetError):
                await waiting

    asyncio.run(run())


def test_everybody_in_turn(file):
    """Sixteen whose readers are always ready: nobody is done before everybody has begun."""

    async def run():
        begun, done = set(), []
        async with pumping() as pump, contextlib.AsyncExitStack() as stack:

            async def one(number, transport, reader):
                def moved(count):
                    begun.add(number)

                sending = pump.begin(transport, file.fileno(), 0, len(CONTENT), moved)
                reading = asyncio.create_task(reader.readexactly(len(CONTENT)))
                await pump.end(sending)
                done.append(len(begun))
                assert await reading == CONTENT

            pairs = [await stack.enter_async_context(connected()) for _ in range(16)]
            await asyncio.gather(*(one(number, *pair) for number, pair in enumerate(pairs)))
        assert done == [16] * 16

    asyncio.run(run())


def test_a_waiter_that_is_cancelled_leaves_nothing_behind(file):
    """The transport goes on, as it does for a moment when the server ends."""

    async def run():
        complaints = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        async with pumping() as pump, connected() as (transport, reader):
            before = descriptors()
            waiting = asyncio.create_task(pump.end(pump.begin(transport, file.fileno(), 0, len(CONTENT), lambda _: None)))
            await reader.readexactly(1000)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            while len(await reader.read(1 << 20)) == 1 << 20:
                pass
            await asyncio.sleep(0.05)  # writable again, with nobody to write
            assert descriptors() == before
            assert await asyncio.gather(send(pump, transport, file, 0, 10), reader.readexactly(10)) == [(10, 0), CONTENT[:10]]
        assert complaints == []

    asyncio.run(run())


def test_nothing_begins_on_a_transport_that_is_closing(file):
    async def run():
        async with pumping() as pump, connected() as (transport, _):
            transport.abort()
            with pytest.raises(ConnectionResetError):
                pump.begin(transport, file.fileno(), 0, 10, lambda _: None)

    asyncio.run(run())


def test_a_pump_that_is_closed_ends_what_it_was_doing(file):
    async def run():
        async with connected() as (transport, _):
            async with pumping() as pump:
                waiting = asyncio.create_task(pump.end(pump.begin(transport, file.fileno(), 0, len(CONTENT), lambda _: None)))
                await asyncio.sleep(0.05)
            with pytest.raises(ConnectionResetError):
                await waiting

    asyncio.run(run())
