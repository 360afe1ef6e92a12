"""Runs of parts side by side: the same parts as one after the other, and no half of two files in one object."""

import hashlib
import random

import pytest

from registry.content.digest import digest_of
from registry.errors import MediumDamaged, TrustRefused
from registry.media.index import MIN_PART_BYTES, Index, Object
from registry.media.seal import Seal
from registry.store.blobs import LocalBlobStore
from registry.store.medium import SetFolder
from registry.workflow import lanes
from registry.workflow.lanes import write_parts
from registry.workflow.parts import Parts
from registry.workflow.progress import Silent
from registry.workflow.receive import Receiver

SET, DIGEST = "01M7ZR2K3RRPWNSYSEJR59BV9J", "sha256:" + "0" * 64


class Export:
    """Three objects of five parts and a half each, so that the second and the third begin in the middle of a part."""

    def __init__(self, top):
        self.top, self.seal = top, Seal(SET, bytes(32))
        self.contents = [random.Random(number).randbytes(5 * MIN_PART_BYTES + (MIN_PART_BYTES >> 1)) for number in range(3)]
        self.sources, objects = {}, []
        for number, data in enumerate(self.contents):
            digest = digest_of(data)
            objects.append(Object(digest, number * len(data), len(data)))
            self.sources[digest] = top / str(number)
            self.sources[digest].write_bytes(data)
        self.index = Index(SET, DIGEST, "", "0" * 64, 1, (), (), tuple(objects), MIN_PART_BYTES, (1, DIGEST))
        (top / "set/parts").mkdir(parents=True)

    def write(self, numbers=None, advance=lambda _: None):
        with Parts(self.index, self.seal, self.sources) as parts:
            write_parts(parts, self.top / "set", numbers or self.index.numbers, advance)
            return parts.passed(numbers[-1]) if numbers else None

    def names(self):
        return sorted(int(path.stem) for path in (self.top / "set/parts").iterdir())

    def arrives(self):
        files = {f"parts/{path.name}": (path, path.stat().st_size) for path in (self.top / "set/parts").iterdir()}
        blobs = LocalBlobStore(self.top / "blobs")
        receiver = Receiver(self.top / "incoming", blobs, self.index, self.seal)
        receiver.receive([SetFolder(SET, self.top / "set", files)], Silent(), lambda _: None)
        return not receiver.missing and all(blobs.path(digest_of(data)).read_bytes() == data for data in self.contents)


@pytest.fixture
def export(tmp_path, monkeypatch):
    monkeypatch.setattr(lanes, "_lanes", lambda: 3)
    return Export(tmp_path)


def test_a_run_ends_where_another_object_begins(export):
    assert lanes._runs(export.index, range(1, 18), 3) == [[1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11], [12, 13, 14, 15, 16, 17]]
    assert lanes._runs(export.index, range(1, 18), 1) == [list(range(1, 18))]
    assert lanes._runs(export.index, [], 3) == [[]]


def test_side_by_side(export):
    done = []
    export.write(advance=done.append)
    assert sum(done) == export.index.size
    assert export.names() == list(export.index.numbers)
    assert export.arrives()


def test_what_goes_on_on_the_next_medium_is_known(export):
    """The digest of the beginning of an object that crosses to the next medium is that of one lane."""
    crossing = export.index.crossing(14)
    beginning = export.contents[2][: crossing.start + crossing.length]
    assert export.write(range(1, 15)) == f"sha256:{hashlib.sha256(beginning).hexdigest()}"


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_changed_source(export, number):
    path = export.top / str(number)
    path.write_bytes(export.contents[number][:-1] + b"?")
    with pytest.raises(TrustRefused, match="no longer matches its pin"):
        export.write()
    path.write_bytes(export.contents[number])
    export.write()
    assert export.arrives()


def test_a_beginning_that_two_lanes_saw_differently(export):
    """The part before a run was written from other bytes than its lane hashed."""
    source = export.sources[export.index.objects[1].digest]
    source.write_bytes(b"?" + export.contents[1][1:])
    export.write(range(1, 7))  # the object's last byte is not in these
    source.write_bytes(export.contents[1])
    with pytest.raises(TrustRefused, match="no longer matches its pin"):
        export.write()
    assert 6 not in export.names()
    export.write()
    assert export.arrives()


def test_a_medium_that_fails_stops_every_lane(export):
    (export.top / "set/parts").rmdir()
    with pytest.raises(MediumDamaged):
        export.write()


def test_ctrl_c_stops_every_lane(export, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(lanes, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export.write()
    assert len(export.names()) < len(export.index.numbers)
    monkeypatch.undo()
    export.write()
    assert export.arrives()
