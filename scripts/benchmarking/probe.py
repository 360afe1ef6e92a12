"""Ask for the same small thing at a steady pace, whether or not the answers keep up; tell how long each took from the moment it was due.

``probe.py`` reads one JSON object from standard input, connects, writes ``ready``, waits for another line, and writes one JSON object at the end.

A process of its own with bare sockets and next to nothing imported, because it shares the machine's cores with the servers and with those who
download.  For the same reason it runs at a higher priority where it may: the node for which it stands has a core of its own.
"""

import contextlib
import gc
import json
import os
import select
import socket
import sys
import time
from collections import deque

PATIENCE = 30  # seconds for one answer
PRIORITY = -10


class Failed(Exception):
    """A request wasn't answered as it should have been."""


class Connection:
    """One connection that stays open, and at most one request under way on it."""

    def __init__(self, asked, context):
        raw = socket.create_connection((asked["host"], asked["port"]), timeout=PATIENCE, source_address=(asked["address"], 0))
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = context.wrap_socket(raw, server_hostname=asked["host"]) if context else raw
        self.socket.setblocking(False)
        self.request, self.expected = asked["request"].encode(), asked["expected"].encode()
        self.received = b""
        self.due = self.sent = 0.0

    def fileno(self):
        return self.socket.fileno()

    def send(self, due):
        """Send the request that was due at that moment."""
        self.due, self.sent, self.received = due, time.monotonic(), b""
        if self.socket.send(self.request) != len(self.request):
            raise Failed("a request didn't go out whole")

    def answered(self):
        """Read what is there; return whether the answer is whole.  Raise Failed if it isn't the right one."""
        while True:
            try:
                data = self.socket.recv(65536)
            except OSError as error:
                if isinstance(error, BlockingIOError) or type(error).__name__ == "SSLWantReadError":
                    return self.whole()
                raise Failed(f"the connection broke: {error}") from error
            if not data:
                raise Failed("the connection was closed before the answer")
            self.received += data

    def whole(self):
        head, end, body = self.received.partition(b"\r\n\r\n")
        if not end:
            return False
        status, *headers = head.split(b"\r\n")
        if status[9:12] != b"200":
            raise Failed(f"answered {status.decode('latin-1')}")
        length = next((int(each[15:]) for each in headers if each[:15].lower() == b"content-length:"), None)
        if length is None:
            raise Failed("an answer without Content-Length")
        if len(body) < length:
            return False
        if body != self.expected:
            raise Failed("an answer with another body")
        return True


def main():
    asked = json.loads(sys.stdin.readline())
    with contextlib.suppress(PermissionError):
        os.nice(PRIORITY)
    context = None
    if asked["trusted"]:
        import ssl  # noqa: PLC0415 - a good part of the start, and of no use over plain HTTP

        context = ssl.create_default_context(cafile=asked["trusted"])
    connections = [Connection(asked, context) for _ in range(asked["connections"])]
    for each in connections:  # whatever a first request costs more isn't what is asked here
        each.send(0.0)
        while not each.answered():
            if not select.select([each], [], [], PATIENCE)[0]:
                raise Failed("no answer")
    gc.disable()
    print("ready", flush=True)
    sys.stdin.readline()
    waits, late, errors = ask(connections, asked["count"], asked["every"], asked["lead"])
    print(json.dumps({"milliseconds": waits, "late": late, "errors": errors, "priority": os.nice(0)}))
    for each in connections:
        each.socket.close()


def ask(connections, count, every, lead):
    """Return how long each answer took and how late its request was sent, in milliseconds from the moment it was due, and what failed."""
    begin = time.monotonic() + lead
    idle, waiting, due = deque(connections), [], deque()
    waits, late, errors, planned = [], [], [], 0
    while planned < count or due or waiting:
        now = time.monotonic()
        while planned < count and begin + planned * every <= now:
            due.append(begin + planned * every)
            planned += 1
        while due and idle:
            each = idle.popleft()
            try:
                each.send(due.popleft())
            except (OSError, Failed) as error:
                errors.append(str(error))
            else:
                late.append(round((each.sent - each.due) * 1000, 3))
                waiting.append(each)
        if due and not waiting:  # no connection is left
            errors += ["no connection was left"] * (len(due) + count - planned)
            break
        wait = max(0.0, begin + planned * every - time.monotonic()) if planned < count else PATIENCE
        for each in select.select(waiting, [], [], wait)[0]:  # an epoll would wait in whole milliseconds
            try:
                if not each.answered():
                    continue
            except Failed as error:
                errors.append(str(error))
            else:
                waits.append(round((time.monotonic() - each.due) * 1000, 3))
                idle.append(each)
            waiting.remove(each)
        for each in [each for each in waiting if time.monotonic() - each.sent > PATIENCE]:
            errors.append(f"no answer within {PATIENCE} s")
            waiting.remove(each)
    return waits, late, errors


if __name__ == "__main__":
    try:
        main()
    except (OSError, Failed) as error:
        sys.exit(str(error))
