"""Keeps several processes serving: starts them, starts them again when they die, passes signals on, and outlives none of them."""

from __future__ import annotations

import logging
import os
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

from registry.errors import AirlockError

__all__ = ["Workers"]

_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}
_TOO_SOON = 25.0  # seconds in which so many ends of one worker mean that it will never serve
_TRIES = 5
_LOOK = 0.05  # seconds between looks at who is ready, until all are

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Workers:
    """``count`` processes that run ``work(number, ready, parent)`` each.

    A worker calls its ``ready`` once it serves; ``parent`` is a descriptor that reaches its end when the parent is gone.  ``stop`` is called in the
    parent when it is asked to end, before the workers are; ``replaced`` whenever one ended unasked and another takes its place.
    """

    count: int
    work: Callable[[int, Callable[[], None], int], None]
    stop: Callable[[], None]
    replaced: Callable[[], None]
    _running: dict[int, int] = field(default_factory=dict)
    _started: dict[int, list[float]] = field(default_factory=dict)
    _ready: dict[int, int] = field(default_factory=dict)
    _serving: set[int] = field(default_factory=set)
    _lifeline: tuple[int, int] = (-1, -1)
    _mask: set[signal.Signals] = field(default_factory=set)
    _stopping: bool = False

    def run(self, ready: Callable[[], None]) -> None:
        """Run until SIGTERM or SIGINT and wait for the workers; ``ready`` is called once, when all of them serve.

        Raises:
            AirlockError: a worker ends as soon as it is started, again and again.
        """
        self._mask = set(map(signal.Signals, signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)))
        self._lifeline = os.pipe()
        try:
            for number in range(self.count):
                self._start(number)
            told = False
            while self._running:
                received = signal.sigtimedwait(_SIGNALS, 3600 if told or self._stopping else _LOOK)
                if received is not None and received.si_signo != signal.SIGCHLD:
                    self._pass_on(signal.Signals(received.si_signo))
                self._replace_the_dead()
                if not told and not self._stopping and self._all_ready():
                    told = True
                    ready()
        finally:
            os.close(self._lifeline[1])  # whoever is left sees it and ends
            for child in self._running:
                os.waitpid(child, 0)
            for descriptor in (self._lifeline[0], *self._ready.values()):
                os.close(descriptor)
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def _start(self, number: int) -> None:
        self._started.setdefault(number, []).append(time.monotonic())
        hears, tells = os.pipe()
        child = os.fork()
        if child == 0:
            self._be_worker(number, tells)
        os.close(tells)
        os.set_blocking(hears, False)
        if number in self._ready:
            os.close(self._ready[number])
        self._ready[number] = hears
        self._running[child] = number

    def _be_worker(self, number: int, tells: int) -> None:
        code = 1
        try:
            os.close(self._lifeline[1])
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
            self.work(number, lambda: _tell(tells), self._lifeline[0])
            code = 0
        except AirlockError as error:
            _log.error("worker %d: %s", number, error)  # a sentence, not a traceback
        except BaseException:  # noqa: BLE001 - the very top of this process
            traceback.print_exc()
        finally:
            logging.shutdown()
            os._exit(code)

    def _pass_on(self, number: signal.Signals) -> None:
        if number != signal.SIGHUP and not self._stopping:
            self._stopping = True
            self.stop()
        for child in self._running:
            os.kill(child, number)

    def _replace_the_dead(self) -> None:
        while self._running:
            child, _ = os.waitpid(-1, os.WNOHANG)
            if not child:
                return
            number = self._running.pop(child, None)
            if number is None or self._stopping:
                continue
            recent = self._started[number][-_TRIES:]
            if len(recent) == _TRIES and recent[-1] - recent[0] < _TOO_SOON:
                raise AirlockError("a worker ends again and again", hint="the lines above say why", unchanged="nothing is served")
            self.replaced()
            _log.error("worker %d ended; another takes its place", number)
            self._start(number)

    def _all_ready(self) -> bool:
        self._serving |= {number for number, descriptor in self._ready.items() if _has_told(descriptor)}
        return len(self._serving) == self.count


def _tell(descriptor: int) -> None:
    os.write(descriptor, b"!")


def _has_told(descriptor: int) -> bool:
    try:
        said = os.read(descriptor, 1)
    except BlockingIOError:
        return False
    return bool(said)
