"""A house: a station, a site and media, made once, copied for each trial, and everything that goes on in it stepped through.

    passphrase        of both homes
    in/               a site that serves ``library/tiny:1b`` release 1
    out/              a station; pinned are release 2 of it and ``library/other:1b``, together three parts of 1 MiB
    a/, b/            empty media
    carried-a/, …-b/  the media that an undisturbed export writes: parts 1 and 2 on one, part 3 and the parity parts on the other
    carried-out/      the station after it
    temp/             TMPDIR, where nothing is ever written

A model holds ``MARK`` in every four kilobytes, so that plaintext is found wherever it lies.
"""

import contextlib
import hashlib
import json
import os
import random
import re
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import gguf
import numpy as np
import pytest

STEPPER = Path(__file__).with_name("stepper.py")
MARK = b"plaintext of a model, which must not lie about".ljust(64, b".")
_SET = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}")


@dataclass(frozen=True)
class Done:
    """What a command did: exit code, stdout, stderr, and the steps it took."""

    code: int
    out: str
    err: str
    steps: list

    @property
    def json(self):
        """The one JSON document on stdout."""
        return json.loads(self.out)

    @property
    def killed(self):
        """Whether it was killed; the last of its steps is then the one it didn't take."""
        return self.code == -signal.SIGKILL


