"""Documentation that runs.

A fenced block ``console`` in a page is a transcript: lines ``PLACE $ COMMAND`` (outside, inside, node) and what they print.  ``transcript(page)`` runs
the commands of a page in order, each place with a home of its own, and compares the output line by line.  What differs from run to run (digests, set ids,
times, sizes) is compared by its form, and must be the same wherever the page writes the same; ``…`` stands for anything, alone on a line for
any number of lines.  ``(exit N)`` after the output says how the command ends; without it, 0.

``AIRLOCK_DOCS_WRITE=1`` writes what was printed into the page instead of refusing it; read the difference before you keep it.
"""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import gguf
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
HOMES = {"outside": "/home/anna", "inside": "/home/ben", "node": "/home/node"}
MEDIUM = "/media/usb"
LISTEN = "127.0.0.1:5000"
PROMPT = re.compile(r"(outside|inside|node) +\$ (.*)")
WRITE = os.environ.get("AIRLOCK_DOCS_WRITE") == "1"

# What differs from run to run, by its form: how it is written in a page and what is printed.  The first group must stay one and the same.
TOKENS = {
    "fingerprint": r"(?:[0-9a-f]{4} ){15}[0-9a-f]{4}|(?:[0-9a-f]{4} ){2,14}… [0-9a-f]{4}",
    "digest": r"[0-9a-f]{64}",
    "short": r"sha256:[0-9a-f]{8,12}…",
    "set": r"\b01[0-9A-HJKMNP-TV-Z]{24}\b",
    "label": r"\b[0-9A-HJKMNP-TV-Z]{6}-\d+\b",
    "key": r"\b[0-9a-f]{8}\b",
    "image": r"\b[0-9a-f]{12}\b",
    "time": r"\b20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ",
    "ago": r"\d+ \w+ ago|Less than a second ago",
    "size": r"\b[\d.]+ (?:B|kB|MB|GB)\b|\b[\d.]+[KMB]\b",
    "port": r"127\.0\.0\.1:5\d\d\d",
    "anything": r"…",
}
PRINTED = {
    "fingerprint": r"(?:[0-9a-f]{4} ){15}[0-9a-f]{4}",
    "short": r"sha256:[0-9a-f]{12}…?[0-9a-f]*",
    "port": r"127\.0\.0\.1:\d+",
    "anything": r".*?",
}
CHANGING = {"time", "ago", "size", "anything"}
TOKEN = re.compile("|".join(f"(?P<{name}>{form})" for name, form in TOKENS.items()))
RATE = re.compile(r"airlock: .*: [\d.]+ \w+ in [\d.]+ s \(.*/s\)$")  # said only when a step took more than a second


