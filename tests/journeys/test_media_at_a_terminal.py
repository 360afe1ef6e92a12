"""One slot, several media, somebody at a terminal who changes them; and bars that fit where they are shown.

The terminal is real (``pty``); :class:`Screen` shows what a terminal of that width would show of the raw bytes, and refuses what would garble it.
"""

import fcntl
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

PROGRAM = str(Path(sys.executable).with_name("airlock"))
COLUMNS = 40
SECONDS = 40


class Terminal:
    """A command at a terminal of its own: stdin, stdout and stderr are the terminal."""

    def __init__(self, world, *words, columns=COLUMNS):
        self.ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRLOCK")} | {"TERM": "vt100"}
        command = [PROGRAM, "--home", "out", "--passphrase-file", "passphrase", *words]
        self.process = subprocess.Popen(command, cwd=world.root, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True)
        os.close(theirs)
        self.raw = b""
        self._read = 0

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.ours)

    def _more(self):
        """Read what there is; False at the end."""
        ready, _, _ = select.select([self.ours], [], [], SECONDS)
        assert ready, f"nothing came any more after {self.raw!r}"
        try:
            data = os.read(self.ours, 65536)
        except OSError:  # EIO: the other side is closed
            return False
        self.raw += data
        return bool(data)

    def until(self, text):
        """Wait for text, wherever lines break; return what was said up to it since the last time."""
        pattern = re.compile(rb"\s+".join(re.escape(word.encode()) for word in text.split()))
        while not (found := pattern.search(self.raw, self._read)):
            assert self._more(), f"{text!r} never came: {self.raw[self._read :].decode()}"
        said, self._read = self.raw[self._read : found.end()], found.end()
        return said.decode()

    def type(self, keys):
        """Press keys."""
        os.write(self.ours, keys.encode())

    def end(self):
        """Wait for the end; return exit code and what was said since the last time."""
        while self._more():
            pass
        return self.process.wait(SECONDS), self.raw[self._read :].decode()


class Screen:
    """What a terminal of ``columns`` shows of raw bytes: lines, and which of them it had to break."""

    CONTROL = re.compile(r"\x1b\[A|[\r\n]|[^\x00-\x1f\x7f]+")

    def __init__(self, raw, columns):
        self.lines, self.broken = [""], []
        row = column = 0
        place = 0
        text = raw.decode()
        while place < len(text):
            match = self.CONTROL.match(text, place)
            assert match, f"not expected on a screen: {text[place : place + 20]!r}"
            place, piece = match.end(), match[0]
            if piece == "\r":
                column = 0
            elif piece == "\n":
                row += 1
                self.lines += [""] * (row + 1 - len(self.lines))
            elif piece == "\x1b[A":
                assert row, "up, above the first line"
                row -= 1
            else:
                line = self.lines[row].ljust(column)
                self.lines[row] = line[:column] + piece + line[column + len(piece) :]
                column += len(piece)
                if column > columns:
                    self.broken.append(self.lines[row])


@pytest.fixture
def pinned(imported):
    """``big:1b``, three parts, is pinned."""
    imported.model("big.gguf", 9, rows=23_500)
    imported.ok("out", "pin", "big:1b", "--from", "file:big.gguf")
    imported.path("slot").mkdir()
    return imported


WORDS = ("export", "big:1b", "--to", "slot", "--media", "3M,3M,3M", "--recipient", "in/site.pub", "--part-size", "1MiB")


def swap(world, name):
    """Take the medium out of the slot, and put an empty one in."""
    world.path("slot").rename(world.path(name))
    world.path("slot").mkdir()


def test_one_slot_for_three_media(pinned, tree):
    with Terminal(pinned, *WORDS, columns=200) as terminal:
        terminal.until("medium 1 of 3 is finished: label")
        said = terminal.until(
            "bytes free, into slot (now: medium 1 of this set is in slot), then press Enter (Ctrl-C stops; the same command continues)"
        )
        assert "Traceback" not in said
        first = tree(pinned.path("slot"))
        terminal.type("\n")  # too early: the same medium is still in
        terminal.until("Insert medium 2, with")
        terminal.until("(now: medium 1 of this set is in slot)")
        assert tree(pinned.path("slot")) == first
        pinned.path("slot").rename(pinned.path("one"))
        terminal.until("continues)")
        terminal.type("\n")  # taken out, and nothing in
        terminal.until("(now: no medium is mounted)")
        pinned.path("slot").mkdir()
        terminal.until("continues)")
        terminal.type("\n")
        terminal.until("medium 2 of 3 is finished")
        terminal.until("Insert medium 3, with")
        terminal.until("continues)")
        swap(pinned, "two")
        terminal.type("\n")
        code, said = terminal.end()
    assert code == 0, said
    assert "medium 3 of 3 is finished" in said
    assert "3 of 3" in said
    assert tree(pinned.path("one")) == first
    pinned.path("slot").rename(pinned.path("three"))
    assert len({pinned.folder(name).name for name in ("one", "two", "three")}) == 1
    pinned.ok("in", "import", "three", "one", "two")
    assert ("library/big:1b", 1, "quarantine") in pinned.releases()


