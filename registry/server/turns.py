"""Turns: a few go on in each turn of the event loop, first come, first served."""

from __future__ import annotations

import asyncio
from collections import deque

__all__ = ["Turns"]


class Turns:
    """Hundreds of bodies that are copied would each do a slice before the loop looks at anything else; with turns ``at_once`` of them do."""

    def __init__(self, at_once: int) -> None:
        """Nobody waits yet."""
        self._at_once = at_once
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def wait(self, crowd: int) -> None:
        """Return when it is the caller's turn: in a ``crowd`` that fits into one turn of the loop the next one, and never at once.

        Writing to a client that reads as fast as we write, or that is gone, doesn't wait by itself; nobody else would be served.
        """
        if crowd <= self._at_once:
            await asyncio.sleep(0)
            return
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._next)
        mine = loop.create_future()
        self._waiting.append(mine)
        await mine

    def _next(self) -> None:
        for _ in range(min(self._at_once, len(self._waiting))):
            each = self._waiting.popleft()
            if not each.done():  # its owner may have left
                each.set_result(None)
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._next)