def write_model(path, seed):
    """Write a tiny GGUF file that calls itself what the pages' example is."""
    writer = gguf.GGUFWriter(path, "gemma3")
    writer.add_name("gemma-3-270m")
    writer.add_file_type(15)
    writer.add_block_count(1)
    writer.add_context_length(32768)
    writer.add_embedding_length(640)
    writer.add_tensor("token_embd.weight", np.random.default_rng(seed).random((64, 1024), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@dataclass
class Step:
    """One command of a transcript: where, what, the lines expected, and the lines of the page that hold them."""

    place: str
    command: str
    expected: list
    exit_code: int
    first: int
    last: int


def steps(text):
    """Return the steps of all ``console`` blocks of a page."""
    found, inside_block, lines = [], False, text.splitlines()
    number = 0
    while number < len(lines):
        line = lines[number]
        if line.startswith("```"):
            inside_block = line.startswith("```console")
        elif inside_block and (match := PROMPT.match(line)):
            place, command = match.groups()
            while command.endswith("\\"):
                number += 1
                command = f"{command[:-1]} {lines[number].strip()}"
            begin = end = number + 1
            while end < len(lines) and not lines[end].startswith("```") and not PROMPT.match(lines[end]):
                end += 1
            expected = lines[begin:end]
            while expected and not expected[-1].strip():
                expected.pop()
            code = 0
            if expected and (ended := re.fullmatch(r"\(exit (\d+)\)", expected[-1])):
                code = int(ended[1])
                expected.pop()
            found.append(Step(place, command, expected, code, begin, begin + len(expected)))
            number = end - 1
        number += 1
    return found


@dataclass
class World:
    """The four machines of a page, each a directory below ``root``; ``known`` maps what a page writes to what was printed."""

    root: Path
    known: dict = field(default_factory=dict)
    servers: list = field(default_factory=list)

    def prepare(self):
        for place in HOMES:
            (self.root / place).mkdir()
            (self.root / f"{place}.passphrase").write_text(f"the passphrase of {place}\n")
        (self.root / "medium").mkdir()
        write_model(self.root / "outside" / "gemma-3-270m.gguf", 1)
        write_model(self.root / "outside" / "gemma-3-270m-october.gguf", 2)
        self.prepare_old_store()
        return self

    def prepare_old_store(self):
        """An Ollama store of somebody who carried models in by hand: one that the publisher knows, and one that nobody does."""
        blobs = self.root / "inside" / "ollama-models" / "blobs"
        blobs.mkdir(parents=True)
        (blobs.parent / "manifests").mkdir()
        write_model(blobs / "unknown", 3)
        for source in (blobs / "unknown", self.root / "outside" / "gemma-3-270m-october.gguf"):
            shutil.copyfile(source, blobs / f"sha256-{hashlib.sha256(source.read_bytes()).hexdigest()}")
        (blobs / "unknown").unlink()

    def copy(self, root):
        """Return another world that begins where this one is; pins point to its own files."""
        shutil.copytree(self.root, root)
        pins = root / "outside" / ".airlock" / "pins.toml"
        pins.write_text(pins.read_text().replace(str(self.root), str(root)))
        return World(root, dict(self.known))

    def paths(self):
        return [*((HOMES[place], str(self.root / place)) for place in HOMES), (MEDIUM, str(self.root / "medium"))]

    def environment(self, place, command):
        variables = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self.root / place),
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",  # on a terminal results and messages come in the order in which they are said
        }
        if "airlock inspect" not in command or "--open" in command:  # inspect opens what it can; pages show it as the courier sees it
            variables["AIRLOCK_PASSPHRASE_FILE"] = str(self.root / f"{place}.passphrase")
        return variables

    def typed(self, command):
        """Return a page's command with what this run really has in the place of what the page writes."""
        for written, real in [*self.paths(), *sorted(self.known.items(), key=lambda item: -len(item[0]))]:
            command = command.replace(written, real)
        return command

    def run(self, step):
        """Run one step; return its exit code and the lines it printed, with the page's paths."""
        if step.place == "node":
            return self.node(step)
        command = self.typed(step.command)
        options = {"cwd": self.root / step.place, "env": self.environment(step.place, step.command), "stdin": subprocess.DEVNULL}
        if step.command.endswith("&"):
            return 0, self.paged(self.start(command.removesuffix("&").replace(LISTEN, "127.0.0.1:0"), options))
        done = subprocess.run(
            ["bash", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=120, **options
        )
        return done.returncode, self.paged(done.stdout)

    def start(self, command, options):
        server = subprocess.Popen(["bash", "-c", f"exec {command}"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, **options)
        self.servers.append(server)
        line = server.stdout.readline()
        self.known[LISTEN] = line.split("//")[1].strip()
        return line

    def node(self, step):
        """Check that what a node's command asks for is there: the manifest and every blob, by digest.  Real clients pull in tests/interop."""
        pulled = re.search(rf"ollama pull --insecure {re.escape(LISTEN)}/(\S+):(\S+)", step.command)
        if pulled:
            base = f"http://{self.known[LISTEN]}/v2/{pulled[1]}"
            manifest = json.loads(fetch(f"{base}/manifests/{pulled[2]}"))
            for blob in (*manifest["layers"], manifest["config"]):
                assert hashlib.sha256(fetch(f"{base}/blobs/{blob['digest']}")).hexdigest() == blob["digest"][7:]
        return step.exit_code, None

    def paged(self, text):
        for written, real in self.paths():
            text = text.replace(real, written)
        lines = [line.rstrip() for line in text.splitlines() if not RATE.match(line)]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def matches(self, expected, printed):
        """Tell whether a page's line stands for the printed one, and remember what its changing words stand for."""
        pattern, names, position = "", [], 0
        for number, match in enumerate(TOKEN.finditer(expected)):
            kind = match.lastgroup
            pattern += spaced(expected[position : match.start()]) + f"(?P<t{number}>{PRINTED.get(kind, TOKENS[kind])})"
            names.append((f"t{number}", kind, match[0]))
            position = match.end()
        found = re.fullmatch(pattern + spaced(expected[position:]), printed)
        if not found:
            return False
        return all(kind in CHANGING or self.known.setdefault(written, found[name]) == found[name] for name, kind, written in names)

    def compare(self, expected, printed):
        """Tell whether a step's lines are what the page says."""
        if not expected:
            return not printed
        if expected[0].strip() == "…":
            return any(self.compare(expected[1:], printed[skip:]) for skip in range(len(printed) + 1))
        if not printed or not self.matches(expected[0], printed[0]):
            return False
        return self.compare(expected[1:], printed[1:])

    def stop(self):
        for server in self.servers:
            server.send_signal(signal.SIGTERM)
        for server in self.servers:
            assert server.wait(20) == 0
            server.stdout.close()


def spaced(text):
    return re.sub(r"(?:\\ )+", r"\\s+", re.escape(text)) if text.strip() else (r"\s*" if text else "")


def fetch(url):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=30) as answer:
        return answer.read()


def play(world, page):
    """Run a page in ``world``; fail at the first step that ends or prints otherwise, or write what it printed."""
    text = page.read_text(encoding="utf-8")
    found = steps(text)
    assert found, f"{page.name} has no transcript"
    lines, shift = text.splitlines(), 0
    for step in found:
        code, printed = world.run(step)
        said = "\n".join(printed or [])
        assert code == step.exit_code, f"{page.name}:{step.first}: {step.command} ended with {code}:\n{said}"
        if printed is None or world.compare(step.expected, printed):
            continue
        if not WRITE:
            wanted = "\n".join(step.expected)
            pytest.fail(
                f"{page.name}:{step.first}: {step.command}\n--- the page says\n{wanted}\n--- it printed\n{said}\n(AIRLOCK_DOCS_WRITE=1 writes it)"
            )
        lines[step.first + shift : step.last + shift] = printed
        shift += len(printed) - (step.last - step.first)
        world.compare(printed, printed)
    if WRITE:
        page.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture
def transcript(tmp_path):
    """A function that runs a page on four empty machines."""
    world = World(tmp_path / "world")
    world.root.mkdir()
    world.prepare()
    yield lambda page: play(world, ROOT / page)
    world.stop()


@pytest.fixture(scope="session")
def after_the_journey(tmp_path_factory):
    """The world that README.md leaves behind: one model promoted, its set still on the medium."""
    world = World(tmp_path_factory.mktemp("journey") / "world")
    world.root.mkdir()
    world.prepare()
    page = ROOT / "README.md"
    for step in steps(page.read_text(encoding="utf-8")):
        code, printed = world.run(step)
        assert code == step.exit_code, f"{step.command}: {printed}"
        world.compare(step.expected, printed or [])
    world.stop()
    world.servers.clear()
    return world


@pytest.fixture
def later(after_the_journey, tmp_path):
    """A function that runs a page on machines on which README.md was followed before."""
    world = after_the_journey.copy(tmp_path / "world")
    yield lambda page: play(world, ROOT / page)
    world.stop()


@pytest.fixture(scope="session")
def pages():
    """Every page of the documentation, by its name below the root."""
    found = {str(page.relative_to(ROOT)): page for page in [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]}
    assert len(found) > 15
    return found