def test_stopped_at_the_question(pinned):
    """Ctrl-C ends it well; the same command goes on with the second medium."""
    with Terminal(pinned, *WORDS, columns=200) as terminal:
        terminal.until("continues)")
        terminal.type("\x04")  # no more input: as good as Ctrl-C
        code, said = terminal.end()
    assert code == 130
    assert "airlock: error: interrupted" in said
    assert "the same command continues where it stopped" in said
    swap(pinned, "one")
    with Terminal(pinned, *WORDS, columns=200) as terminal:
        terminal.until("is unfinished; continuing it")
        terminal.until("medium 2 of 3 is finished")
        terminal.until("continues)")
        swap(pinned, "two")
        terminal.type("\n")
        code, said = terminal.end()
    assert code == 0, said
    pinned.ok("in", "import", "one", "two", "slot")


def test_one_directory_without_a_terminal(pinned):
    """Nobody can be asked: refused before anything is signed."""
    events = len(pinned.events("out"))
    done = pinned.outside(*WORDS)
    assert done.code == 5
    assert done.lines["error"] == "slot: not enough space"
    assert re.fullmatch(r"the set needs [\d,]+ bytes, 3,000,000 are free", done.lines["why"])
    assert "--to DIR --to DIR" in done.lines["hint"]
    assert done.lines["unchanged"] == "no set was finished; the same command continues where this one stopped"
    assert list(pinned.path("slot").iterdir()) == []
    assert len(pinned.events("out")) == events
    assert not pinned.path("out/sheets").exists() or len(list(pinned.path("out/sheets").iterdir())) == 2


def small(directory, size):
    """Mount a file system that small, or skip."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a file system in memory")


def test_a_medium_that_is_too_small(pinned):
    """The second medium is full already: the question says so, and the next one does."""
    with Terminal(pinned, *WORDS, columns=200) as terminal:
        terminal.until("continues)")
        swap(pinned, "one")
        small(pinned.path("slot"), 512 << 10)
        try:
            terminal.type("\n")
            terminal.until("(now: slot: less than")
            terminal.until("continues)")
            assert list(pinned.path("slot").iterdir()) == []
        finally:
            subprocess.run(["umount", str(pinned.path("slot"))], check=True)
        terminal.type("\n")
        terminal.until("medium 2 of 3 is finished")
        terminal.until("continues)")
        swap(pinned, "two")
        terminal.type("\n")
        code, said = terminal.end()
    assert code == 0, said
    pinned.ok("in", "import", "one", "two", "slot")


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_bars_fit(pinned, columns):
    """However narrow: no bar is broken into two lines, and what was said stays readable."""
    words = ["export", "big:1b", "--to", "a", "--to", "b", "--to", "c", "--media", "3M", "--recipient", "in/site.pub", "--part-size", "1MiB"]
    for name in "abc":
        pinned.path(name).mkdir()
    with Terminal(pinned, *words, columns=columns) as terminal:
        code, _ = terminal.end()
        raw = terminal.raw
    assert code == 0, raw
    screen = Screen(raw, columns)
    sentences = [line for line in screen.broken if "%" in line or "B/s" in line]
    assert sentences == []
    shown = [line.rstrip() for line in screen.lines if line.strip()]
    for number, name in enumerate("abc", 1):
        assert re.search(rf"^airlock: medium {number} of 3 is finished: label \w+-{number}, in {name}$", "\n".join(shown), re.MULTILINE)
    assert len([line for line in shown if "100%" in line]) == 1, shown


def test_no_control_characters_without_a_terminal(pinned):
    for name in "abc":
        pinned.path(name).mkdir()
    words = ["export", "big:1b", "--to", "a", "--to", "b", "--to", "c", "--media", "3M", "--recipient", "in/site.pub", "--part-size", "1MiB"]
    done = pinned.program("--home", "out", "--passphrase-file", "passphrase", *words)
    assert done.code == 0
    for said in (done.out, done.err, pinned.program("--home", "in", "--passphrase-file", "passphrase", "import", "a", "b", "c").err):
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", said)
    assert "medium 2 of 3 is finished" in done.err
