"""Writing parts: what is whole stays, what changed is refused and removed."""

import hashlib
import random

import pytest

from registry.content.digest import digest_of
from registry.errors import MediumDamaged, NotFound, TrustRefused
from registry.media.index import MIN_PART_BYTES, Index, Object
from registry.media.seal import Seal
from registry.workflow.parts import Parts

KEY, DIGEST = bytes(32), "sha256:" + "0" * 64


class Export:
    """Three objects in four parts: ``small`` in part 1, ``large`` in parts 1 to 3, ``last`` in parts 3 and 4."""

    def __init__(self, top):
        self.top = top
        self.contents = {name: random.Random(name).randbytes(size) for name, size in (("small", 500), ("large", 2_500_000), ("last", 1_000_000))}
        objects, offset = [], 0
        for data in self.contents.values():
            objects.append(Object(digest_of(data), offset, len(data)))
            offset += len(data)
        self.index = Index("01M7ZR2K3RRPWNSYSEJR59BV9J", DIGEST, "", "0" * 64, 1, (), (), tuple(objects), MIN_PART_BYTES, (1, DIGEST))
        assert self.index.parts == 4
        self.sources = {}
        for name, data in self.contents.items():
            (top / name).write_bytes(data)
            self.sources[digest_of(data)] = top / name
        (top / "set/parts").mkdir(parents=True)

    def part(self, number):
        return self.top / f"set/parts/{number:08d}.sealed"

    def inodes(self):
        return {number: self.part(number).stat().st_ino for number in range(1, 5) if self.part(number).exists()}

    def write(self, key=KEY):
        written = []
        with Parts(self.index, Seal(self.index.set_id, key), self.sources) as parts:
            parts.write(self.top / "set", self.index.numbers, written.append)
        return sum(written)

    def read_back(self, key=KEY):
        return Parts(self.index, Seal(self.index.set_id, key), {}).read_back(self.top / "set", self.index.numbers, lambda _: None)


@pytest.fixture
def export(tmp_path):
    return Export(tmp_path)


def test_everything(export):
    assert export.write() == export.index.size
    sums = export.read_back()
    assert sums == {f"parts/{number:08d}.sealed": hashlib.sha256(export.part(number).read_bytes()).hexdigest() for number in range(1, 5)}


def test_whole_parts_stay(export):
    """An interrupted export continues: only what is missing or damaged is written."""
    export.write()
    before = export.inodes()
    export.part(2).unlink()
    data = bytearray(export.part(3).read_bytes())
    data[50_000] ^= 1
    export.part(3).write_bytes(data)
    export.write()
    after = export.inodes()
    assert (after[1], after[4]) == (before[1], before[4])
    assert after[3] != before[3]
    export.read_back()


@pytest.mark.parametrize("keep", [0, 100, -1])
def test_a_part_of_another_length_is_written_again(export, keep):
    export.write()
    export.part(4).write_bytes(export.part(4).read_bytes()[:keep])
    export.write()
    export.read_back()


def test_changed_source(export):
    """Only at its last byte does one know: then every part that took from it goes, and the others stay."""
    (export.top / "last").write_bytes(export.contents["last"][:-1] + b"?")
    with pytest.raises(TrustRefused, match="no longer matches its pin") as refusal:
        export.write()
    assert "put the pinned file back" in refusal.value.hint
    assert sorted(export.inodes()) == [1, 2]
    (export.top / "last").write_bytes(export.contents["last"])
    before = export.inodes()
    export.write()
    assert export.inodes() == export.inodes() | before


@pytest.mark.parametrize("size", [0, 999_999, 1_000_001])
def test_source_of_another_size(export, size):
    (export.top / "last").write_bytes(bytes(size))
    with pytest.raises(TrustRefused, match="no longer matches its pin"):
        export.write()
    assert sorted(export.inodes()) == [1, 2]
    assert not list((export.top / "set/parts").glob(".airlock-*"))


def test_missing_source(export):
    (export.top / "large").unlink()
    with pytest.raises(NotFound, match="can't be read"):
        export.write()
    assert export.inodes() == {}


def test_read_back_finds_a_medium_that_lies(export):
    export.write()
    data = bytearray(export.part(2).read_bytes())
    data[-1] ^= 1
    export.part(2).write_bytes(data)
    with pytest.raises(MediumDamaged, match="part 2 of set"):
        export.read_back()
    export.part(2).unlink()
    with pytest.raises(MediumDamaged):
        export.read_back()


def test_parts_of_another_export_are_written_again(export):
    """Same set, another key: none of them opens, so none of them stays."""
    export.write()
    before = [export.part(number).read_bytes() for number in range(1, 5)]
    export.write(b"\x01" * 32)
    assert not set(before) & {export.part(number).read_bytes() for number in range(1, 5)}
    export.read_back(b"\x01" * 32)
