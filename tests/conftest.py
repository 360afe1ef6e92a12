"""Small stations, sites and media, built once per session by the real command line and copied for each test.

``world`` is a directory with ``out`` (a station), ``in`` (a site), ``usb`` (a medium with one set: ``library/tiny:1b`` release 1 and
``library/tiny:2b`` release 2), the models ``one.gguf`` and ``two.gguf``, and ``passphrase``.  How far the journey has come is in the fixture's name:
``exported``, ``imported``, ``serving`` (``1b`` promoted, ``2b`` approved), ``offered`` (and a set with ``library/tiny:1b`` release 3 and ``library/big:1b``
release 1 lies on ``stick``, in two parts; part 2 holds nothing but the end of ``big``).
"""

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import gguf
import hypothesis
import numpy as np
import pytest

from registry.cli.main import run
from registry.errors import AirlockError
from registry.store import keystore
from registry.store.home import Home
from registry.workflow.actor import Credentials
from registry.workflow.importing import import_media
from registry.workflow.progress import Silent
from registry.workflow.site import read_site

hypothesis.settings.register_profile("airlock", deadline=None)  # how fast a machine is decides no test
hypothesis.settings.load_profile("airlock")

PASSPHRASE = "correct horse battery staple"
PROGRAM = Path(sys.executable).with_name("airlock")
STAGES = ("exported", "imported", "serving", "offered")


