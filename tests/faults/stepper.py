"""Runs airlock commands, and does something to them just before their Nth step on disk.

Reads a JSON object a line from stdin and runs that command in a fork of itself, so that nobody waits for Python to start:

    arguments   the command line
    cwd         where it runs; TMPDIR is the directory ``temp`` there
    at          the number of the step before which ``act`` happens, counted from 1; 0: the command runs to its end undisturbed;
                [KIND, N] counts only the steps of a kind, such as ``commit``
    act         kill                   SIGKILL
                pause                  say ``{"paused": N}``, then wait for a byte on stdin
                ["fill", DIRECTORY]    take all the space that is left on that file system (a file ``ballast`` in it)
                ["swap", ONE, OTHER]   two directories change their names, as two media change their slots
    days        how far the clock is off
    cores       on how many processors the command may run: one, where nothing is said, so that steps come in one order on every machine

It answers with ``{"returncode": …, "stdout": "…", "stderr": "…", "steps": […]}``; the steps are those that the command came to, the one before which
it was killed included.

A step is whatever changes what another process could see, or makes it last: fsync, rename, a positioned write, the making or removal of a name, a mode,
a transaction's commit, the dropping of a file from the page cache; the last one is the command's return.  No sleeping, no luck: the same N stops at the
same place, as long as one thread writes at a time.

Deriving a key from a passphrase takes half a second on purpose; here a digest does.  So the homes made here open only here.
"""

import contextlib
import datetime as dt
import gc
import hashlib
import json
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections import Counter
from pathlib import Path

import tuf.ngclient  # noqa: F401 - the program loads it late; here it is loaded before the fork, so that no child waits for it

import registry.store.keystore as keystore_module
import registry.store.log as log_module
from registry.cli.main import airlock, run

COMMANDS = list(airlock.commands.values())  # loaded before the fork as well

WATCHED = ("fsync", "replace", "rename", "unlink", "mkdir", "rmdir", "pwrite", "posix_fadvise", "chmod")


def place(thing):
    """What a step is about: a path, or the path behind a descriptor."""
    return Path(f"/proc/self/fd/{thing}").readlink() if isinstance(thing, int) else thing


def fill(directory):
    """Leave no byte and no page on a file system."""
    with (Path(directory) / "ballast").open("wb") as ballast:
        for size in (1 << 20, 4096):
            with contextlib.suppress(OSError):
                while True:
                    os.posix_fallocate(ballast.fileno(), os.fstat(ballast.fileno()).st_size, size)


def swap(one, other):
    """Put each of two media into the other's slot."""
    aside = Path(f"{one}-aside")
    Path(one).rename(aside)
    Path(other).rename(one)
    aside.rename(other)


class Steps:
    """Counts the steps of one command, notes them in ``trace``, and acts before one of them."""

    def __init__(self, at, act, trace, say):
        self.at, self.act = at, act
        self.trace, self.say = trace, say
        self.count = Counter()
        self.acting = False
        self.turn = threading.RLock()  # the program writes parts side by side; steps come one after another all the same

    def step(self, name):
        with self.turn:
            if not self.acting:
                self.take(name)

    def take(self, name):
        kind = name.split()[0]
        self.count.update([kind, ""])
        os.write(self.trace, f"{name}\n".encode())
        if self.at in (self.count[""], [kind, self.count[kind]]):
            self.acting = True
            self.do(*([self.act] if isinstance(self.act, str) else self.act))
            self.acting = False

    def do(self, what, *names):
        if what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif what == "pause":
            os.write(self.say, json.dumps({"paused": self.count[""]}).encode() + b"\n")
            os.read(0, 1)
        else:
            {"fill": fill, "swap": swap}[what](*names)

    def watch(self, name):
        original = getattr(os, name)

        def wrapper(first, *args, **rest):
            # A rename is known by the name that appears, everything else by the one it is done to.
            self.step(f"{name} {place(args[0] if name in ('replace', 'rename') else first)}")
            return original(first, *args, **rest)

        setattr(os, name, wrapper)

    def watch_everything(self):
        for name in WATCHED:
            self.watch(name)
        connect = log_module._connect

        def connect_counted(path):
            database = connect(path)
            database.conn.set_trace_callback(lambda sql: self.step("commit") if sql == "COMMIT" else None)
            return database

        log_module._connect = connect_counted


def set_clock(days):
    """Let every module believe that the clock is off by so many days."""

    class AnyTime(type):
        def __instancecheck__(cls, value):
            return isinstance(value, dt.datetime)

    class Clock(dt.datetime, metaclass=AnyTime):
        @classmethod
        def now(cls, tz=None):
            return dt.datetime.now(tz) + dt.timedelta(days=days)

    for name, module in list(sys.modules.items()):
        if name.startswith("registry.") and getattr(module, "datetime", None) is dt.datetime:
            module.datetime = Clock


def child(request, out, err, trace):
    os.chdir(request["cwd"])
    os.environ["TMPDIR"] = str(Path("temp").absolute())
    tempfile.tempdir = None
    say = os.dup(1)
    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)
    if request.get("days"):
        set_clock(request["days"])
    os.sched_getaffinity = lambda _: set(range(request.get("cores", 1)))
    steps = Steps(request.get("at", 0), request.get("act", "kill"), trace.fileno(), say)
    steps.watch_everything()
    code = run(request["arguments"])
    steps.step("return")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def content(stream):
    stream.seek(0)
    return stream.read().decode()


def answer(request):
    with contextlib.ExitStack() as stack:
        out, err, trace = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(3))
        process = os.fork()
        if process == 0:
            try:
                child(request, out, err, trace)
            except BaseException:  # noqa: BLE001 - whatever it was, this process must not go on as a second stepper
                traceback.print_exc()
                sys.stderr.flush()
                os._exit(70)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        return {"returncode": code, "stdout": content(out), "stderr": content(err), "steps": content(trace).splitlines()}


if __name__ == "__main__":
    keystore_module._derive = lambda passphrase, kdf: hashlib.sha256(f"{passphrase} {kdf['salt']}".encode()).digest()
    gc.collect()
    gc.freeze()  # so that a fork copies no pages only to count who holds them
    for line in iter(sys.stdin.buffer.raw.readline, b""):
        print(json.dumps(answer(json.loads(line))), flush=True)
