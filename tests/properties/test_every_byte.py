"""The flip test: whichever bit of a set is changed, the import refuses it and nothing changes.

The decision is asked of the functions that take it, in the order in which an import asks them; a sample goes through the whole command.
"""

import dataclasses
import functools
import io
import random
from datetime import UTC, datetime

import pytest

from registry.errors import AirlockError, RecipientRefused
from registry.media.recipients import Identity, unwrap
from registry.media.seal import Seal
from registry.media.stream import SEGMENT_BYTES
from registry.store.home import Home
from registry.store.medium import SetFolder, find_sets
from registry.trust.refresh import Refreshed, TrustedMetadata, refresh
from registry.workflow.actor import Credentials
from registry.workflow.offered import read_header, read_index, read_metadata
from registry.workflow.site import open_site


@dataclasses.dataclass(frozen=True)
class Judge:
    """Takes a set as an import would, step by step, and changes nothing.  ``accepted`` are the metadata as they were exported."""

    folder: SetFolder
    trusted: TrustedMetadata
    identity: Identity
    accepted: Refreshed | None = None

    def metadata(self):
        """Steps 2 and 3."""
        return refresh(self.trusted, read_metadata(self.folder), now=datetime.now(UTC), floor=None)

    def header(self):
        """Step 4: header, set key, index."""
        header = read_header(self.folder)
        if self.identity.recipient.key_id not in header.keys:
            raise RecipientRefused("sealed to others")
        set_key = unwrap(header.keys[self.identity.recipient.key_id], self.identity, set_id=self.folder.set_id)
        seal = Seal(self.folder.set_id, set_key)
        return header, seal, self.index(header, seal)

    def index(self, header, seal):
        """Step 4, the index alone."""
        return read_index(self.folder, header, seal, *self.accepted.keys("timestamp"))

    def parts(self, seal, index):
        """Step 6: every part, opened to its end."""
        plain = bytearray()
        for number in range(1, index.parts + 1):
            sealed = self.folder.files[seal.part_name(number)][0].read_bytes()
            reader = seal.part_reader(io.BytesIO(sealed), index.part_length(number), number)
            reader.copy(plain.extend, memoryview(bytearray(SEGMENT_BYTES)))
        return plain

    def about(self, name):
        """The question that is asked about a file first, with everything else as it was exported."""
        if name.startswith("metadata/"):
            return self.metadata
        header, seal, index = self.header()
        questions = {
            "set.json": self.header,
            "index.sealed": functools.partial(self.index, header, seal),
            "parts/00000001.sealed": functools.partial(self.parts, seal, index),
        }
        return questions[name]


@pytest.fixture
def judge(exported):
    """A judge over ``usb``."""
    exported.ok("in", "trust", "add", "usb", "--fingerprint", exported.fingerprint())
    with open_site(Home(exported.path("in")), Credentials(lambda: exported.passphrase), "test", unlock=True) as site:
        [record] = site.log.publishers()
        judge = Judge(find_sets(exported.path("usb"))[0], site.log.trusted_metadata(record), site.identity)
    return dataclasses.replace(judge, accepted=judge.metadata())


def flips(data, *, every_bit, seed=20261121):
    """Yield ``data`` with one bit changed: each bit, or a random one of each byte."""
    chance = random.Random(seed)
    for place in range(len(data)):
        for bit in range(8) if every_bit else [chance.randrange(8)]:
            changed = bytearray(data)
            changed[place] ^= 1 << bit
            yield place, bit, bytes(changed)


def refused_everywhere(path, ask, *, every_bit=False):
    good = path.read_bytes()
    expected, count = ask(), 0
    for place, bit, changed in flips(good, every_bit=every_bit):
        path.write_bytes(changed)
        try:
            ask()
        except AirlockError:
            count += 1
        else:
            pytest.fail(f"{path.name}: bit {bit} of byte {place} may be changed: {good[max(0, place - 20) : place + 20]!r}")
    path.write_bytes(good)
    assert ask() == expected
    assert count == len(good) * (8 if every_bit else 1)


FILES = [
    "metadata/1.root.json",
    "metadata/timestamp.json",
    "metadata/snapshot.json",
    "metadata/targets.json",
    "set.json",
    "index.sealed",
    "parts/00000001.sealed",
]


@pytest.mark.parametrize("name", FILES)
def test_every_byte(judge, exported, name):
    refused_everywhere(exported.folder() / name, judge.about(name), every_bit=name == "metadata/timestamp.json")


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_every_bit(judge, exported, name):
    refused_everywhere(exported.folder() / name, judge.about(name), every_bit=True)


@pytest.mark.parametrize("name", FILES)
def test_a_sample_through_the_command(offered, name):
    path = offered.folder("stick") / name
    good, chance = path.read_bytes(), random.Random(name)
    before = offered.holdings()
    for _ in range(3):
        changed = bytearray(good)
        changed[chance.randrange(len(good))] ^= 1 << chance.randrange(8)
        path.write_bytes(changed)
        done = offered.inside("import", "stick")
        assert done.code == (5 if name.startswith("parts/") else 3), done.err
        after = offered.holdings()
        assert (after["served"], after["blobs"], after["catalog"][0]) == (before["served"], before["blobs"], before["catalog"][0])
    path.write_bytes(good)
    assert len(offered.ok("in", "import", "stick", "--json").json["sets"][0]["new"]) == 2


@pytest.mark.parametrize("name", ["README.txt", "medium.json", "SHA256SUMS"])
def test_the_notes_count_for_nothing(offered, name):
    """Nobody trusts them, so they may say anything, or be missing."""
    path = offered.folder("stick") / name
    good, chance = path.read_bytes(), random.Random(name)
    path.write_bytes(bytes(byte ^ (1 << chance.randrange(8)) for byte in good))
    assert len(offered.ok("in", "import", "stick", "--json").json["sets"][0]["new"]) == 2
    path.unlink()
    assert "nothing to do" in offered.ok("in", "import", "stick").out
