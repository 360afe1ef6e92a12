"""How long work shows that it goes on, without knowing of any terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

__all__ = ["Advance", "Progress", "Silent"]

Advance = Callable[[int], None]
"""Tells how many more bytes are done."""


class Progress(Protocol):
    """Shows tasks and says sentences to the person who waits."""

    def task(self, label: str, total: int) -> AbstractContextManager[Advance]:
        """Show a task of ``total`` bytes until the block ends."""

    def say(self, sentence: str) -> None:
        """Say what just happened, as one line."""


class Silent:
    """Shows nothing."""

    @contextmanager
    def task(self, label: str, total: int) -> Iterator[Advance]:  # noqa: ARG002
        """Show nothing."""
        yield lambda _: None

    def say(self, sentence: str) -> None:
        """Say nothing."""
