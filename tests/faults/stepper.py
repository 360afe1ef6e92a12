"""Runs airlock commands and kills them, with SIGKILL, just before their Nth step on disk.

Reads a JSON object a line from stdin, ``{"arguments": […], "cwd": "…", "stop_at": N}``, runs that command in a fork of itself (so that nobody waits
for Python to start) and answers with ``{"returncode": …, "stdout": "…", "stderr": "…"}``.  ``N`` = 0 runs to the end; the last line of stderr then
says how many steps there were.

A step is whatever changes what another process could see: fsync, rename, a positioned write, the removal of a file, a transaction's commit.
No sleeping, no luck: the same N stops at the same place.
"""

import json
import os
import signal
import sys
import tempfile
from pathlib import Path

import tuf.ngclient  # noqa: F401 - the program loads it late; here it is loaded before the fork, so that no child waits for it

import registry.store.log as log_module
from registry.cli.main import airlock, run

COMMANDS = list(airlock.commands.values())  # loaded before the fork as well


class Steps:
    """Counts the steps of one command."""

    def __init__(self, stop_at):
        self.stop_at = stop_at
        self.count = 0

    def step(self, name):
        self.count += 1
        if self.count == self.stop_at:
            print(f"killed before step {self.count}: {name}", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self, owner, name):
        original = getattr(owner, name)

        def wrapper(*args, **rest):
            self.step(name)
            return original(*args, **rest)

        setattr(owner, name, wrapper)

    def watch_everything(self):
        for function in ("fsync", "replace", "pwrite"):
            self.watch(os, function)
        for method in ("rename", "unlink", "mkdir"):
            self.watch(Path, method)
        connect = log_module._connect

        def connect_counted(path):
            database = connect(path)
            database.conn.set_trace_callback(lambda sql: self.step("commit") if sql == "COMMIT" else None)
            return database

        log_module._connect = connect_counted


def child(request, out, err):
    os.chdir(request["cwd"])
    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)
    steps = Steps(request["stop_at"])
    steps.watch_everything()
    code = run(request["arguments"])
    print(f"steps {steps.count}", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


for line in sys.stdin:
    request = json.loads(line)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = os.fork()
        if process == 0:
            child(request, out, err)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read().decode())
    print(json.dumps({"returncode": code, "stdout": texts[0], "stderr": texts[1]}), flush=True)
