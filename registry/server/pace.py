"""How fast and to how many at once: a rate shared by all bodies, and a number of bodies for each caller."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

__all__ = ["Pace", "TooMany"]

_SLICE = 8 << 20  # bytes at most between two looks at the clock
_SMALLEST = 48 << 10


class TooMany(Exception):
    """The caller has as many bodies under way as it may."""


@dataclass(slots=True)
class Pace:
    """``rate`` in bytes per second for all bodies of this process together, 0: as fast as it goes; ``each`` bodies at once for one caller."""

    rate: float = 0.0
    each: int = 64
    _free_at: float = 0.0
    _active: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def body(self, caller: str) -> Iterator[None]:
        """Count one body of ``caller`` while the block runs."""
        self._active[caller] += 1
        try:
            yield
        finally:
            self._active[caller] -= 1
            if not self._active[caller]:
                del self._active[caller]

    def refuse_too_many(self, caller: str) -> None:
        """Return if ``caller`` may begin another body.

        Raises:
            TooMany: not before one of the others has ended.
        """
        if self._active[caller] >= self.each:
            raise TooMany

    def slice(self, left: int) -> int:
        """Return how many of the ``left`` bytes to send before asking again."""
        return left if not self.rate else min(left, max(_SMALLEST, min(_SLICE, int(self.rate / 8))))

    async def spent(self, count: int) -> None:
        """Wait until ``count`` more bytes were allowed to go out."""
        if not self.rate:
            return
        now = asyncio.get_running_loop().time()
        self._free_at = max(now, self._free_at) + count / self.rate
        await asyncio.sleep(self._free_at - now)
