"""Make the set that a release leaves behind: ``python tests/released/make.py``, once, when the version is final.

Writes ``tests/released/VERSION/``: ``usb`` (the medium), ``in`` (the site's home before it trusted anybody), ``passphrase``, ``expected.json``.  All
keys in it are made for this and used nowhere else.  What is there is never made again: a set of a release imports for ever.
"""

import json
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import gguf
import numpy as np

from registry import __version__

HERE = Path(__file__).parent
PROGRAM = Path(sys.executable).with_name("airlock")


def airlock(top: Path, *arguments: str) -> object:
    """Run a command in ``top``; return what it printed."""
    command = [PROGRAM, "--passphrase-file", "passphrase", "--json", *arguments]
    done = subprocess.run(command, cwd=top, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def main() -> None:
    """Make the folder of this version."""
    top = HERE / __version__
    top.mkdir()
    (top / "passphrase").write_text("a passphrase that protects nothing\n")
    (top / "usb").mkdir()
    with tempfile.TemporaryDirectory() as elsewhere:
        model = Path(elsewhere) / "tiny.gguf"
        writer = gguf.GGUFWriter(model, "llama")
        writer.add_name("tiny")
        writer.add_tensor("token_embd.weight", np.arange(256, dtype=np.float32).reshape(8, 32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        (Path(elsewhere) / "license").write_text("Do what you like.\n")
        station = ["--home", f"{elsewhere}/out"]
        airlock(top, "--home", "in", "site", "init")
        airlock(top, *station, "init")
        for name in ("library/tiny:1b", "clinical/notes:latest"):
            airlock(top, *station, "pin", name, "--from", f"file:{model}", "--license", f"{elsewhere}/license")
        done = airlock(top, *station, "export", "--to", "usb", "--recipient", "in/site.pub")
    (top / "in" / "lock").unlink()
    made = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    releases = sorted([each["name"], each["release"], each["manifest"]] for each in done["releases"])
    expected = {"version": __version__, "made": made, "set": done["set"], "fingerprint": done["fingerprint"], "releases": releases}
    (top / "expected.json").write_text(json.dumps(expected, indent=2) + "\n")
    print(f"{top}: {sum(path.stat().st_size for path in top.rglob('*') if path.is_file()):,} bytes")


if __name__ == "__main__":
    main()
