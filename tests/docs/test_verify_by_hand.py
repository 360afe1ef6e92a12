"""The commands of ``verify-by-hand.md``, run as they stand, on a real set."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs/how-to/verify-by-hand.md"
needs = [program for program in ("openssl", "jq", "sha256sum") if shutil.which(program) is None]
pytestmark = pytest.mark.skipif(bool(needs), reason=f"not installed: {', '.join(needs)}")


def run(world, tmp_path):
    blocks = dict.fromkeys(re.findall(r"```(sh|python)\n(.*?)```", PAGE.read_text(), re.DOTALL))
    [program] = [text for kind, text in blocks if kind == "python"]
    (tmp_path / "open.py").write_text(program)
    script = "\n".join(text for kind, text in blocks if kind == "sh")
    environment = {
        **os.environ,
        "SET": str(world.folder()),
        "WORK": str(tmp_path),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "AIRLOCK_HOME": str(world.path("in")),
        "AIRLOCK_PASSPHRASE_FILE": str(world.path("passphrase")),
    }
    return subprocess.run(["bash", "-euo", "pipefail", "-c", script], env=environment, capture_output=True, text=True, check=False)


def test_the_page(imported, tmp_path):
    done = run(imported, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("Signature Verified Successfully") == 4, "timestamp, snapshot, targets, index"
    assert "snapshot.json: OK" in done.stdout
    assert "targets.json: OK" in done.stdout
    assert {"library/tiny:1b-r1", "library/tiny:2b-r2"} <= set(re.findall(r"^(library/\S+)  sha256:", done.stdout, re.MULTILINE))
    assert len(re.findall(r"^sha256:[0-9a-f]{64}: OK$", done.stdout, re.MULTILINE)) >= 6
    assert not (tmp_path / "set-key").exists()


def test_it_notices_an_edited_list(imported, tmp_path):
    path = imported.folder() / "metadata/targets.json"
    path.write_bytes(path.read_bytes().replace(b'"version":1', b'"version":2', 1))
    assert run(imported, tmp_path).returncode != 0
