"""The door: places are given back exactly once, whatever a handshake comes to and whenever it does."""

import asyncio
import contextlib
import datetime as dt
import socket
import ssl
import threading
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from registry.server import door
from registry.server.door import Door
from registry.server.metrics import CONNECTIONS_DROPPED, CONNECTIONS_OPEN, Tallies
from registry.server.oci import answer
from registry.server.places import Places
from registry.server.protocol import HttpServer
from registry.server.tls import server_tls


@pytest.fixture
def tls(tmp_path):
    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    made = made.not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1)).sign(key, hashes.SHA256())
    (tmp_path / "c.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "k.pem").write_bytes(plain)
    return server_tls(tmp_path / "c.pem", tmp_path / "k.pem", None)


class Client:
    """One that shakes hands step by step."""

    def __init__(self, address):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.socket = socket.create_connection(address, timeout=10)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing)
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        self.hello = self.outgoing.read()

    def answer(self):
        """Take the server's part of the handshake, and return the last one of ours; nothing if the server has gone."""
        self.incoming.write(self.socket.recv(65536))
        with contextlib.suppress(ssl.SSLError):
            self.tls.do_handshake()
        return self.outgoing.read()


def run(tls, behave):
    """Let ``behave(address)`` meet a door in a thread of its own while the loop is busy; return the tallies and what went wrong in callbacks."""
    tallies, complaints = Tallies(0), []

    async def handler(_):
        return answer(b"{}")

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(str(context)))
        server = HttpServer(handler, tallies.row(0))
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen(64)
            listening.setblocking(False)
            meeting = Door(listening, Places(64, tallies.row(0)), server, tls)
            meeting.open()
            guests = threading.Thread(target=behave, args=(listening.getsockname(),))
            guests.start()
            while guests.is_alive():
                await asyncio.sleep(0.005)
                time.sleep(0.02)  # noqa: ASYNC251 - on purpose: what arrives meanwhile is seen in one turn of the loop
            deadline = loop.time() + 20
            while tallies.read(CONNECTIONS_OPEN, ()) != [0] and loop.time() < deadline:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)
            meeting.close()
            await server.shutdown(1)

    asyncio.run(main())
    return tallies, complaints


def test_a_handshake_that_gives_way_as_it_succeeds_takes_nobody_with_it(tls, monkeypatch):
    """Its last word and the newcomer's first arrive in one turn of the loop."""
    monkeypatch.setattr(door, "_HANDSHAKES", 1)

    def behave(address):
        kept = []
        for _ in range(10):
            old = Client(address)
            old.socket.sendall(old.hello)
            last = old.answer()
            new = Client(address)
            time.sleep(0.03)
            old.socket.sendall(last)
            new.socket.sendall(new.hello)
            time.sleep(0.06)
            kept += [old, new, Client(address)]
        for each in kept:
            each.socket.close()

    tallies, complaints = run(tls, behave)
    assert complaints == []
    assert tallies.read(CONNECTIONS_OPEN, ()) == [0]
    assert tallies.read(CONNECTIONS_DROPPED, ("gave_way",))[0] >= 1


def test_handshakes_that_come_to_nothing_give_their_places_back(tls, monkeypatch):
    monkeypatch.setattr(door, "_HANDSHAKE", 0.3)

    def behave(address):
        silent, begun, left, nonsense = (Client(address) for _ in range(4))
        begun.socket.sendall(begun.hello)
        left.socket.sendall(left.hello[:5])
        left.socket.close()
        nonsense.socket.sendall(b"GET / HTTP/1.1\r\n\r\n")
        whole = Client(address)
        whole.socket.sendall(whole.hello)
        whole.socket.sendall(whole.answer())
        time.sleep(0.6)
        assert silent.socket.recv(100) == b""
        for each in (silent, begun, nonsense, whole):
            each.socket.close()

    tallies, complaints = run(tls, behave)
    assert complaints == []
    assert tallies.read(CONNECTIONS_OPEN, ()) == [0]
    assert tallies.read(CONNECTIONS_DROPPED, ("handshake",)) == [4]
