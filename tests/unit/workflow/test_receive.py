"""Receiving parts: in any order, over any number of tries, and never a byte too much."""

import contextlib
import random
import secrets

import pytest

from registry.content.digest import digest_of
from registry.errors import MediumDamaged
from registry.media.index import MIN_PART_BYTES, Index, Object
from registry.media.seal import Seal
from registry.store.blobs import LocalBlobStore
from registry.store.medium import SetFolder
from registry.workflow.arrivals import Arrivals
from registry.workflow.parts import Parts
from registry.workflow.progress import Silent
from registry.workflow.receive import Receiver

SET, DIGEST = "01M7ZR2K3RRPWNSYSEJR59BV9J", "sha256:" + "0" * 64


class Counting(Silent):
    """Notes how many bytes went by."""

    def __init__(self, counts):
        self.counts = counts

    @contextlib.contextmanager
    def task(self, label, total):
        yield self.counts.append


class Arrival:
    """``small`` in part 1, ``large`` in parts 1 to 3, ``last`` in parts 3 and 4."""

    def __init__(self, top):
        self.top, self.key = top, secrets.token_bytes(32)
        self.contents = [random.Random(size).randbytes(size) for size in (500, 2_500_000, 1_000_000)]
        objects, offset, sources = [], 0, {}
        for data in self.contents:
            objects.append(Object(digest_of(data), offset, len(data)))
            sources[digest_of(data)] = top / digest_of(data)[7:]
            sources[digest_of(data)].write_bytes(data)
            offset += len(data)
        self.small, self.large, self.last = (each.digest for each in objects)
        self.index = Index(SET, DIGEST, "", "0" * 64, 1, (), (), tuple(objects), MIN_PART_BYTES, (1, DIGEST))
        (top / "set/parts").mkdir(parents=True)
        self.seal = Seal(SET, self.key)
        with Parts(self.index, self.seal, sources) as parts:
            parts.write(top / "set", self.index.numbers, lambda _: None)
        self.blobs = LocalBlobStore(top / "home/blobs")
        self.incoming = top / "home/incoming"
        (top / "home").mkdir()

    def part(self, number):
        return self.top / f"set/parts/{number:08d}.sealed"

    def folder(self, *numbers):
        files = {f"parts/{number:08d}.sealed": (self.part(number), self.part(number).stat().st_size) for number in numbers}
        return SetFolder(SET, self.top / "set", files)

    def receiver(self):
        return Receiver(self.incoming, self.blobs, self.index, self.seal)

    def take(self, *numbers):
        settled, opened = [], []
        receiver = self.receiver()
        receiver.receive([self.folder(*numbers)], Counting(opened), settled.append)
        self.refused, self.damaged = receiver.refused, receiver.damaged
        return settled, sum(opened), receiver.missing


@pytest.fixture
def arrival(tmp_path):
    return Arrival(tmp_path)


def whole(arrival):
    return all(arrival.blobs.path(digest_of(data)).read_bytes() == data for data in arrival.contents)


def test_at_once(arrival):
    settled, opened, absent = arrival.take(1, 2, 3, 4)
    assert (settled, opened, absent) == ([arrival.small, arrival.large, arrival.last], arrival.index.size, [])
    assert whole(arrival)


def test_each_object_as_soon_as_it_is_whole(arrival):
    assert arrival.take(1) == ([arrival.small], 1 << 20, [2, 3, 4])
    assert arrival.take(2) == ([], 1 << 20, [3, 4])
    assert arrival.take(3) == ([arrival.large], 1 << 20, [4])
    assert arrival.take(4) == ([arrival.last], arrival.index.part_length(4), [])
    assert whole(arrival)


def test_backwards(arrival):
    for number in (4, 3, 2, 1):
        arrival.take(number)
    assert whole(arrival)


def test_a_part_is_taken_once(arrival):
    arrival.take(1, 2)
    assert arrival.take(1, 2) == ([], 0, [3, 4])


def test_what_is_in_the_store_is_not_read_again(arrival):
    arrival.blobs.add(arrival.contents[1])
    settled, opened, _ = arrival.take(1, 3, 4)
    assert settled == [arrival.small, arrival.last]
    assert opened == arrival.index.size - (1 << 20), "part 2 holds nothing that is wanted"
    assert arrival.receiver().bytes_to_come == 0


def test_damaged_part(arrival):
    """What arrived before stays; the same command continues."""
    good = arrival.part(3).read_bytes()
    arrival.part(3).write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    assert arrival.take(1, 2, 3, 4)[2] == [3]
    assert "part 3 of set" in str(arrival.damaged[3])
    assert isinstance(arrival.damaged[3], MediumDamaged)
    assert arrival.blobs.holds(arrival.small, 500)
    assert not arrival.blobs.holds(arrival.large, 2_500_000)
    arrival.part(3).write_bytes(good)
    assert arrival.take(1, 2, 3, 4)[1] == 1 << 20
    assert whole(arrival)


def test_lost_journal(arrival):
    """Taking a part again is always safe."""
    arrival.take(1, 2)
    for journal in arrival.incoming.glob("*.arrivals"):
        journal.write_bytes(b"nonsense")
    assert arrival.receiver().missing == [1, 2, 3, 4] or arrival.receiver().missing == [2, 3, 4]
    arrival.take(1, 2, 3, 4)
    assert whole(arrival)


def test_lost_file(arrival):
    """The journal says that a part was taken, but somebody removed what it filled."""
    arrival.take(1, 2)
    (arrival.incoming / arrival.large[7:]).unlink()
    arrival.take(1, 2, 3, 4)
    assert whole(arrival)


def test_edited_while_it_waited(arrival):
    """Whatever lies in ``incoming`` is hashed before it gets its name."""
    arrival.take(1, 2)
    path = arrival.incoming / arrival.large[7:]
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    arrival.take(3, 4)
    assert "not what its statement says" in str(arrival.refused[arrival.large])
    assert not arrival.blobs.holds(arrival.large, 2_500_000)
    assert not path.exists()
    arrival.take(1, 2, 3, 4)
    assert whole(arrival)


def test_a_link_in_incoming(arrival):
    arrival.incoming.mkdir()
    (arrival.incoming / arrival.large[7:]).symlink_to(arrival.top / "victim")
    with pytest.raises(Exception, match="store") as refusal:
        arrival.take(1, 2, 3, 4)
    assert refusal.value.exit_code == 7
    assert not (arrival.top / "victim").exists()


def test_forget(arrival):
    arrival.take(1)
    assert list(arrival.incoming.glob("*.arrivals"))
    Arrivals(arrival.incoming, SET).forget()
    assert not list(arrival.incoming.glob("*.arrivals"))
