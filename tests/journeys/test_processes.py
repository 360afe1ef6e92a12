"""What only shows between processes: the lock, the umask, Ctrl-C, a reader that goes away."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from registry.store.home import Home

PROGRAM = str(Path(sys.executable).with_name("airlock"))


def test_second_writer_is_told_who_holds_the_lock(serving):
    before = serving.holdings()
    with Home(serving.path("in")).locked("import"):
        done = serving.inside("promote", "tiny:2b")
        assert done.code == 7
        assert "in: another command is writing" in done.lines["error"]
        assert f"airlock import (process {os.getpid()}) since 20" in done.lines["why"]
        assert "run the same command again" in done.lines["hint"]
        assert done.lines["unchanged"] == "nothing was promoted; what is served has not changed"
        assert serving.inside("list").code == 0, "reading needs no lock"
        assert serving.inside("check").code == 0
    assert serving.holdings() == before
    serving.ok("in", "promote", "tiny:2b")


def test_second_writer_at_the_station(exported):
    with Home(exported.path("out")).locked("export"):
        assert exported.outside("pin", "tiny:1b", "--from", "file:one.gguf").code == 7
        assert exported.outside("export", "--to", "usb", "--recipient", "in/site.pub").code == 7
        assert exported.outside("pins").code == 0


@pytest.mark.parametrize("umask", [0o077, 0o000])
def test_the_umask_decides_nothing(make_world, umask):
    """The server may be another user than the writer; nobody but the owner may read keys and database."""
    world = make_world("empty")
    before = os.umask(umask)
    try:
        world.path("usb").mkdir()
        world.model("one.gguf", 1)
        world.ok("in", "site", "init")
        world.ok("out", "init")
        world.ok("out", "pin", "tiny:1b", "--from", "file:one.gguf")
        world.export("usb")
        world.ok("in", "trust", "add", "usb", "--fingerprint", world.fingerprint())
        world.ok("in", "import", "usb")
        world.ok("in", "approve", "tiny:1b")
    finally:
        os.umask(before)

    def mode(path):
        return stat.S_IMODE(path.stat().st_mode)

    home = world.path("in")
    assert mode(home / "published") == 0o755
    assert mode(home / "published/view.json") == 0o644
    blobs = list((home / "blobs").rglob("*"))
    assert {mode(path) for path in blobs if path.is_file()} == {0o444}
    assert {mode(path) for path in (home / "blobs", *blobs) if path.is_dir()} == {0o755}
    assert mode(home / "site.pub") == 0o644
    for secret in ("in/keystore.json", "in/airlock.db", "out/keystore.json", "out/airlock.db"):
        assert mode(world.path(secret)) == 0o600, secret
    # on the medium, too: whoever carries it is nobody's user
    assert all(mode(path) & 0o444 == 0o444 for path in world.folder().rglob("*") if path.is_file())


def test_ctrl_c(serving):
    """Interrupted while it waits for the passphrase: 130, and the same command then works."""
    os.mkfifo(serving.path("waiting"))
    before = serving.holdings()
    # Whoever runs the tests in the background of a shell has ended Ctrl-C for all children; a terminal has not.
    heard = ["env", "--default-signal=INT"]
    command = [*heard, PROGRAM, "--home", "in", "--passphrase-file", "waiting", "import", "usb"]
    with subprocess.Popen(command, cwd=serving.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as process:
        fifo = _opened_for_writing(serving.path("waiting"), process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        os.close(fifo)
    assert process.returncode == 130
    assert out == ""
    assert "airlock: error: interrupted" in err
    assert "airlock: hint: the same command continues where it stopped" in err
    assert "Traceback" not in err
    assert serving.holdings() == before
    serving.ok("in", "import", "usb")


def test_a_reader_that_goes_away(serving):
    """``airlock log | head -1`` ends in peace."""
    with subprocess.Popen(
        [PROGRAM, "--home", "in", "log", "--json"], cwd=serving.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
    ) as process:
        process.stdout.close()
        err = process.stderr.read()
    assert process.returncode == 0
    assert err == b""


def _opened_for_writing(fifo, process, seconds=60):
    """Return a descriptor of ``fifo`` as soon as somebody reads there: ``process``, which now waits for its passphrase."""
    end = time.monotonic() + seconds
    while True:
        try:
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end
            time.sleep(0.02)
