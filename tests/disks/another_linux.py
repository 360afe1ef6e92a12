"""The first process of a Linux of its own (Debian's ``user-mode-linux``), which has the FAT driver that this machine's kernel may lack.

    python another_linux.py WORLD MODULES

The root directory is the host's, read-only; the disk is ``/dev/ubda``, FAT32 and empty.  Exports from a copy of WORLD to the disk, puts it in again read-only,
imports it, prints a line ``told`` with what was seen, as JSON, and halts.
"""

import ctypes
import errno
import io
import json
import os
import subprocess
import sys
import traceback
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
FINIT_MODULE = 313  # on x86-64, where user-mode Linux runs
POWER_OFF = 0x4321FEDC
MODULES = ["fat/fat.ko", "fat/vfat.ko", "nls/nls_cp437.ko", "nls/nls_iso8859-1.ko", "nls/nls_ascii.ko"]
SITE = ["--home", "in", "--passphrase-file", "passphrase"]
STATION = ["--home", "out", "--passphrase-file", "passphrase"]


def mount(*words):
    subprocess.run(["/bin/mount", *words], check=True)


def load(folder):
    for name in MODULES:
        with (folder / name).open("rb") as module:
            LIBC.syscall(FINIT_MODULE, module.fileno(), b"", 0)


def airlock(*arguments):
    """Run a command inside this process: starting another one takes seconds here."""
    from registry.cli.main import run

    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = run(list(arguments))
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}


def largest(path, size):
    """Return the error's name for a file of one byte more than ``size``, which must fit but for the space."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        os.pwrite(descriptor, b"x", size)
    except OSError as refusal:
        return errno.errorcode[refusal.errno]
    finally:
        os.close(descriptor)
        path.unlink()


def journey(world):
    mount("-t", "tmpfs", "tmpfs", "/mnt")
    subprocess.run(["/bin/cp", "-r", world, "/mnt/world"], check=True)
    os.chdir("/mnt/world")
    Path("usb2").mkdir(exist_ok=True)
    mount("-t", "vfat", "/dev/ubda", "usb2")
    told = {"too large": largest(Path("usb2/large"), (4 << 30) - 1)}
    told["export"] = airlock(*STATION, "export", "tiny:1b", "big:1b", "--to", "usb2", "--recipient", "in/site.pub", "--part-size", "1MiB", "--json")
    told["other case"] = Path("usb2/AIRLOCK").is_dir()
    subprocess.run(["/bin/umount", "usb2"], check=True)
    mount("-t", "vfat", "-o", "ro", "/dev/ubda", "usb2")
    told["import"] = airlock(*SITE, "import", "usb2", "--json")
    subprocess.run(["/bin/umount", "usb2"], check=True)
    return told


if __name__ == "__main__":
    try:
        mount("-t", "proc", "proc", "/proc")
        load(Path(sys.argv[2]))
        print("told", json.dumps(journey(sys.argv[1])), flush=True)
    except BaseException:  # noqa: BLE001 - nobody is left to print it after the halt
        traceback.print_exc()
    finally:
        os.sync()
        LIBC.reboot(POWER_OFF)
