"""A stream is what somebody on the link made of it: without the checks, files under other names, twice, or without end would come in.

A stream can also carry everything that a medium can; those attacks are the other files here, and one of them is played through a stream as well.
"""

import re

import pytest

CODE = 3
UNCHANGED = "nothing was imported; what is served has not changed"


def lines_of(stream):
    """Where each line of 64 bytes begins, in order: the opening, each header, the end."""
    places, place = [0], 64
    while not stream.startswith(b'{"end"', place):
        places.append(place)
        place += 64 + int(re.search(rb'"size":(\d+)', stream[place : place + 64])[1])
    return [*places, place]


def frames_of(stream):
    """The opening, each frame with its header, and the end."""
    places = lines_of(stream)
    return [stream[begin:end] for begin, end in zip(places, [*places[1:], len(stream)], strict=True)]


def unknown_name(frames, frame):
    frames.insert(5, frame("metadata/evil.json", b"x"))
    return "not as airlock writes it"


def climbing_name(frames, frame):
    frames.insert(-1, frame("parts/../../x", b"x"))
    return "not as airlock writes it"


def absolute_name(frames, frame):
    frames.insert(-1, frame("/etc/cron.d/x", b"x"))
    return "not as airlock writes it"


def litter(frames, frame):
    frames.insert(-1, frame("parts/._00000001.sealed", b"x"))
    return "not as airlock writes it"


def small_file_twice(frames, frame):
    frames.insert(4, frames[4])
    return "not as airlock writes it"


def part_twice(frames, frame):
    frames.insert(-1, frames[-2])
    return "not as airlock writes it"


def parts_swapped(frames, frame):
    frames[-2], frames[-3] = frames[-3], frames[-2]
    return "not as airlock writes it"


def parts_first(frames, frame):
    frames.insert(1, frames.pop(-2))
    return "not as airlock writes it"


def no_root(frames, frame):
    del frames[1]
    return "not as airlock writes it"


def no_header(frames, frame):
    del frames[5]
    return "not as airlock writes it"


def no_index(frames, frame):
    del frames[6]
    return "not as airlock writes it"


def plain_part(frames, frame):
    frames.insert(-1, frame("parts/00000009.plain", b"x"))
    return "not as airlock writes it"


def metadata_after_the_parts(frames, frame):
    frames.insert(-1, frames[2])
    return "not as airlock writes it"


def huge_timestamp(frames, frame):
    frames[2] = b'{"name":"metadata/timestamp.json","size":1099511627776}'.ljust(63) + b"\n" + frames[2][64:]
    return "larger than any airlock writes"


def huge_part(frames, frame):
    frames[-2] = b'{"name":"parts/00000002.sealed","size":1099511627776}'.ljust(63) + b"\n"
    return "larger than any airlock writes"


def huge_header(frames, frame):
    frames[2] = b'{"name":"' + b"x" * (1 << 20) + frames[2]
    return "not readable as JSON"


def garbage_between(frames, frame):
    frames.insert(-1, bytes(range(256)))
    return "the stream: "


def other_set_id(frames, frame):
    frames[0] = frames[0].replace(b"airlock-stream-v1 0", b"airlock-stream-v1 7")
    return "belongs to another set"


def newer_format(frames, frame):
    frames[0] = frames[0].replace(b"-v1", b"-v9")
    return "needs another format"


def a_tarball(frames, frame):
    frames[0] = b"airlock/".ljust(64, b"\0")
    return "this is no stream of airlock"


BENT = [
    value
    for value in list(globals().values())
    if callable(value) and getattr(value, "__module__", "") == __name__ and value.__code__.co_argcount == 2
]
assert len(BENT) == 20


@pytest.mark.parametrize("bend", BENT, ids=lambda function: function.__name__)
def test_refused(offered, frame, bend):
    """Refused, on record; what is served stays, and nothing half is left behind.  What came whole before the bent frame may be there."""
    frames = frames_of(offered.stream("stick"))
    message = bend(frames, frame)
    before, blobs = offered.holdings(), set(offered.holdings()["blobs"])
    done = offered.feed(b"".join(frames), "import", "-")
    assert done.code == CODE, done.err
    assert message in done.lines["error"]
    assert done.lines["why"]
    assert done.out == ""
    after = offered.holdings()
    assert after["served"]["releases"] == before["served"]["releases"]
    assert before["blobs"].items() <= after["blobs"].items()
    refusal = offered.events()[-1]
    assert refusal["verb"] == "set.refuse"
    assert message in refusal["subject"]["what"]
    if blobs == set(after["blobs"]):
        assert done.lines["unchanged"] == UNCHANGED
    assert list(offered.path("in").glob("**/.airlock-*")) == []
    offered.ok("in", "check")
    # and the same command with what was meant
    done = offered.feed(offered.stream("stick"), "import", "-")
    assert done.code == 0, done.err
    assert ("library/big:1b", 1, "quarantine") in offered.releases()


def test_nothing_to_read(offered):
    before = offered.holdings()
    done = offered.feed(b"", "import", "-")
    assert (done.code, done.lines["error"], done.lines["why"]) == (5, "the stream ended early", "not even its first line came")
    assert done.lines["unchanged"] == UNCHANGED
    assert offered.holdings() == before


def test_two_ends(offered):
    """What comes after the end is not read: neither a second set nor the zeros of a tape's last block."""
    stream = offered.stream("stick")
    for after in (stream, bytes(10_240), b"\xff" * 100):
        done = offered.feed(stream + after, "import", "-")
        assert done.code == 0, done.err
        assert "set" in done.out


def test_a_strangers_stream(exported):
    """The hint names what brings the publisher's root on the same way."""
    before = exported.holdings()
    done = exported.feed(exported.stream(), "import", "-")
    assert done.code == 3
    assert "by a publisher that is not trusted here" in done.lines["error"]
    assert "airlock trust add - --fingerprint" in done.lines["hint"]
    assert exported.holdings() == before
    done = exported.feed(exported.stream(), "trust", "add", "-", "--fingerprint", "0" * 64)
    assert done.code == 3
    assert exported.holdings() == before


def test_an_index_of_somebody_else(offered, forge):
    """A recipient knows the set key and seals an index of their own."""
    world = offered
    station = forge(world)
    folder = world.folder("stick")
    header, set_key, index = station.open_set(folder)
    station.reseal(folder, set_key, index, station.keys["release"])
    before = world.holdings()
    done = world.feed(world.stream("stick"), "import", "-")
    assert done.code == 3
    assert "index" in done.lines["error"]
    assert world.holdings()["blobs"] == before["blobs"]
    assert header.set_id == folder.name


def test_a_rotten_part(offered):
    """One part is damaged; the frames after it are taken all the same, and a stick brings the rest."""
    frames = frames_of(offered.stream("stick"))
    assert len(frames) == 10
    frames[-3] = frames[-3][:-1] + bytes([frames[-3][-1] ^ 1])
    done = offered.feed(b"".join(frames), "import", "-")
    assert done.code == 5, done.err
    assert re.search("part 1 of set .*: damaged", done.lines["error"])
    assert done.lines["unchanged"] == UNCHANGED
    taken = offered.path("in/incoming").glob("*.arrivals")
    assert '"done":[2]' in next(taken).read_text()
    done = offered.inside("import", "stick")
    assert done.code == 0, done.err


def test_an_edited_timestamp(offered):
    stream = offered.stream("stick")
    before = offered.holdings()
    done = offered.feed(stream.replace(b'"issued":"20', b'"issued":"19'), "import", "-")
    assert done.code == 3
    assert done.lines["unchanged"] == UNCHANGED
    assert offered.holdings() == before
