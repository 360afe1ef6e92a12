"""Run one command as the only child of a small process; write what it cost to a file descriptor.

A process starts with the peak memory of whoever started it, and the benchmark has numpy loaded.  So this runs between them, with nothing imported.
"""

import json
import os
import sys
import time


def main() -> int:
    """``launch.py FD COMMAND…``."""
    report, command = int(sys.argv[1]), sys.argv[2:]
    os.set_inheritable(report, False)
    began = time.monotonic()
    child = os.posix_spawnp(command[0], command, os.environ)
    _, status, usage = os.wait4(child, 0)  # the only call that tells one child's CPU time and memory
    cost = {"seconds": time.monotonic() - began, "cpu": usage.ru_utime + usage.ru_stime, "memory": usage.ru_maxrss * 1024 / 1e6}
    os.write(report, json.dumps(cost).encode())
    return os.waitstatus_to_exitcode(status)


sys.exit(main())
