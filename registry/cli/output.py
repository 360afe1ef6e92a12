"""What people and scripts see: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from registry.errors import AirlockError
from registry.workflow.progress import Advance

__all__ = ["Bars", "Output", "grouped", "human_bytes", "print_error", "table"]

_EVENT_SECONDS = 1.0
_LINE_SECONDS = 30.0
_COLUMNS = 80
_FIGURES = 23
_NARROW = "{desc} {percentage:3.0f}% {rate_fmt} {remaining}"  # where there is no room for a bar, its figures matter more


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
    """Progress bars with rate and time left on a terminal; now and then a line elsewhere; events with ``--json``.

    A task inside another one is shown above it, and goes when it ends: the outer one stays.
    """

    def __init__(self, output: Output) -> None:
        self._output = output
        self._depth = 0

    def say(self, sentence: str) -> None:
        """Say what just happened; bars that are on the screen make room for it."""
        if self._depth:
            from tqdm import tqdm  # noqa: PLC0415 - there is a bar, so it is loaded

            tqdm.write(f"airlock: {sentence}", file=sys.stderr)
        else:
            self._output.note(sentence)

    @contextmanager
    def task(self, label: str, total: int) -> Iterator[Advance]:
        """Show a task of ``total`` bytes (0: unknown) until the block ends."""
        if self._output.quiet:
            yield lambda _: None
        elif self._output.json:
            yield _Events(label, total).advance
        elif sys.stderr.isatty():
            from tqdm import tqdm  # noqa: PLC0415 - no command without a bar should wait for it

            columns = os.get_terminal_size(sys.stderr.fileno()).columns or _COLUMNS
            narrow = columns < _COLUMNS
            with tqdm(
                total=total or None,
                desc=_shortened(label, columns - _FIGURES) if narrow else f"airlock: {label}",
                bar_format=_NARROW if narrow and total else None,
                unit="B",
                unit_scale=True,
                dynamic_ncols=True,
                file=sys.stderr,
                leave=self._depth == 0,
            ) as bar:

                def advance(count: int) -> None:
                    bar.update(count)

                self._depth += 1
                try:
                    yield advance
                finally:
                    self._depth -= 1
        else:
            lines = _Lines(self._output, label, total)
            yield lines.advance
            lines.end()


def _shortened(label: str, length: int) -> str:
    return label if len(label) <= length else f"…{label[-max(1, length - 1) :]}"


class _Lines:
    """Progress for a log file: a line every half minute, and one at the end of what took more than a second."""

    def __init__(self, output: Output, label: str, total: int) -> None:
        self._output, self._label, self._total, self._done = output, label, total, 0
        self._began = self._said = time.monotonic()

    def advance(self, count: int) -> None:
        """Take note of ``count`` more bytes."""
        self._done += count
        now = time.monotonic()
        if now - self._said >= _LINE_SECONDS:
            self._said = now
            rate = self._done / (now - self._began)
            left = f" of {human_bytes(self._total)}, about {timedelta(seconds=int((self._total - self._done) / rate))} left" if self._total else ""
            self._output.note(f"{self._label}: {human_bytes(self._done)}{left} ({human_bytes(int(rate))}/s)")

    def end(self) -> None:
        """Say how much it was, and how fast."""
        seconds = time.monotonic() - self._began
        if self._done and seconds > _EVENT_SECONDS:
            self._output.note(f"{self._label}: {human_bytes(self._done)} in {seconds:.1f} s ({human_bytes(int(self._done / seconds))}/s)")


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
