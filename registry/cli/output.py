"""What people and scripts see: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from registry.errors import AirlockError
from registry.workflow.progress import Advance

__all__ = ["Bars", "Output", "grouped", "human_bytes", "print_error", "table"]

_EVENT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Output:
    """One command's output.  With ``json`` only :meth:`result` writes to stdout, once."""

    json: bool
    quiet: bool

    def result(self, document: Any, text: str = "") -> None:
        """Print the command's result: ``document`` with ``--json``, else ``text``."""
        if self.json:
            print(json.dumps(document, indent=2, ensure_ascii=False))
        elif text:
            print(text)

    def note(self, sentence: str) -> None:
        """Say something that is not the result, on stderr."""
        if not self.quiet:
            print(f"airlock: {sentence}", file=sys.stderr)

    def warn(self, sentence: str) -> None:
        """Say something that must be read, on stderr, also with ``--quiet``."""
        print(f"airlock: warning: {sentence}", file=sys.stderr)

    def next_step(self, *commands: str) -> None:
        """Print the exact next command or commands, after the result."""
        if not self.quiet and not self.json:
            for number, command in enumerate(commands):
                print(f"{'next: ' if number == 0 else '      '}{command}")


class Bars:
    """Progress bars with rate and time left on a terminal; one line per task elsewhere; events with ``--json``."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def say(self, sentence: str) -> None:
        """Say what just happened."""
        self._output.note(sentence)

    @contextmanager
    def task(self, label: str, total: int) -> Iterator[Advance]:
        """Show a task of ``total`` bytes (0: unknown) until the block ends."""
        if self._output.quiet:
            yield lambda _: None
        elif self._output.json:
            yield _Events(label, total).advance
        else:
            from tqdm import tqdm  # noqa: PLC0415 - no command without a bar should wait for it

            began = time.monotonic()
            with tqdm(
                total=total or None,
                desc=f"airlock: {label}",
                unit="B",
                unit_scale=True,
                dynamic_ncols=True,
                file=sys.stderr,
                disable=not sys.stderr.isatty(),
                leave=True,
            ) as bar:
                done = [0]

                def advance(count: int) -> None:
                    done[0] += count
                    bar.update(count)

                yield advance
            seconds = time.monotonic() - began
            if not sys.stderr.isatty() and done[0] and seconds > _EVENT_SECONDS:
                self._output.note(f"{label}: {human_bytes(done[0])} in {seconds:.1f} s ({human_bytes(int(done[0] / seconds))}/s)")


class _Events:
    """Progress for programs: a JSON line on stderr, at most one a second."""

    def __init__(self, label: str, total: int) -> None:
        self._label, self._total, self._done, self._said = label, total, 0, time.monotonic()

    def advance(self, count: int) -> None:
        """Take note of ``count`` more bytes."""
        self._done += count
        now = time.monotonic()
        if now - self._said >= _EVENT_SECONDS:
            self._said = now
            print(json.dumps({"progress": {"task": self._label, "done": self._done, "total": self._total}}), file=sys.stderr)


def print_error(error: AirlockError, *, as_json: bool) -> None:
    """Print an error: what, why, hint, and what did not happen, a line each."""
    if as_json:
        print(json.dumps({"error": error.as_json()}, indent=2, ensure_ascii=False))
    lines = [f"error: {error.what}"]
    lines += [f"why: {line}" for line in error.why.splitlines()]
    lines += [f"hint: {line}" for line in error.hint.splitlines()]
    lines += [error.unchanged] if error.unchanged else []
    for line in lines:
        print(f"airlock: {line}", file=sys.stderr)


def human_bytes(count: int) -> str:
    """Return a size for people, in decimal units: ``253.1 MB``."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def grouped(fingerprint: str) -> str:
    """Return a fingerprint in groups of four, as it is read out on the phone."""
    return " ".join(fingerprint[start : start + 4] for start in range(0, len(fingerprint), 4))


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a plain table with aligned columns."""
    widths = [max(len(row[column]) for row in [headings, *rows]) for column in range(len(headings))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in [headings, *rows]]
    return "\n".join(lines)
