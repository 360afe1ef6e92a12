"""A medium that lies: a FUSE file system over a directory which breaks its word in one way.

    python lying.py DIRECTORY MOUNTPOINT LIE

Runs in the foreground until it is unmounted.  It takes every write, fsync and rename as a good medium would; what a LIE changes, it changes in *big*
files (256 KiB and more):

    none   it keeps its word
    zeros  the last 64 KiB read as zeros: a cheap stick that acknowledges what it has no room for
    flip   one bit in the middle reads the other way round
    eio    reading past the middle fails with an input/output error
    fsync  making anything durable fails with an input/output error while a file "broken" lies in the directory
    full   there is no space for anything after the first 512 KiB of a file

It prints the path of each file that is opened and of each directory that is listed.

As on a real stick, the kernel remembers what was written (``kernel_cache``): whoever reads without asking the device sees nothing of it.
"""

import errno
import os
import sys
from pathlib import Path

import mfusepy

BIG = 256 << 10
LOST = 64 << 10
ROOM = 512 << 10


def zeros(data, offset, size):
    """Return the bytes from ``offset`` on as a stick gives them back that lost the file's tail."""
    good = max(0, min(len(data), size - LOST - offset))
    return data[:good] + bytes(len(data) - good)


def flip(data, offset, size):
    place = size // 2 - offset
    if not 0 <= place < len(data):
        return data
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def eio(data, offset, size):
    if offset + len(data) > size // 2:
        raise mfusepy.FuseOSError(errno.EIO)
    return data


READS = {"zeros": zeros, "flip": flip, "eio": eio}


class Lying(mfusepy.Operations):
    """The directory ``top``, with one lie."""

    use_ns = True

    def __init__(self, top, lie):
        self.top, self.lie = top, lie

    def _at(self, path):
        return self.top / path.lstrip("/")

    def getattr(self, path, fh=None):
        status = self._at(path).lstat()
        times = {name: getattr(status, f"{name}_ns") for name in ("st_atime", "st_ctime", "st_mtime")}
        return {name: getattr(status, name) for name in ("st_gid", "st_mode", "st_nlink", "st_size", "st_uid")} | times

    def readdir(self, path, fh):
        print(path, flush=True)
        return [".", "..", *(entry.name for entry in self._at(path).iterdir())]

    def statfs(self, path):
        status = os.statvfs(self._at(path))
        return {name: getattr(status, name) for name in dir(status) if name.startswith("f_") and name not in ("f_fsid", "f_flag")}

    def mkdir(self, path, mode):
        self._at(path).mkdir(mode)

    def rmdir(self, path):
        self._at(path).rmdir()

    def unlink(self, path):
        self._at(path).unlink()

    def rename(self, old, new):
        self._at(old).replace(self._at(new))

    def chmod(self, path, mode):
        self._at(path).chmod(mode)

    def utimens(self, path, times=None):
        os.utime(self._at(path), ns=times)

    def truncate(self, path, length, fh=None):
        os.truncate(self._at(path), length)

    def create(self, path, mode, fi=None):
        return os.open(self._at(path), os.O_RDWR | os.O_CREAT | os.O_TRUNC, mode)

    def open(self, path, flags):
        print(path, flush=True)
        return os.open(self._at(path), flags & (os.O_ACCMODE | os.O_TRUNC))

    def release(self, path, fh):
        return os.close(fh)

    def fsync(self, path, datasync, fh):
        if self.lie == "fsync" and Path(self._at("broken")).exists():
            raise mfusepy.FuseOSError(errno.EIO)
        return os.fsync(fh)

    def fsyncdir(self, path, datasync, fh):
        return 0

    def write(self, path, data, offset, fh):
        if self.lie == "full" and offset + len(data) > ROOM:
            raise mfusepy.FuseOSError(errno.ENOSPC)
        return os.pwrite(fh, data, offset)

    def read(self, path, size, offset, fh):
        data, whole = os.pread(fh, size, offset), os.fstat(fh).st_size
        return READS[self.lie](data, offset, whole) if self.lie in READS and whole >= BIG else data


if __name__ == "__main__":
    directory, mountpoint, told = sys.argv[1:]
    mfusepy.FUSE(
        Lying(Path(directory).resolve(), told), mountpoint, foreground=True, nothreads=True, kernel_cache=True, big_writes=True, fsname="lying"
    )
