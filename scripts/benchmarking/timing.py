"""Tell what a command costs."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

LAUNCHER = Path(__file__).with_name("launch.py")
Cost = dict[str, float]
"""Wall seconds, CPU seconds of the command and all it waited for, peak memory of the largest of these processes in MB."""


def measured(command: Sequence[str | Path], *, cwd: Path, environment: Mapping[str, str] | None = None) -> Cost:
    """Run a command; end the program if it fails."""
    with tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as report:
        launch = [sys.executable, "-I", "-S", LAUNCHER, str(report.fileno()), *command]
        more = {**os.environ, **(environment or {})}
        done = subprocess.run(
            launch, cwd=cwd, env=more, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, pass_fds=[report.fileno()], check=False
        )
        errors.seek(0)
        report.seek(0)
        if done.returncode:
            sys.exit(f"bench: {' '.join(map(str, command))} ended with {done.returncode}\n{errors.read().decode()[-2000:]}")
        return json.loads(report.read())


def difference(longer: Cost, shorter: Cost) -> Cost:
    """Return what the longer of two runs of one round cost more; its memory is its own."""
    return {"seconds": longer["seconds"] - shorter["seconds"], "cpu": longer["cpu"] - shorter["cpu"], "memory": longer["memory"]}


def medians(runs: Mapping[str, Sequence[Cost]]) -> dict[str, Cost]:
    """Return the median of each figure by itself."""
    return {name: {key: statistics.median(run[key] for run in each) for key in each[0]} for name, each in runs.items() if each}
