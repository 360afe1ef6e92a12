"""TLS straight into the socket: against asyncio's own TLS and openssl at the other end."""

import asyncio
import contextlib
import datetime as dt
import os
import shutil
import socket
import ssl
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from registry.server import tls_transport
from registry.server.tls_transport import TlsTransport, shake_hands

LARGE = os.urandom(24 << 20)  # more than both sockets hold


@pytest.fixture(scope="module")
def pem(tmp_path_factory):
    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    made = made.not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1)).sign(key, hashes.SHA256())
    plain = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(plain + made.public_bytes(serialization.Encoding.PEM))
    return path


def ours(pem):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


def theirs(pem):
    context = ssl.create_default_context(cafile=str(pem))
    context.check_hostname = False
    return context


class Heard(asyncio.Protocol):
    """Keeps what it is told, and answers ``reply`` to the first word."""

    def __init__(self, reply=b""):
        self.told, self.data, self.reply = [], bytearray(), reply
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.told.append("made")
        self.transport = transport

    def data_received(self, data):
        assert data
        self.data += data
        if self.reply:
            self.transport.write(self.reply)
            self.reply = b""

    def eof_received(self):
        self.told.append("eof")

    def pause_writing(self):
        self.told.append("pause")

    def resume_writing(self):
        self.told.append("resume")

    def connection_lost(self, exc):
        self.told.append("lost")
        self.lost.set_result(exc)


class Leaving(Heard):
    """One of a server that is ending."""

    def connection_made(self, transport):
        super().connection_made(transport)
        transport.close()


async def connected(pem, kind=Heard, **options):
    """Return the transport under test with its protocol, once it is there, and the raw socket of a client that has yet to begin TLS."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname())
        accepted, _ = listening.accept()
    accepted.setblocking(False)
    secured = ours(pem).wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)

    async def enter():
        try:
            await shake_hands(secured)
        except OSError:
            secured.close()
            raise
        protocol = kind(**options)
        return TlsTransport(secured, protocol), protocol

    return asyncio.create_task(enter()), client


@contextlib.asynccontextmanager
async def talking(pem, **options):
    """Yield the transport and its protocol, and asyncio's reader and writer at the other end."""
    entering, client = await connected(pem, **options)
    reader, writer = await asyncio.open_connection(sock=client, ssl=theirs(pem), server_hostname="localhost")
    transport, protocol = await entering
    try:
        yield transport, protocol, reader, writer
    finally:
        writer.transport.abort()
        transport.abort()
        await asyncio.wait_for(asyncio.shield(protocol.lost), 10)
        assert protocol.told.count("lost") == 1
        assert transport.is_closing()


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


def test_what_is_said_arrives_on_both_sides(pem):
    async def run():
        async with talking(pem, reply=b"and a good day to you") as (transport, protocol, reader, writer):
            writer.write(b"good day")
            assert await reader.readexactly(21) == b"and a good day to you"
            assert protocol.data == b"good day"
            writer.write(LARGE[:5_000_000])
            await until(lambda: len(protocol.data) == 5_000_008)
            assert protocol.data[8:] == LARGE[:5_000_000]
            assert transport.get_extra_info("cipher")[1] in ("TLSv1.3", "TLSv1.2")
            assert transport.get_extra_info("peername")[0] == "127.0.0.1"

    asyncio.run(run())


def test_more_than_the_sockets_take_waits_and_the_protocol_is_told(pem):
    async def run():
        async with talking(pem) as (transport, protocol, reader, _):
            transport.write(LARGE)
            transport.write(b"the end")
            assert protocol.told == ["made", "pause"]
            assert transport.get_write_buffer_size() > 0
            assert await reader.readexactly(len(LARGE) + 7) == LARGE + b"the end"
            await until(lambda: protocol.told == ["made", "pause", "resume"])
            assert transport.get_write_buffer_size() == 0

    asyncio.run(run())


def test_limits_of_zero_pause_at_the_first_byte_that_waits(pem):
    async def run():
        async with talking(pem) as (transport, protocol, reader, _):
            transport.write(LARGE)
            transport.set_write_buffer_limits(high=1 << 30)
            assert transport.get_write_buffer_limits() == (1 << 28, 1 << 30)
            assert protocol.told == ["made", "pause", "resume"]
            transport.set_write_buffer_limits(high=0)
            assert protocol.told == ["made", "pause", "resume", "pause"]
            await reader.readexactly(len(LARGE))
            await until(lambda: protocol.told[-1] == "resume")

    asyncio.run(run())


def test_closing_sends_what_waits_and_says_that_it_was_all(pem):
    """A client can tell the end from a connection that was cut."""

    async def run():
        entering, client = await connected(pem)
        secured = await asyncio.to_thread(theirs(pem).wrap_socket, client, suppress_ragged_eofs=False, server_hostname="localhost")
        transport, protocol = await entering
        transport.write(LARGE)
        transport.close()
        transport.write(b"too late")

        def read():
            got = bytearray()
            while piece := secured.recv(1 << 16):  # raises where there was no goodbye
                got += piece
            secured.close()
            return got

        assert await asyncio.to_thread(read) == LARGE
        assert await asyncio.wait_for(protocol.lost, 10) is None

    asyncio.run(run())


