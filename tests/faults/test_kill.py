"""kill -9 at any step: what is served stays, and the same command then completes."""

import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import gguf
import numpy as np
import pytest

STEPPER = Path(__file__).with_name("stepper.py")
PASSPHRASE = "correct horse"


def tree(root):
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module", autouse=True)
def stepper():
    """The process that runs every command of this module."""
    global ask
    with subprocess.Popen([sys.executable, str(STEPPER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def ask(request):
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            return SimpleNamespace(**json.loads(process.stdout.readline()))

        yield
        process.stdin.close()


def airlock(*arguments, stop_at=0, cwd):
    return ask({"arguments": ["--passphrase-file", "passphrase", *map(str, arguments)], "cwd": str(cwd), "stop_at": stop_at})


def succeed(*arguments, cwd):
    done = airlock(*arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done


def steps_of(done):
    return int(done.stderr.splitlines()[-1].removeprefix("steps "))


def write_model(path, seed, rows=900):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_tensor("token_embd.weight", np.random.default_rng(seed).random((rows, 1024), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory, stepper):
    """A site that serves release 1, and a medium with release 2 and another model in seven parts."""
    root = tmp_path_factory.mktemp("world")
    (root / "passphrase").write_text(PASSPHRASE)
    (root / "first").mkdir()
    (root / "second").mkdir()
    succeed("--home", "in", "site", "init", cwd=root)
    succeed("--home", "out", "init", cwd=root)
    write_model(root / "one.gguf", 1, rows=16)
    succeed("--home", "out", "pin", "library/tiny:1b", "--from", "file:one.gguf", cwd=root)
    succeed("--home", "out", "export", "--to", "first", "--recipient", "in/site.pub", cwd=root)
    fingerprint = json.loads(succeed("inspect", "first", "--json", cwd=root).stdout)["fingerprint"]
    succeed("--home", "in", "trust", "add", "first", "--fingerprint", fingerprint, cwd=root)
    succeed("--home", "in", "import", "first", cwd=root)
    succeed("--home", "in", "approve", "tiny:1b", cwd=root)
    succeed("--home", "in", "promote", "tiny:1b", cwd=root)
    write_model(root / "one.gguf", 2)
    write_model(root / "two.gguf", 3)
    succeed("--home", "out", "pin", "library/tiny:1b", "--from", "file:one.gguf", cwd=root)
    succeed("--home", "out", "pin", "library/other:1b", "--from", "file:two.gguf", cwd=root)
    shutil.copytree(root / "out", root / "out-before")
    succeed("--home", "out", "export", "--to", "second", "--recipient", "in/site.pub", "--part-size", "1100kB", cwd=root)
    return root


def copy_of(world, tmp_path):
    root = tmp_path / "world"
    shutil.copytree(world, root)
    return root


def served(root):
    """What the published view lets a node pull, without the sequence number, which grows with every event."""
    view = json.loads((root / "in/published/view.json").read_bytes())
    return [(each["repository"], each["tag"], each["number"], each["state"]) for each in view["releases"]]


def moments(total, count, seed):
    """``count`` different steps, chosen by chance that a rerun repeats."""
    return sorted(random.Random(seed).sample(range(1, total + 1), min(count, total)))


SEED = datetime.now(UTC).strftime("%Y%m%d")


@pytest.mark.parametrize("count", [10, pytest.param(10_000, marks=pytest.mark.slow)], ids=["ten moments", "every step"])
def test_import_killed(world, tmp_path, count):
    total = steps_of(succeed("--home", "in", "import", "second", cwd=copy_of(world, tmp_path / "count")))
    assert total > 20
    for moment in moments(total, count, f"import {SEED}"):
        root = copy_of(world, tmp_path / str(moment))
        before, medium = served(root), tree(root / "second")
        killed = airlock("--home", "in", "import", "second", stop_at=moment, cwd=root)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert served(root) == before == [("library/tiny", "1b", 1, "promoted")]
        complete = {(row["name"], row["release"]) for row in json.loads(succeed("--home", "in", "list", "--json", cwd=root).stdout)}
        assert complete <= {("library/tiny:1b", 1), ("library/tiny:1b", 2), ("library/other:1b", 1)}
        succeed("--home", "in", "import", "second", cwd=root)
        rows = {(row["name"], row["release"], row["state"]) for row in json.loads(succeed("--home", "in", "list", "--json", cwd=root).stdout)}
        assert rows == {("library/tiny:1b", 1, "promoted"), ("library/tiny:1b", 2, "quarantine"), ("library/other:1b", 1, "quarantine")}
        succeed("--home", "in", "check", cwd=root)
        assert tree(root / "second") == medium, "an import never writes to a medium"
        assert list((root / "in/incoming").iterdir()) == [], f"left behind after {killed.stderr}"
        assert not [name for name in tree(root / "in") if ".airlock-" in name]
        shutil.rmtree(root)


@pytest.mark.parametrize("command", ["approve", "promote", "rollback"])
def test_step_killed(world, tmp_path, command):
    """After approve, promote or rollback was killed the view says the state before or after, and the same command completes."""
    prepared = copy_of(world, tmp_path / "prepared")
    succeed("--home", "in", "import", "second", cwd=prepared)
    states = {"approve": "quarantine", "promote": "approved", "rollback": "promoted"}
    after = {
        "approve": [("library/tiny", "1b", 1, "promoted"), ("library/tiny", "1b", 2, "approved")],
        "promote": [("library/tiny", "1b", 1, "approved"), ("library/tiny", "1b", 2, "promoted")],
        "rollback": [("library/tiny", "1b", 1, "promoted"), ("library/tiny", "1b", 2, "approved")],
    }[command]
    for earlier in list(states)[: list(states).index(command)]:
        succeed("--home", "in", earlier, "tiny:1b", cwd=prepared)
    before = served(prepared)
    trial = tmp_path / "trial"
    shutil.copytree(prepared, trial)
    total = steps_of(succeed("--home", "in", command, "tiny:1b", cwd=trial))
    for moment in range(1, total + 1):
        shutil.rmtree(trial)
        shutil.copytree(prepared, trial)
        assert airlock("--home", "in", command, "tiny:1b", stop_at=moment, cwd=trial).returncode == -signal.SIGKILL
        assert served(trial) in (before, after)
        again = airlock("--home", "in", command, "tiny:1b", cwd=trial)
        # A rollback that took effect before the kill has nothing left to go back to; everything else is "nothing to do".
        assert again.returncode == 0 or (command == "rollback" and "nothing was served before" in again.stderr), again.stderr
        assert served(trial) == after
        succeed("--home", "in", "check", cwd=trial)


@pytest.mark.parametrize("command", ["receive", "retire"])
def test_custody_killed(world, tmp_path, command):
    """After a hand-over or a retirement was killed no note is left of anything that the log doesn't hold, and the same command completes."""
    words = {"receive": ["--from", "courier"], "retire": ["--method", "erase", "--without-receipt"]}[command]
    run = ("--home", "in", "medium", command, "STICK-17", *words)
    prepared = copy_of(world, tmp_path / "prepared")
    succeed("--home", "in", "medium", "receive", "STICK-17", "--from", "gate", cwd=prepared)
    trial = tmp_path / "trial"
    shutil.copytree(prepared, trial)
    total = steps_of(succeed(*run, cwd=trial))
    for moment in range(1, total + 1):
        shutil.rmtree(trial)
        shutil.copytree(prepared, trial)
        assert airlock(*run, stop_at=moment, cwd=trial).returncode == -signal.SIGKILL
        succeed(*run, cwd=trial)
        [row] = json.loads(succeed("--home", "in", "medium", "list", "--json", cwd=trial).stdout)
        assert row["state"] == {"receive": "handed over", "retire": "retired"}[command]
        assert {each["note"] for each in row["hand_overs"]} == {"kept"}
        notes = json.loads((trial / "in/custody.json").read_bytes())["notes"]
        assert set(notes) == {str(each["seq"]) for each in row["hand_overs"]}
        assert not [name for name in tree(trial / "in") if ".airlock-" in name]
        succeed("--home", "in", "check", cwd=trial)


@pytest.mark.parametrize("count", [10, pytest.param(10_000, marks=pytest.mark.slow)], ids=["ten moments", "every step"])
def test_export_killed(world, tmp_path, count):
    def export(root, stop_at=0):
        return airlock(
            "--home",
            "out-before",
            "export",
            "--to",
            "third",
            "--recipient",
            "in/site.pub",
            "--part-size",
            "1100kB",
            "--json",
            stop_at=stop_at,
            cwd=root,
        )

    def fresh(name):
        root = copy_of(world, tmp_path / name)
        (root / "third").mkdir()
        return root

    total = steps_of(export(fresh("count")))
    assert total > 20
    for moment in moments(total, count, f"export {SEED}"):
        root = fresh(str(moment))
        killed = export(root, moment)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        again = export(root)
        assert again.returncode == 0, again.stderr
        assert {(each["name"], each["release"]) for each in json.loads(again.stdout)["releases"]} == {("library/tiny:1b", 2), ("library/other:1b", 1)}
        succeed("--home", "out-before", "check", cwd=root)
        succeed("--home", "in", "import", "third", cwd=root)
        succeed("--home", "in", "check", cwd=root)
        assert not [name for name in tree(root / "third") if ".airlock-" in name]
        shutil.rmtree(root)
