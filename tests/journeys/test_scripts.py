"""Runs the journeys: scripts of whole commands (``*.txt`` beside this file).

::

    world STAGE              start from a copy of this stage (tests/conftest.py); a line of its own, first
    # …                      a comment
    $ airlock …              run a command in the world's directory; AIRLOCK_PASSPHRASE_FILE names the right file
    $ NAME=VALUE airlock …   the same with this environment; an empty VALUE takes the variable away
    $$ airlock …             the same with the installed program, as a process of its own
    exit N                   … must have ended with N; without this line, with 0
    stdout REGEX, stderr REGEX, no-stdout REGEX, no-stderr REGEX
                             … must have printed it, or must not; without a REGEX: anything
    json                     … must have printed exactly one JSON document on stdout
    is PATH VALUE            … in which the member at PATH (``releases.0.release``) is VALUE (JSON)
    keep NAME PATH           … from which ${NAME} is taken
    unchanged PATH…          … must not have changed a byte below these paths (but the lock file)
    same-served HOME         … must not have changed what the site's server lets anybody pull
    missing PATH, exists PATH
    model FILE SEED, mkdir DIR, copy FROM TO, move FROM TO, remove PATH, write FILE TEXT
                             prepare something
    ollama-blob FILE DIR     put FILE into the Ollama store DIR, under its digest
"""

import hashlib
import json
import os
import re
import shlex
import shutil
from pathlib import Path

import pytest

SCRIPTS = sorted(Path(__file__).parent.glob("*.txt"))
assert SCRIPTS


class Journey:
    def __init__(self, make_world, tree, monkeypatch):
        self.make_world, self.tree, self.monkeypatch = make_world, tree, monkeypatch
        self.kept = {}
        self.done = None
        self.checked = True
        self.before = {}

    def play(self, lines):
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.startswith("#"):
                continue
            word, _, rest = line.strip().partition(" ")
            rest = re.sub(r"\$\{(\w+)\}", lambda match: self.kept[match[1]], rest.strip())
            if word != "exit":
                self.expect_success(number)
            try:
                getattr(self, {"$": "command", "$$": "process"}.get(word, "do_" + word.replace("-", "_")))(rest)
            except AssertionError as failure:
                output = f"\nexit {self.done.code}\n{self.done.out}\n{self.done.err}" if self.done else ""
                raise AssertionError(f"line {number}: {line}\n{failure}{output}") from failure
        self.expect_success(len(lines) + 1)

    def expect_success(self, number):
        if not self.checked:
            assert self.done.code == 0, f"before line {number}: exit {self.done.code}\n{self.done.err}"
            self.checked = True

    def do_world(self, stage):
        self.world = self.make_world(stage)

    def command(self, text):
        self.start(text, self.world.airlock)

    def process(self, text):
        self.start(text, self.world.program)

    def start(self, text, run):
        words = shlex.split(text)
        environment = {"AIRLOCK_PASSPHRASE_FILE": "passphrase"}
        while "=" in words[0]:
            name, _, value = words.pop(0).partition("=")
            environment[name] = value
        assert words.pop(0) == "airlock"
        self.before, self.served_before = self.tree(self.world.root), self.served()
        with self.monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value) if value else patch.delenv(name, raising=False)
            self.done = run(*words)
        self.checked = False

    def do_exit(self, code):
        self.checked = True
        assert self.done.code == int(code)

    def do_stdout(self, pattern):
        assert re.search(pattern or r"\S", self.done.out, re.MULTILINE)

    def do_stderr(self, pattern):
        assert re.search(pattern or r"\S", self.done.err, re.MULTILINE)

    def do_no_stdout(self, pattern):
        assert not re.search(pattern or r"\S", self.done.out, re.MULTILINE)

    def do_no_stderr(self, pattern):
        assert not re.search(pattern or r"\S", self.done.err, re.MULTILINE)

    def member(self, path):
        value = self.done.json
        for name in path.split("."):
            if name:
                value = value[int(name) if isinstance(value, list) else name]
        return value

    def do_json(self, _):
        self.member("")

    def do_is(self, text):
        path, _, value = text.partition(" ")
        assert self.member(path) == json.loads(value)

    def do_keep(self, text):
        name, path = text.split()
        self.kept[name] = str(self.member(path))

    def do_unchanged(self, paths):
        after = self.tree(self.world.root)
        for path in paths.split():
            ours, theirs = (
                {name: digest for name, digest in files.items() if Path(name).is_relative_to(path) and Path(name).name != "lock"}
                for files in (self.before, after)
            )
            assert ours == theirs
            assert ours, f"nothing lies below {path}"

    def do_same_served(self, home):
        assert self.served()[home] == self.served_before[home]

    def served(self):
        """What each home's published view says, without the sequence number, which grows with every event."""
        views = self.world.root.rglob("published/view.json")
        return {str(view.parents[1].relative_to(self.world.root)): json.loads(view.read_bytes())["releases"] for view in views}

    def do_missing(self, path):
        assert not os.path.lexists(self.world.path(path))

    def do_exists(self, path):
        assert self.world.path(path).exists()

    def do_model(self, text):
        name, seed = text.split()
        self.world.model(name, int(seed))

    def do_mkdir(self, path):
        self.world.path(path).mkdir()

    def do_copy(self, text):
        source, target = text.split()
        shutil.copytree(self.world.path(source), self.world.path(target))

    def do_move(self, text):
        source, target = text.split()
        self.world.path(source).rename(self.world.path(target))

    def do_remove(self, text):
        path = self.world.path(text)
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    def do_ollama_blob(self, text):
        source, store = map(self.world.path, text.split())
        for folder in ("blobs", "manifests"):
            (store / folder).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, store / "blobs" / f"sha256-{hashlib.sha256(source.read_bytes()).hexdigest()}")

    def do_write(self, text):
        path, _, content = text.partition(" ")
        self.world.path(path).write_text(content + "\n")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_journey(script, make_world, tree, monkeypatch):
    Journey(make_world, tree, monkeypatch).play(script.read_text().splitlines())
