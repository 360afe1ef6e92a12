"""Receiving a plain set, where nothing but an object's digest tells that a part is damaged."""

import dataclasses
import hashlib
import random
from fractions import Fraction

import pytest

from registry.content.digest import digest_of
from registry.media.index import Index, Object
from registry.media.parity import group_parts
from registry.media.seal import Seal
from registry.store.blobs import LocalBlobStore
from registry.store.medium import SetFolder
from registry.workflow.parts import Parts
from registry.workflow.progress import Silent
from registry.workflow.receive import Receiver

SET = "01M7ZR2K3RRPWNSYSEJR59BV9J"
DIGEST = "sha256:" + "0" * 64
MIB = 1 << 20
SEAL = Seal(SET, None)
CONTENTS = [random.Random(number).randbytes(size) for number, size in enumerate((5000, MIB + MIB // 2, 2 * MIB))]
"""Part 1 holds the first object and most of the second, part 2 the ends of the second and the beginning of the third."""


def index_of(share):
    objects, offset = [], 0
    for data in CONTENTS:
        objects.append(Object(digest_of(data), offset, len(data)))
        offset += len(data)
    index = Index(SET, DIGEST, "2026-11-21T18:09:00Z", "0" * 64, 1, (), (), tuple(objects), MIB, (1, DIGEST))
    return dataclasses.replace(index, parity=group_parts(index.parts, share))


@pytest.fixture
def medium(tmp_path):
    """Return a function: name and share of parity to the folder of a medium with the whole set."""

    def write(name, share=Fraction(0)):
        index, sources = index_of(share), {}
        for number, data in enumerate(CONTENTS):
            sources[digest_of(data)] = tmp_path / f"source{number}"
            sources[digest_of(data)].write_bytes(data)
        folder = tmp_path / name
        (folder / "parts").mkdir(parents=True)
        with Parts(index, SEAL, sources) as parts:
            parts.write(folder, index.numbers, lambda _: None)
        files = sorted((folder / "parts").iterdir())
        lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  parts/{path.name}\n" for path in files]
        (folder / "SHA256SUMS").write_text("".join(lines))
        return folder

    return write


def scanned(folder):
    files = [*(folder / "parts").iterdir(), *folder.glob("SHA256SUMS")]
    return SetFolder(SET, folder, {str(path.relative_to(folder)).replace("SHA256SUMS", "sha256sums"): (path, path.stat().st_size) for path in files})


def rot(folder, number, *places):
    path = folder / f"parts/{number:08d}.plain"
    data = bytearray(path.read_bytes())
    for place in places:
        data[place] ^= 1
    path.write_bytes(data)


def received(tmp_path, *folders, share=Fraction(0)):
    receiver = Receiver(tmp_path / "incoming", LocalBlobStore(tmp_path / "blobs"), index_of(share), SEAL)
    receiver.receive([scanned(each) for each in folders], Silent(), lambda _: None)
    return receiver


def here(tmp_path):
    blobs = LocalBlobStore(tmp_path / "blobs")
    return [blobs.holds(digest_of(data), len(data)) for data in CONTENTS]


def test_whole(medium, tmp_path):
    assert received(tmp_path, medium("a")).missing == []
    assert here(tmp_path) == [True, True, True]


def test_rot_in_two_objects_of_one_part(medium, tmp_path):
    """Part 2 is rotten where the second object ends and where the third begins: a copy of it makes both whole in the same run."""
    first, copy = medium("a"), medium("b")
    rot(first, 2, 100, MIB - 100)
    receiver = received(tmp_path, first, copy)
    assert (receiver.missing, receiver.damaged, receiver.refused) == ([], {}, {})
    assert here(tmp_path) == [True, True, True]


def test_rot_in_two_objects_is_healed(medium, tmp_path):
    """The same without a copy, and with parity."""
    folder = medium("a", Fraction(1, 2))
    rot(folder, 2, 100, MIB - 100)
    receiver = received(tmp_path, folder, share=Fraction(1, 2))
    assert (receiver.missing, receiver.healed, receiver.refused) == ([], [2], {})
    assert here(tmp_path) == [True, True, True]


def test_rot_holds_back_only_what_it_is_in(medium, tmp_path):
    folder = medium("a")
    rot(folder, 4, 1)
    receiver = received(tmp_path, folder)
    assert (receiver.missing, sorted(receiver.damaged)) == ([4], [4])
    assert here(tmp_path) == [True, True, False]
    assert received(tmp_path, medium("b")).missing == []
    assert here(tmp_path) == [True, True, True]


def test_sums_that_lie(medium, tmp_path):
    """They are a hint: lines that accuse a good part cost time, nothing else."""
    folder, copy = medium("a"), medium("b")
    rot(folder, 4, 1)
    sums = folder / "SHA256SUMS"
    lines = sums.read_text().splitlines()
    good = hashlib.sha256((folder / "parts/00000004.plain").read_bytes()).hexdigest()
    sums.write_text("\n".join([lines[0], lines[1], "0" * 64 + lines[2][64:], good + lines[3][64:]]) + "\n")
    receiver = received(tmp_path, folder)
    assert receiver.missing == [3]
    assert here(tmp_path) == [True, True, False]
    receiver = received(tmp_path, copy)
    assert receiver.missing == [2, 3, 4], "part 3 came again, and now nothing is accused: every part of the object may be the cause"
    assert received(tmp_path, copy).missing == []
    assert here(tmp_path) == [True, True, True]
