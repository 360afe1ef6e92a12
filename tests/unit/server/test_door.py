"""The door: places are given back exactly once, whatever a handshake comes to and whenever it does."""

import asyncio
import contextlib
import datetime as dt
import socket
import ssl
import threading
import time
from collections import Counter

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

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    def __init__(self, address, source="127.0.0.1"):
        self.socket = socket.create_connection(address, timeout=30, source_address=(source, 0))
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = self.context.wrap_bio(self.incoming, self.outgoing)
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        self.hello = self.outgoing.read()

    def answer(self):
        """Take the server's part of the handshake, and return the last one of ours; nothing if the server has gone."""
        self.incoming.write(self.socket.recv(65536))
        with contextlib.suppress(ssl.SSLError):
            self.tls.do_handshake()
        return self.outgoing.read()

    def ask(self):
        """Return the first line of the answer to a request."""
        self.tls.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.socket.sendall(self.outgoing.read())
        said = b""
        while b"\r\n" not in said:
            received = self.socket.recv(65536)
            assert received, "the server hung up"
            self.incoming.write(received)
            with contextlib.suppress(ssl.SSLWantReadError):
                said += self.tls.read(65536)
        return said.partition(b"\r\n")[0]


def run(tls, behave, *, places=64, busy=0.02):
    """Let ``behave(address)`` meet a door in a thread of its own while the loop is ``busy`` for so many seconds in every turn.

    Return the tallies and what went wrong in callbacks.
    """
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
            meeting = Door(listening, Places(places, tallies.row(0)), server, tls)
            meeting.open()
            guests = threading.Thread(target=behave, args=(listening.getsockname(),))
            guests.start()
            while guests.is_alive():
                await asyncio.sleep(0.005)
                time.sleep(busy)  # noqa: ASYNC251 - on purpose: what arrives meanwhile is seen in one turn of the loop
            deadline = loop.time() + 20
            while tallies.read(CONNECTIONS_OPEN, ()) != [0] and loop.time() < deadline:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)
            meeting.close()
            await server.shutdown(1)

    asyncio.run(main())
    return tallies, complaints


def test_a_handshake_that_gives_way_as_it_succeeds_takes_nobody_with_it(tls):
    """Its last word and the newcomer arrive in one turn of the loop, and there is one place."""

    def behave(address):
        kept = []
        for number in range(10):
            old = Client(address, f"127.0.1.{number}")
            old.socket.sendall(old.hello)
            last = old.answer()
            time.sleep(0.03)
            old.socket.sendall(last)
            new = Client(address, f"127.0.2.{number}")
            new.socket.sendall(new.hello)
            time.sleep(0.06)
            kept += [old, new]
        new.socket.sendall(new.answer())
        answers.append(new.ask())
        for each in kept:
            each.socket.close()

    answers = []
    tallies, complaints = run(tls, behave, places=1)
    assert complaints == []
    assert answers == [b"HTTP/1.1 200 OK"]
    assert tallies.read(CONNECTIONS_OPEN, ()) == [0]
    assert tallies.read(CONNECTIONS_DROPPED, ("gave_way",)) == [19]


def test_a_crowd_of_honest_handshakes_is_served_to_the_last(tls, monkeypatch):
    """A hundred nodes with their sixteen connections each, all in the middle of a handshake at the same time."""
    monkeypatch.setattr(door, "_HANDSHAKE", 60)  # all of them run in this one process, which may share a busy machine

    def behave(address):
        crowd = [Client(address, f"127.0.1.{1 + number % 100}") for number in range(1600)]
        for each in crowd:
            each.socket.sendall(each.hello)
        last = [each.answer() for each in crowd]
        for each, word in zip(crowd, last, strict=True):
            each.socket.sendall(word)
        answers.update(each.ask() for each in crowd)
        for each in crowd:
            each.socket.close()

    answers = Counter()
    tallies, complaints = run(tls, behave, places=2048, busy=0)
    assert complaints == []
    assert answers == {b"HTTP/1.1 200 OK": 1600}
    assert tallies.read(CONNECTIONS_OPEN, ()) == [0]
    assert [tallies.read(CONNECTIONS_DROPPED, (why,)) for why in ("gave_way", "handshake")] == [[0], [0]]


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
