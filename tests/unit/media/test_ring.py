"""Hashing in a second thread: in order, over buffers that are used again."""

import hashlib
import random

import pytest

from registry.media.ring import Ring, new_digester


def test_two_objects_through_few_buffers():
    data = [random.Random(number).randbytes(10_000) for number in range(2)]
    digesters = [new_digester(), new_digester()]
    with Ring(64, depth=3) as ring:
        for start in range(0, 10_000, 32):
            buffer = ring.take()
            for half, each in enumerate(data):
                buffer[half * 32 : half * 32 + 32] = each[start : start + 32].ljust(32, b"\0")
            length = min(32, 10_000 - start)
            ring.hand_over(buffer, [(digesters[0], buffer[:length]), (digesters[1], buffer[32 : 32 + length])])
        ring.settle()
        assert [each.hexdigest() for each in digesters] == [hashlib.sha256(each).hexdigest() for each in data]


def test_settle_waits_for_everything_handed_over():
    digester = new_digester()
    with Ring(1 << 20) as ring:
        for _ in range(20):
            buffer = ring.take()
            ring.hand_over(buffer, [(digester, buffer)])
        ring.settle()
        assert digester.hexdigest() == hashlib.sha256(bytes(20 << 20)).hexdigest()


def test_buffers_are_made_when_they_are_needed_and_not_before():
    with Ring(16, depth=2) as ring:
        first = ring.take()
        for _ in range(5):
            ring.hand_over(first, [])
            ring.settle()
            assert ring.take() is first
        second = ring.take()
        assert second is not first
        ring.hand_over(first, [])
        assert ring.take() is first  # it waits: there are no more than two


def test_a_failure_ends_the_thread():
    ring = Ring(16)
    with pytest.raises(ValueError, match="mine"), ring:
        raise ValueError("mine")
    assert not ring._thread.is_alive()


def test_a_failure_of_the_second_thread_is_heard_of():
    """Whoever takes the next buffer, or waits, gets the error instead of waiting for ever."""

    class Broken:
        def update(self, data):
            raise MemoryError("no more")

    with Ring(16, depth=1) as ring:
        ring.hand_over(ring.take(), [(Broken(), memoryview(b""))])
        with pytest.raises(MemoryError, match="no more"):
            ring.settle()
        with pytest.raises(MemoryError, match="no more"):
            ring.take()
