"""Two imports at once: one works, the other says who does, and neither spoils the other."""

import os
import subprocess
import sys
import time
from pathlib import Path

PROGRAM = str(Path(sys.executable).with_name("airlock"))


def opened_for_writing(fifo, process, seconds=60):
    """Return a descriptor of ``fifo`` as soon as somebody reads there: ``process``, which now waits for its passphrase."""
    end = time.monotonic() + seconds
    while True:
        try:
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end
            time.sleep(0.02)


def test_one_waits_its_turn(offered):
    """The first holds the lock while it reads its passphrase; the second must not wait, nor break in."""
    os.mkfifo(offered.path("later"))
    command = [PROGRAM, "--home", "in", "--passphrase-file", "later", "import", "stick"]
    with subprocess.Popen(command, cwd=offered.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as first:
        with os.fdopen(opened_for_writing(offered.path("later"), first), "w") as fifo:
            second = offered.inside("import", "stick")
            assert second.code == 7
            assert "another command is writing" in second.lines["error"]
            assert f"airlock import (process {first.pid})" in second.lines["why"]
            assert second.lines["unchanged"] == "nothing was imported; what is served has not changed"
            fifo.write(offered.passphrase + "\n")
        out, err = first.communicate(timeout=120)
    assert first.returncode == 0, err
    assert "library/tiny:1b-r3" in out
    assert "nothing to do" in offered.ok("in", "import", "stick").out
    offered.ok("in", "check")