class Stepper:
    """A process that runs commands one after another (``stepper.py``)."""

    def __init__(self, process):
        self._process = process

    def start(self, **request):
        """Ask for a command."""
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()

    def paused(self):
        """Wait until the command stands before its step, or say how it ended instead."""
        said = json.loads(self._process.stdout.readline())
        assert "paused" in said, said

    def go_on(self):
        """Let the paused command take its step."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def end(self):
        """Wait until the command has ended."""
        said = json.loads(self._process.stdout.readline())
        return Done(said["returncode"], said["stdout"], said["stderr"], said["steps"])


class House:
    """A directory that stands for the station, the site, and what is carried between them."""

    EXPORT = ("export", "--to", "a", "--to", "b", "--media", "3400k,6M", "--label", "STICK-A", "--label", "STICK-B",
              "--recipient", "in/site.pub", "--part-size", "1MiB", "--parity", "34%", "--json")  # fmt: skip
    SERVED = (("library/tiny", "1b", 1, "promoted"),)
    ARRIVED = frozenset({("library/tiny:1b", 1, "promoted"), ("library/tiny:1b", 2, "quarantine"), ("library/other:1b", 1, "quarantine")})

    def __init__(self, root, stepper):
        self.root, self.stepper = root, stepper

    def path(self, *parts):
        """A path in the house."""
        return self.root.joinpath(*parts)

    def request(self, home, *arguments, at=0, act="kill", days=0, cores=1):
        """What a stepper is asked for: a command at ``out`` or ``in``."""
        words = ["--home", home, "--passphrase-file", "passphrase", *map(str, arguments)]
        return {"arguments": words, "cwd": str(self.root), "at": at, "act": act, "days": days, "cores": cores}

    def run(self, home, *arguments, **rest):
        """Run a command; ``at`` and ``act`` disturb it, ``days`` sets the clock, ``cores`` lets it work side by side."""
        self.stepper.start(**self.request(home, *arguments, **rest))
        return self.stepper.end()

    def ok(self, home, *arguments, **rest):
        """Run a command that must succeed."""
        done = self.run(home, *arguments, **rest)
        assert done.code == 0, (done.steps[-1:], done.err)
        return done

    def export(self, **rest):
        """Export what is pinned onto ``a`` and ``b``."""
        return self.run("out", *self.EXPORT, **rest)

    def export_ok(self):
        """The same, which must succeed."""
        return self.ok("out", *self.EXPORT)

    def carry_in(self, *media):
        """Import media one after another, the last one completes the set.

        Parity parts are so many that the medium they lie on does without the other.
        """
        for medium in media[:-1]:
            assert self.run("in", "import", medium).code in (0, 5)
        self.ok("in", "import", media[-1])
        self.assert_arrived()

    def assert_arrived(self):
        """Both models are here whole, nothing else is on its way, and what is served stays."""
        assert self.releases() == self.ARRIVED
        assert self.served() == self.SERVED
        assert list(self.path("in/incoming").iterdir()) == []
        self.assert_nothing_strays()
        self.assert_whole("in")

    def copy(self, top, *names):
        """A copy of these directories (all of them where none is named), with the passphrase."""
        top.mkdir(parents=True)
        for name in names or [each.name for each in self.root.iterdir() if each.is_dir()]:
            shutil.copytree(self.path(name), top / name)
        for name in ("temp", "a", "b"):
            (top / name).mkdir(exist_ok=True)
        shutil.copy(self.path("passphrase"), top)
        return House(top, self.stepper)

    def served(self):
        """What a node may pull; without the sequence number, which grows with every event."""
        view = json.loads(self.path("in/published/view.json").read_bytes())
        return tuple((each["repository"], each["tag"], each["number"], each["state"]) for each in view["releases"])

    def releases(self):
        """Name, number and state of every release at the site."""
        return {(row["name"], row["release"], row["state"]) for row in self.ok("in", "list", "--json").json}

    def events(self, home, *, but=()):
        """The verbs of a home's log, oldest first."""
        return [each["verb"] for each in self.ok(home, "log", "--json").json if each["verb"] not in but]

    def names(self, *tops):
        """The names of all files and directories below, sets called SET, without the blobs: alike in every run that does the same."""
        paths = [path.relative_to(self.root) for top in tops for path in self.path(top).rglob("*")]
        return sorted(_SET.sub("SET", str(path)) for path in paths if "sha256" not in path.parts)

    def carried(self):
        """The names of everything on both media, whichever lies in which slot."""
        return sorted(name.partition("/")[2] for name in self.names("a", "b"))

    def blobs(self, home):
        """How many blobs a home holds of each size in KiB."""
        return Counter(path.stat().st_size >> 10 for path in self.path(home, "blobs").rglob("*") if path.is_file())

    def tree(self, top):
        """Relative path to digest of every file below."""
        files = (path for path in sorted(self.path(top).rglob("*")) if path.is_file())
        return {str(path.relative_to(self.root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    def sets_on(self, medium):
        """The sets on a medium."""
        return sorted(path.name for path in self.path(medium, "airlock").glob("*"))

    def assert_nothing_strays(self, *, ended=True):
        """No plaintext but where it belongs; after a command that ended also no temporary file, and nothing on its way in."""
        files = [path for path in self.root.rglob("*") if path.is_file()]
        belongs = [self.path("in/incoming"), self.path("in/blobs"), self.path("out/blobs")]
        for path in files:
            if not any(path.is_relative_to(each) for each in belongs):
                assert MARK not in path.read_bytes(), f"plaintext lies in {path}"
        assert list(self.path("temp").iterdir()) == []
        if ended:
            assert [path for path in files if ".airlock-" in path.name] == []

    def assert_whole(self, *homes):
        """Every digest, signature and blob of these homes is as it must be."""
        for home in homes:
            self.ok(home, "check")


def _write_model(path, seed, rows):
    data = np.random.default_rng(seed).integers(0, 255, (rows, 4096), dtype=np.uint8)
    data[:, : len(MARK)] = np.frombuffer(MARK, dtype=np.uint8)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_tensor("token_embd.weight", data.view(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@contextlib.contextmanager
def _stepper(scratch):
    environment = {**os.environ, "TMPDIR": str(scratch)}
    with subprocess.Popen([sys.executable, str(STEPPER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as process:
        yield Stepper(process)
        process.stdin.close()


@pytest.fixture(scope="session")
def _scratch(tmp_path_factory):
    """Memory where there is enough of it, so that fsync costs nothing; else the disk."""
    memory = Path("/dev/shm")
    if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 1 << 30:
        with tempfile.TemporaryDirectory(dir=memory, prefix="airlock-faults-") as top:
            yield Path(top)
    else:
        yield tmp_path_factory.mktemp("faults")


@pytest.fixture
def scratch(_scratch):
    """A directory of this test's own, gone after it."""
    top = Path(tempfile.mkdtemp(dir=_scratch))
    yield top
    shutil.rmtree(top)


@pytest.fixture(scope="session")
def stepper(_scratch):
    """The process that runs every command."""
    with _stepper(_scratch) as stepper:
        yield stepper


@pytest.fixture(scope="session")
def another(_scratch):
    """A second such process, for what goes on at the same time."""
    with _stepper(_scratch) as stepper:
        yield stepper


@pytest.fixture(scope="session")
def models(_scratch):
    """Where the models lie, outside of every house."""
    models = _scratch / "models"
    models.mkdir()
    for name, seed, rows in (("one", 1, 16), ("two", 2, 300), ("three", 3, 300), ("four", 4, 1200), ("five", 5, 1200)):
        _write_model(models / f"{name}.gguf", seed, rows)
    return models


@pytest.fixture(scope="session")
def house(_scratch, stepper, models):
    """The house at rest; tests work in copies."""
    house = House(_scratch / "house", stepper)
    house.root.mkdir()
    house.path("passphrase").write_text("correct horse\n")
    for name in ("temp", "first", "a", "b"):
        house.path(name).mkdir()
    house.ok("in", "site", "init")
    house.ok("out", "init")
    house.ok("out", "pin", "tiny:1b", "--from", f"file:{models}/one.gguf")
    house.ok("out", "export", "--to", "first", "--recipient", "in/site.pub")
    house.ok("in", "trust", "add", "first", "--fingerprint", house.ok("in", "inspect", "first", "--json").json["fingerprint"])
    house.ok("in", "import", "first")
    house.ok("in", "approve", "tiny:1b")
    house.ok("in", "promote", "tiny:1b")
    shutil.rmtree(house.path("first"))
    house.ok("out", "pin", "tiny:1b", "--from", f"file:{models}/two.gguf")
    house.ok("out", "pin", "other:1b", "--from", f"file:{models}/three.gguf")
    writing = house.copy(_scratch / "writing")
    writing.export_ok()
    for each in ("a", "b", "out"):
        shutil.copytree(writing.path(each), house.path(f"carried-{each}"))
    assert [[path.name for path in sorted(house.path(f"carried-{each}").glob("airlock/*/parts/*"))] for each in "ab"] == [
        ["00000001.sealed", "00000002.sealed"],
        ["00000003.sealed", "00000004.sealed", "00000005.sealed"],
    ]
    assert house.served() == house.SERVED
    return house


@pytest.fixture(params=["some moments", pytest.param("every step", marks=pytest.mark.slow)])
def moments(request, record_property):
    """Return a function: the steps of an undisturbed command, and where there are kinds of steps that matter those kinds, to the numbers to look at.

    All of them in the slow run.  On other days ten (or so many as are named): the first, the last, and others by a chance that stays the same all day
    long.
    """

    def choose(steps, kinds=(), count=10):
        every = [number for number, step in enumerate(steps, 1) if not kinds or step.split()[0] in kinds]
        chosen, chance = every, random.Random(f"{request.node.name} {datetime.now(UTC):%Y%m%d}")
        if request.param != "every step" and len(every) > count:
            chosen = sorted({every[0], every[-1], *chance.sample(every[1:-1], count - 2)})
        assert chosen
        record_property("steps", f"{len(chosen)} of {len(steps)}")
        print(f"{request.node.name}: {len(chosen)} of {len(steps)} steps")
        return chosen

    return choose


@pytest.fixture
def disk():
    """Mounts file systems until the test ends (``tests/disks``)."""
    disks = runpy.run_path(str(Path(__file__).parents[1] / "disks/conftest.py"))["Disks"]()
    yield disks
    disks.close()
