"""Set up a station outside and a site inside that trusts it, for one measurement."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarking.room import empty
from benchmarking.timing import Cost, measured

AIRLOCK = os.environ.get("AIRLOCK_PROGRAM") or str(Path(sys.executable).with_name("airlock"))
EXPORT = ("export", "--to", "medium", "--recipient", "in/site.pub")


@dataclass(frozen=True, slots=True)
class Pair:
    """A station in ``out`` and a site in ``in``, with ``medium`` between them, all in one directory."""

    root: Path

    def run(self, home: str, *words: str | Path) -> Cost:
        """Run airlock in one of the homes."""
        return measured([AIRLOCK, "--home", home, "--passphrase-file", "passphrase", "--quiet", *words], cwd=self.root)

    def set_up(self, models: Sequence[Path]) -> Cost:
        """Make both, pin the models, let the site trust the station; return what the first pin cost."""
        (self.root / "passphrase").write_text("bench")
        self.run("in", "site", "init")
        self.run("out", "init")
        costs = [self.run("out", "pin", f"library/bench:{n}", "--from", f"file:{each}") for n, each in enumerate(models, 1)]
        empty(self.root / "medium")
        self.run("out", *EXPORT, "--metadata-only")
        asked = subprocess.run([AIRLOCK, "inspect", "medium", "--json"], cwd=self.root, check=True, capture_output=True)
        self.run("in", "trust", "add", "medium", "--fingerprint", json.loads(asked.stdout)["fingerprint"])
        empty(self.root / "medium")
        shutil.copytree(self.root / "in", self.root / "fresh")
        return costs[0]

    def export(self, *more: str) -> Cost:
        """Export everything to the medium, which is emptied first."""
        empty(self.root / "medium")
        return self.run("out", *EXPORT, *more)

    def forget_imports(self) -> None:
        """Put the site back to where nothing was imported."""
        empty(self.root / "in")
        shutil.copytree(self.root / "fresh", self.root / "in", dirs_exist_ok=True)