@pytest.mark.parametrize("says_goodbye", [True, False], ids=["close_notify", "FIN only"])
def test_a_client_that_leaves_is_heard_once(pem, says_goodbye):
    async def run():
        async with talking(pem) as (_, protocol, _, writer):
            if says_goodbye:
                writer.close()
            else:
                writer.get_extra_info("socket").shutdown(socket.SHUT_WR)
            await until(lambda: "lost" in protocol.told)
            assert protocol.told == ["made", "eof", "lost"]

    asyncio.run(run())


def test_aborting_ends_it_at_once_and_closes_the_descriptor(pem):
    async def run():
        async with talking(pem) as (transport, protocol, reader, _):
            transport.write(LARGE)
            transport.abort()
            assert transport.get_extra_info("socket").fileno() == -1
            with contextlib.suppress(OSError):
                assert len(await reader.read()) < len(LARGE)
            await until(lambda: protocol.told == ["made", "pause", "lost"])

    asyncio.run(run())


def test_who_does_not_read_is_told_nothing_and_nothing_is_lost(pem):
    async def run():
        async with talking(pem) as (transport, protocol, _, writer):
            transport.pause_reading()
            assert not transport.is_reading()
            writer.write(b"x" * 40_000)
            writer.close()
            await asyncio.sleep(0.1)
            assert (protocol.told, protocol.data) == (["made"], b"")
            transport.resume_reading()
            await until(lambda: "lost" in protocol.told)
            assert (protocol.told, len(protocol.data)) == (["made", "eof", "lost"], 40_000)

    asyncio.run(run())


def test_after_the_goodbye_nothing_leaves_in_clear(pem):
    """The socket is still open then, and Python's object would write into it without TLS."""

    async def run():
        entering, client = await connected(pem)
        secured = await asyncio.to_thread(theirs(pem).wrap_socket, client, server_hostname="localhost")
        transport, protocol = await entering
        transport.close()
        await asyncio.sleep(0.05)
        assert "lost" not in protocol.told
        with pytest.raises(ConnectionResetError):
            transport.send(memoryview(b"a secret"))
        transport.write(b"a secret")
        raw = socket.socket(fileno=secured.detach())
        raw.settimeout(10)
        assert b"secret" not in await asyncio.to_thread(lambda: b"".join(iter(lambda: raw.recv(1000), b"")))
        raw.close()
        await asyncio.wait_for(protocol.lost, 10)

    asyncio.run(run())


@pytest.mark.parametrize("talks", [False, True], ids=["silent", "talking on"])
def test_a_client_that_stays_after_the_goodbye_is_left(pem, monkeypatch, talks):
    monkeypatch.setattr(tls_transport, "_GOODBYE", 60.0 if talks else 0.2)

    async def run():
        async with talking(pem) as (transport, protocol, _, writer):
            transport.close()
            if talks:
                with contextlib.suppress(ConnectionError):
                    for _ in range(64):
                        writer.write(b"x" * 65536)
                        await writer.drain()
                        await asyncio.sleep(0)
            await until(lambda: "lost" in protocol.told)

    asyncio.run(run())


def test_closing_from_within_the_first_call_is_heard(pem):
    async def run():
        entering, client = await connected(pem, Leaving)
        secured = await asyncio.to_thread(theirs(pem).wrap_socket, client, server_hostname="localhost")
        _, protocol = await entering
        secured.close()
        assert await asyncio.wait_for(protocol.lost, 10) is None

    asyncio.run(run())


def test_nonsense_in_the_middle_ends_it_with_an_error(pem):
    async def run():
        entering, client = await connected(pem)
        secured = await asyncio.to_thread(theirs(pem).wrap_socket, client, server_hostname="localhost")
        _, protocol = await entering
        raw = socket.socket(fileno=secured.detach())
        raw.sendall(b"\x17\x03\x03\x00\x20" + os.urandom(32))
        assert isinstance(await asyncio.wait_for(protocol.lost, 10), ssl.SSLError)
        raw.close()

    asyncio.run(run())


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl")
def test_new_keys_in_the_middle(pem):
    """A client may ask for them at any time (RFC 8446, section 4.6.3); ``K`` on a line of its own is how openssl does."""

    async def run():
        with socket.create_server(("127.0.0.1", 0)) as listening:
            command = ["openssl", "s_client", "-connect", f"127.0.0.1:{listening.getsockname()[1]}", "-CAfile", str(pem), "-tls1_3"]
            client = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            accepted, _ = await asyncio.to_thread(listening.accept)
        accepted.setblocking(False)
        server = ours(pem).wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
        await shake_hands(server)
        protocol = Heard()
        transport = TlsTransport(server, protocol)
        for number in range(1, 4):
            client.stdin.write(b"K\n")
            await asyncio.sleep(0.1)
            client.stdin.write(b"asked\n")
            await until(lambda: len(protocol.data) == 6 * number)  # noqa: B023 - used at once
            transport.write(b"answered\n")
        transport.close()
        client.stdin.close()
        said = await asyncio.wait_for(client.stdout.read(), 20)
        await asyncio.wait_for(client.wait(), 20)
        assert (bytes(protocol.data), said.count(b"answered\n")) == (b"asked\n" * 3, 3)

    asyncio.run(run())


def test_a_handshake_that_fails_says_so(pem):
    async def run():
        entering, client = await connected(pem)
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(ssl.SSLError):
            await entering
        client.close()
        entering, client = await connected(pem)
        client.close()
        with pytest.raises(OSError, match=r"EOF|reset|unexpected"):
            await entering

    asyncio.run(run())
