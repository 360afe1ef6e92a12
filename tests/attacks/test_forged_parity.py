"""A recipient knows the set key and can seal parity parts of its own: what they bring back is compared with the signed digests like everything else."""

import dataclasses
import io
import json

import pytest

from registry.content import canonical
from registry.errors import FormatRefused
from registry.media.index import parse_index
from registry.media.parity import Group
from registry.media.stream import associated_data, open_bytes, seal_bytes


@pytest.fixture
def parity(offered):
    """``wide:1b`` in two parts and two parity parts on ``heal2``, ``tiny:1b`` in one and one on ``heal``."""
    offered.model("wide.gguf", 6, rows=10_000)
    offered.ok("out", "pin", "wide:1b", "--from", "file:wide.gguf")
    for medium, name, count in (("heal", "tiny:1b", 2), ("heal2", "wide:1b", 4)):
        offered.path(medium).mkdir()
        offered.ok("out", "export", name, "--to", medium, "--recipient", "in/site.pub", "--part-size", "1MiB", "--parity", "100%")
        assert len(list((offered.folder(medium) / "parts").iterdir())) == count
    return offered


def part(world, number, medium="heal2"):
    return world.folder(medium) / f"parts/{number:08d}.sealed"


def reseal(path, set_key, data, number):
    sink = io.BytesIO()
    seal_bytes(sink, data, set_key, associated_data(path.parents[1].name, "part", number))
    path.write_bytes(sink.getvalue())


def opened(path, set_key, number):
    data = path.read_bytes()
    return open_bytes(io.BytesIO(data), len(data), set_key, associated_data(path.parents[1].name, "part", number), what="x", limit=1 << 24)


def test_forged_with_the_right_key(parity, forge):
    """Well sealed and wrong: what it brings back has another digest; nothing of it is taken, and a good copy heals."""
    _, set_key, _ = forge(parity).open_set(parity.folder("heal2"))
    before = parity.holdings()
    part(parity, 1).unlink()
    good = {number: part(parity, number).read_bytes() for number in (3, 4)}
    for number in good:
        content = bytearray(opened(part(parity, number), set_key, number))
        content[1000] ^= 1
        reseal(part(parity, number), set_key, bytes(content), number)
    done = parity.inside("import", "heal2", "--json")
    assert done.code == 5
    assert done.json["error"]["missing"] == done.json["error"]["damaged"] == [1]
    assert "has another digest after it came back by parity" in done.json["error"]["why"]
    after = parity.holdings()
    assert (before["served"], before["catalog"][0]) == (after["served"], after["catalog"][0])
    assert not [path for path in parity.path("in/incoming").iterdir() if ".parity-" in path.name]
    part(parity, 3).write_bytes(good[3])
    assert parity.ok("in", "import", "heal2", "--json").json["sets"][0]["healed"] == [1]
    parity.ok("in", "check")


def test_one_of_two_is_forged(parity, forge):
    """The other one brings back the right bytes in the same run."""
    _, set_key, _ = forge(parity).open_set(parity.folder("heal2"))
    part(parity, 1).unlink()
    content = bytearray(opened(part(parity, 3), set_key, 3))
    content[0] ^= 1
    reseal(part(parity, 3), set_key, bytes(content), 3)
    assert parity.ok("in", "import", "heal2", "--json").json["sets"][0]["healed"] == [1]
    parity.ok("in", "check")


@pytest.mark.parametrize("source", ["a part", "the other parity part", "another set"])
def test_under_a_wrong_name(parity, source):
    """A good file in the place of a parity part: bound to its own place, it is damaged there, and heals nothing."""
    files = {"a part": part(parity, 2), "the other parity part": part(parity, 4), "another set": part(parity, 2, "heal")}
    data = files[source].read_bytes()
    part(parity, 1).unlink()
    part(parity, 3).write_bytes(data)
    part(parity, 4).unlink()
    done = parity.inside("import", "heal2", "--json")
    assert (done.code, done.json["error"]["missing"], done.json["error"]["damaged"]) == (5, [1], [])


def test_a_parity_part_in_the_place_of_a_part(parity):
    """… and the other way round."""
    part(parity, 1).write_bytes(part(parity, 3).read_bytes())
    for number in (3, 4):
        part(parity, number).unlink()
    done = parity.inside("import", "heal2", "--json")
    assert (done.code, done.json["error"]["missing"], done.json["error"]["damaged"]) == (5, [1], [1])
    assert "segment 0 is not what was sealed" in done.json["error"]["why"]


GROUPS = {
    "overlap": [Group((1, 2), (3,)), Group((2,), (4,))],
    "a part twice in one group": [Group((1, 1, 2), (3, 4))],
    "a part left out": [Group((1,), (3, 4))],
    "a part that isn't there": [Group((1, 2, 5), (3, 4))],
    "a parity part left out": [Group((1, 2), (4,))],
    "a part as parity": [Group((1,), (2, 3, 4))],
    "backwards": [Group((2, 1), (3, 4))],
    "no parity": [Group((1, 2), ())],
    "no data": [Group((), (3, 4)), Group((1, 2), (5,))],
    "thirty-three": [Group((1, 2), tuple(range(3, 34)))],
}


@pytest.mark.parametrize("groups", GROUPS.values(), ids=GROUPS)
def test_odd_groups(parity, forge, refuses, groups):
    """Signed by the station, and still no groups: refused before any part is opened."""
    station = forge(parity)
    folder = parity.folder("heal2")
    _, set_key, index = station.open_set(folder)
    station.reseal(folder, set_key, dataclasses.replace(index, parity=tuple(groups)), station.keys["station"])
    refuses(parity, "heal2", code=3, error="its parity groups don't fit its parts", commits_metadata=True)


def test_groups_of_another_type(parity, forge):
    """The parser alone: what no dataclass can say."""
    _, _, index = forge(parity).open_set(parity.folder("heal2"))
    document = json.loads(index.to_bytes())
    for odd in (
        7,
        {},
        [7],
        [[1, 2]],
        [{"data": [1, 2]}],
        [{"data": "12", "parity": [3, 4]}],
        [{"data": [1, True], "parity": [3, 4]}],
        [{"data": [0, 1], "parity": [3]}],
    ):
        with pytest.raises(FormatRefused):
            parse_index(canonical.dump({**document, "parity": odd}), what="x")