def _tree(root):
    files = (path for path in sorted(Path(root).rglob("*")) if path.is_file() or path.is_symlink())
    return {
        str(path.relative_to(root)): f"-> {path.readlink()}" if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def _write_model(path, seed, rows=8):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_tensor("token_embd.weight", np.random.default_rng(seed).random((rows, 32), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@dataclass(frozen=True)
class Run:
    """What a command did: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        """The one JSON document on stdout."""
        return json.loads(self.out)

    @property
    def lines(self):
        """The lines of the error, by their label: ``error``, ``why``, ``hint`` and ``unchanged``."""
        found = {"error": [], "why": [], "hint": [], "unchanged": []}
        for line in self.err.splitlines():
            match = re.match(r"airlock: (error|why|hint): (.*)", line)
            if match:
                found[match[1]].append(match[2])
            elif found["error"]:
                found["unchanged"].append(line.removeprefix("airlock: "))
        return {label: "\n".join(lines) for label, lines in found.items()}


def _airlock(*arguments, cwd):
    """Run a command inside this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([str(each) for each in arguments])
    return Run(code, out.getvalue(), err.getvalue())


def stream_line(text):
    """64 bytes of a stream: a line filled up with blanks."""
    return text.encode().ljust(63) + b"\n"


def stream_frame(name, data):
    """A file of a stream behind its header."""
    return stream_line(f'{{"name":"{name}","size":{len(data)}}}') + data


@dataclass(frozen=True)
class World:
    """A directory that stands for every machine of a journey."""

    root: Path
    homes: dict = field(default_factory=lambda: {"out": "out", "in": "in"})
    passphrase = PASSPHRASE

    def path(self, *parts):
        """A path below the world."""
        return self.root.joinpath(*parts)

    def airlock(self, *arguments):
        """Run a command inside this process, without a home or a passphrase."""
        return _airlock(*arguments, cwd=self.root)

    def program(self, *arguments, env=None, **rest):
        """Run a command as a process of its own, without a home or a passphrase."""
        command = [str(PROGRAM), *map(str, arguments)]
        environment = {**os.environ, **(env or {})}
        done = subprocess.run(
            command, cwd=self.root, env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=60, **rest
        )
        return Run(done.returncode, done.stdout, done.stderr)

    def outside(self, *arguments):
        """Run a command at the station."""
        return self.airlock("--home", self.homes["out"], "--passphrase-file", "passphrase", *arguments)

    def inside(self, *arguments):
        """Run a command at the site."""
        return self.airlock("--home", self.homes["in"], "--passphrase-file", "passphrase", *arguments)

    def ok(self, place, *arguments):
        """Run a command at ``out`` or ``in`` that must succeed."""
        done = {"out": self.outside, "in": self.inside}[place](*arguments)
        assert done.code == 0, done.err
        return done

    def person(self, name, key="k"):
        """Make a key of somebody's own, in a home of their own; return the file with its public half."""
        for words in (("key", "new", key), ("key", "show", key, "--to", f"{name}-{key}.pub")):
            assert self.airlock("--home", name, "--passphrase-file", "passphrase", *words).code == 0
        return f"{name}-{key}.pub"

    def acting(self, name, *arguments):
        """Run a command at the site with somebody's own key, and without the site's passphrase."""
        return self.airlock("--home", self.homes["in"], *arguments, "--actor", name, "--actor-passphrase-file", "passphrase")

    def two_people(self):
        """Enrol ``anna``; the site's own key is the other person."""
        self.ok("in", "people", "add", "anna", "--key", self.person("anna"))

    def model(self, name, seed, rows=8):
        """Write a tiny model with random weights."""
        self.path(name).unlink(missing_ok=True)
        _write_model(self.path(name), seed, rows)

    def export(self, medium, *names, part_size="1MiB", recipients=("in/site.pub",)):
        """Export to a medium, which is made if it isn't there; return its set's folder."""
        self.path(medium).mkdir(exist_ok=True)
        cards = [word for card in recipients for word in ("--recipient", card)]
        done = self.ok("out", "export", *names, "--to", medium, *cards, "--part-size", part_size, "--json")
        return self.path(done.json["path"])

    def folder(self, medium="usb"):
        """The folder of the only set on a medium."""
        [folder] = self.path(medium, "airlock").iterdir()
        return folder

    def stream(self, medium="usb"):
        """The only set on a medium as the stream that would carry it, by the description of the format, not by airlock's code."""
        folder = self.folder(medium)
        roots = [f"metadata/{number}.root.json" for number in range(1, len(list(folder.glob("metadata/*.root.json"))) + 1)]
        rest = [f"metadata/{role}.json" for role in ("timestamp", "snapshot", "targets")]
        index = next(folder.glob("index.*")).name
        frames = {name: (folder / name).read_bytes() for name in (*roots, *rest, "set.json", index)}
        frames |= {f"parts/{path.name}": path.read_bytes() for path in sorted((folder / "parts").iterdir())}
        return b"".join(
            [stream_line(f"airlock-stream-v1 {folder.name}"), *(stream_frame(*each) for each in frames.items()), stream_line('{"end":true}')]
        )

    def send(self, *arguments):
        """Run a command at the station whose stdout takes a stream; return the stream, and how the command ended."""
        stream, said = self.path("sent"), self.path("said")
        with stream.open("w") as out, said.open("w", buffering=1) as err, pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            with contextlib.chdir(self.root):
                code = run(["--home", self.homes["out"], "--passphrase-file", "passphrase", *map(str, arguments)])
        return stream.read_bytes(), Run(code, "", said.read_text())

    def feed(self, data, *arguments):
        """Run a command at the site with a stream on its stdin."""
        with tempfile.TemporaryFile("w+b") as file:
            file.write(data)
            file.seek(0)
            with pytest.MonkeyPatch.context() as patch, io.TextIOWrapper(file) as text:
                patch.setattr(sys, "stdin", text)
                return self.inside(*arguments)

    def fingerprint(self, medium="usb"):
        """The fingerprint of the newest root on a medium."""
        return self.airlock("inspect", medium, "--json").json["fingerprint"]

    def releases(self):
        """Name, number and state of every release at the site."""
        return [(row["name"], row["release"], row["state"]) for row in self.ok("in", "list", "--json").json]

    def events(self, home="in"):
        """Every event in a home's log, as ``airlock log --json`` prints it."""
        done = self.airlock("--home", self.homes[home], "log", "--json")
        assert done.code == 0, done.err
        return done.json

    def import_at(self, now, *media):
        """Import as if the clock said ``now``; return the error the command would end with, or None."""
        home = Home(self.path(self.homes["in"]))
        credentials = Credentials(lambda: self.path("passphrase").read_text().splitlines()[0])
        try:
            return import_media(home, [self.path(each) for each in media], credentials, now=now, progress=Silent()).problem()
        except AirlockError as error:
            return error

    def holdings(self):
        """What a refusal may not change: what is served, the states, the trusted metadata, the blobs."""
        home = self.path(self.homes["in"])
        served = json.loads((home / "published/view.json").read_bytes())
        with read_site(Home(home)) as log:
            catalog = log.releases(), log.publishers(), log.completed_sets()
        del served["sequence"]  # grows with every event, refusals included
        return {"served": served, "catalog": catalog, "blobs": _tree(home / "blobs")}


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch):
    """No home and no passphrase but those a test names."""
    for name in ("AIRLOCK_HOME", "AIRLOCK_PASSPHRASE_FILE", "AIRLOCK_ACTOR", "AIRLOCK_ACTOR_PASSPHRASE_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session", autouse=True)
def _derive_once():
    """Remember what Argon2id made of a passphrase and a salt: the same question has the same answer, and it takes half a second."""
    known = {}
    derive = keystore._derive

    def remembered(passphrase, kdf):
        question = passphrase, json.dumps(dict(kdf), sort_keys=True)
        if question not in known:
            known[question] = derive(passphrase, kdf)
        return known[question]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keystore, "_derive", remembered)
        yield


@pytest.fixture(scope="session")
def _stages(tmp_path_factory, _derive_once):
    """Every stage of the journey, each a directory at rest."""
    top = tmp_path_factory.mktemp("stages")
    world = World(top / "exported")
    world.root.mkdir()
    world.path("passphrase").write_text(PASSPHRASE + "\n")
    world.ok("in", "site", "init")
    world.ok("out", "init")
    for name, seed in (("one", 1), ("two", 2)):
        world.model(f"{name}.gguf", seed)
        world.ok("out", "pin", f"tiny:{seed}b", "--from", f"file:{name}.gguf")
    world.export("usb")
    world = World(shutil.copytree(world.root, top / "imported"))
    world.ok("in", "trust", "add", "usb", "--fingerprint", world.fingerprint())
    world.ok("in", "import", "usb")
    world = World(shutil.copytree(world.root, top / "serving"))
    for name in ("tiny:1b", "tiny:2b"):
        world.ok("in", "approve", name)
    world.ok("in", "promote", "tiny:1b")
    world = World(shutil.copytree(world.root, top / "offered"))
    world.model("three.gguf", 3)
    world.model("big.gguf", 4, rows=10_500)
    world.ok("out", "pin", "tiny:1b", "--from", "file:three.gguf")
    world.ok("out", "pin", "big:1b", "--from", "file:big.gguf")
    world.export("stick", "tiny:1b", "big:1b")
    return top


@pytest.fixture
def make_world(_stages, tmp_path):
    """Return a function that gives a fresh copy of a stage."""

    def make(stage, name="world"):
        if stage == "empty":
            (tmp_path / name).mkdir()
            (tmp_path / name / "passphrase").write_text(PASSPHRASE + "\n")
            return World(tmp_path / name)
        assert stage in STAGES
        return World(shutil.copytree(_stages / stage, tmp_path / name))

    return make


@pytest.fixture
def exported(make_world):
    """A set lies on ``usb``; the site trusts nobody yet."""
    return make_world("exported")


@pytest.fixture
def imported(make_world):
    """Two releases wait in quarantine."""
    return make_world("imported")


@pytest.fixture
def serving(make_world):
    """``1b`` is promoted, ``2b`` approved."""
    return make_world("serving")


@pytest.fixture
def offered(make_world):
    """A site that serves, and a set that is new to it on ``stick``."""
    return make_world("offered")


@pytest.fixture(scope="session")
def tree():
    """Return a function: directory to {relative path: SHA-256 of the file there}."""
    return _tree


@pytest.fixture(scope="session")
def frame():
    """Return a function that makes a frame of a stream: name, content."""
    return stream_frame


@pytest.fixture(scope="session")
def line():
    """Return a function that makes a line of 64 bytes of a stream."""
    return stream_line


@pytest.fixture(scope="session")
def write_model():
    """Return a function that writes a tiny GGUF file: path, seed, rows of 128 bytes."""
    return _write_model
