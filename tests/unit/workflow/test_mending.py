"""Mending: only the parts asked for, only from sources that are what was pinned, and nothing in doubt left behind."""

import hashlib
import random
from dataclasses import replace

import pytest

from registry.content.digest import digest_of
from registry.errors import MediumDamaged, NotFound, TrustRefused
from registry.media.index import MIN_PART_BYTES, Index, Object
from registry.media.parity import Group
from registry.media.seal import Seal
from registry.workflow import mending as module
from registry.workflow.mending import Mending, objects_for
from registry.workflow.parts import Parts

KEY, DIGEST = bytes(32), "sha256:" + "0" * 64
NOTHING = lambda _: None  # noqa: E731


class Set:
    """``small`` in part 1, ``large`` in parts 1 to 3, ``last`` in parts 3 and 4, parity parts 5 and 6; written as a whole below ``whole``."""

    def __init__(self, top, key):
        self.top, self.seal = top, Seal("01M7ZR2K3RRPWNSYSEJR59BV9J", key)
        self.contents = {name: random.Random(name).randbytes(size) for name, size in (("small", 500), ("large", 2_500_000), ("last", 1_000_000))}
        objects, offset = [], 0
        for data in self.contents.values():
            objects.append(Object(digest_of(data), offset, len(data)))
            offset += len(data)
        self.objects = dict(zip(self.contents, objects, strict=True))
        index = Index(self.seal.set_id, DIGEST, "", "0" * 64, 1, (), (), tuple(objects), MIN_PART_BYTES, (1, DIGEST))
        assert index.parts == 4
        self.index = replace(index, parity=(Group((1, 3), (5,)), Group((2, 4), (6,))))
        self.sources = {}
        for name, data in self.contents.items():
            (top / name).write_bytes(data)
            self.sources[digest_of(data)] = top / name
        for folder in ("whole", "medium"):
            (top / folder / "parts").mkdir(parents=True)
        with Parts(self.index, self.seal, self.sources) as parts:
            parts.write(top / "whole", self.index.numbers, NOTHING)

    def paths(self, *numbers, folder="medium"):
        return {number: self.top / folder / self.seal.part_name(number) for number in numbers}

    def here(self):
        return sorted(int(path.name[:8]) for path in (self.top / "medium/parts").iterdir())

    def content(self, number, folder="medium"):
        out = bytearray()
        with self.paths(number, folder=folder)[number].open("rb", buffering=0) as stream:
            self.seal.part_reader(stream, self.index.part_length(number), number).copy(out.extend, memoryview(bytearray(1 << 20)))
        return bytes(out)

    def mend(self, *numbers, between=NOTHING):
        """Check, then write; ``between`` gets this set when the sources were compared."""
        needed = {each.digest: self.sources[each.digest] for each in objects_for(self.index, numbers)}
        checked, written = [], []
        with Mending(self.index, self.seal, needed, numbers) as mending:
            mending.check(checked.append)
            between(self)
            mending.write(self.paths(*numbers), written.append)
            sums = mending.read_back(self.paths(*numbers), NOTHING)
        assert sum(checked) == sum(each.size for each in objects_for(self.index, numbers))
        assert sum(written) == sum(map(self.index.part_length, numbers))
        return sums


@pytest.fixture(params=[KEY, None], ids=["sealed", "plain"])
def made(request, tmp_path):
    return Set(tmp_path, request.param)


def test_which_objects_are_needed(made):
    names = {each.digest: name for name, each in made.objects.items()}

    def needed(*numbers):
        return [names[each.digest] for each in objects_for(made.index, numbers)]

    assert needed(2) == ["large"]
    assert needed(4) == ["last"]
    assert needed(1, 4) == ["small", "large", "last"]
    assert needed(6) == ["large", "last"]  # over parts 2 and 4


@pytest.mark.parametrize("numbers", [(1,), (2,), (3,), (4,), (1, 4), (5,), (6,), (2, 5), (1, 2, 3, 4, 5, 6)])
def test_parts_say_what_they_said(made, numbers):
    sums = made.mend(*numbers)
    assert made.here() == list(numbers)
    for number in numbers:
        assert made.content(number) == made.content(number, "whole")
        data = made.paths(number)[number].read_bytes()
        assert sums[made.seal.part_name(number)] == hashlib.sha256(data).hexdigest()
        assert (data == made.paths(number, folder="whole")[number].read_bytes()) == (made.seal.key is None), "sealed with fresh salt"


def test_good_parts_stay_and_rotten_ones_go(made):
    made.mend(1, 2, 4)
    before = {number: path.stat().st_ino for number, path in made.paths(1, 2, 4).items()}
    rotten = bytearray(made.paths(2)[2].read_bytes())
    rotten[700_000] ^= 1
    made.paths(2)[2].write_bytes(rotten)  # of the right size: in a plain set only a comparison shows it
    made.paths(4)[4].write_bytes(b"short")
    made.mend(1, 2, 4)
    after = {number: path.stat().st_ino for number, path in made.paths(1, 2, 4).items()}
    assert after[1] == before[1]
    assert after[2] != before[2]
    assert [made.content(number) for number in (2, 4)] == [made.content(number, "whole") for number in (2, 4)]


@pytest.mark.parametrize("place", [0, 1_500_000, 2_499_999], ids=["in another part before it", "in it", "in another part after it"])
@pytest.mark.parametrize("number", [2, 6])
def test_a_changed_source_is_found_wherever_it_changed(made, place, number):
    """Only part 2 holds these bytes; but an object's digest covers all of it."""
    data = bytearray(made.contents["large"])
    data[place] ^= 1
    (made.top / "large").write_bytes(data)
    with pytest.raises(TrustRefused, match="no longer matches its pin"):
        made.mend(number)
    assert made.here() == []


def test_a_changed_source_leaves_what_is_good(made):
    made.mend(2)
    (made.top / "large").write_bytes(bytes(2_500_000))
    before = made.paths(2)[2].read_bytes()
    with pytest.raises(TrustRefused, match="no longer matches its pin"):
        made.mend(2)
    assert made.paths(2)[2].read_bytes() == before


@pytest.mark.parametrize("number", [2, 6])
def test_a_source_that_changes_meanwhile(made, number):
    """After it was compared, before it was sealed: the part doesn't get its name."""

    def change(each):
        with (each.top / "large").open("r+b") as stream:
            stream.seek(1_500_000)
            stream.write(b"changed")

    with pytest.raises(TrustRefused, match="sources changed while they were read") as refusal:
        made.mend(number, between=change)
    assert "same command again" in refusal.value.hint
    assert made.here() == []


def test_missing_source(made):
    (made.top / "last").unlink()
    with pytest.raises(NotFound, match="can't be read"):
        made.mend(4)
    assert made.here() == []


@pytest.mark.parametrize("number", [2, 6])
def test_read_back_finds_a_medium_that_lies(made, number, monkeypatch):
    """Zeros at the tail, of the right length: in a plain set, too."""

    def drop(descriptor):
        path = made.paths(number)[number]
        data = path.read_bytes()
        path.write_bytes(data[:-4096] + bytes(4096))

    monkeypatch.setattr(module, "drop_cache", drop)
    with pytest.raises(MediumDamaged, match=f"part {number} of set"):
        made.mend(number)
