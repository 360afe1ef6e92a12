"""Media as they are: real file systems, mounted for one test and gone after it.

``disk`` mounts them; each method names a directory, makes it, mounts there, and returns it.  Where a machine has not the program, the kernel or the
right for one of them, the test is skipped and says why.  Nothing stays: whatever the test did, every file system is unmounted, the last one first,
and the process behind it has ended.
"""

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
LYING = Path(__file__).with_name("lying.py")


def _program(name):
    """Where a program lies, or skip."""
    found = shutil.which(name, path=PATH)
    if not found:
        pytest.skip(f"no program {name} on this machine")
    return found


def _do(*command):
    """Run a command that must succeed; return what it printed."""
    done = subprocess.run([_program(command[0]), *map(str, command[1:])], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def _try(*command):
    """The same, for what a machine may refuse."""
    try:
        return _do(*command)
    except AssertionError as refusal:
        pytest.skip(f"not on this machine: {refusal}")


def _log(directory):
    """Where the program behind a file system says what it has to say."""
    return directory.with_name(f"{directory.name}.log")


def _take_out(directory, *unmount):
    """Unmount, even if something still holds a file there; that is an error all the same."""
    try:
        _do(*(unmount or ("umount",)), directory)
    except AssertionError:
        _do("umount", "--lazy", directory)
        raise


def _wait_for(process):
    """Wait until the program behind a file system that was unmounted has ended."""
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise


class Disks:
    """Mounts file systems.  ``images`` says for a directory of which kind its medium is, and where the medium's bytes lie."""

    def __init__(self):
        self.images = {}
        self._mounted = {}

    def fat32(self, directory, size=64 << 20):
        """FAT32, empty.  Debian's ``fusefat`` writes files well, but loses what lies in a directory that is renamed: it takes no new set, only a copy."""
        return self.insert(directory, "fat32", self._image(directory, size, "mkfs.vfat", "-F", "32"))

    def exfat(self, directory, size=64 << 20):
        """exFAT, empty."""
        return self.insert(directory, "exfat", self._image(directory, size, "mkfs.exfat"))

    def ext4(self, directory, size=64 << 20):
        """ext4, empty."""
        return self.insert(directory, "ext4", self._image(directory, size, "mkfs.ext4", "-q"))

    def tmpfs(self, directory, size=64 << 20):
        """A file system in memory: full at ``size`` bytes."""
        with self._mounting(directory) as undo:
            self._mount(undo, directory, "-t", "tmpfs", "-o", f"size={size}", "tmpfs")
        return directory

    def squashfs(self, directory, source):
        """A disc: what lies in ``source``, for ever read-only."""
        image = directory.with_name(f"{directory.name}.img")
        _do("mksquashfs", source, image, "-quiet", "-no-progress")
        return self.insert(directory, "squashfs", image)

    def read_only(self, directory, source):
        """``source`` once more, behind a write-blocker: a read-only bind mount."""
        with self._mounting(directory) as undo:
            self._mount(undo, directory, "--bind", source)
            _do("mount", "-o", "remount,bind,ro", directory)
        return directory

    def lying(self, directory, source, lie):
        """``source`` as a medium that breaks its word (``lying.py``).  Unmounted, ``source`` shows what the medium really holds."""
        source.mkdir(exist_ok=True)
        with self._mounting(directory) as undo:
            self._serve(undo, directory, sys.executable, LYING, source, directory, lie)
        return directory

    def opened(self, directory):
        """What was opened or listed so far on a medium that may lie, as paths below it."""
        return {path.lstrip("/") for path in _log(directory).read_text().splitlines()}

    def carry(self, here, there):
        """Pull the medium at ``here`` and put it into another slot, ``there``, read-only."""
        if here not in self.images:
            return self.read_only(there, here)
        kind, image = self.images[here]
        self.unmount(here)
        return self.insert(there, kind, image, read_only=True)

    def unmount(self, directory):
        """Take a medium out; its process has ended when this returns."""
        self._mounted.pop(directory).close()

    def close(self):
        """Take out every medium, the last one first."""
        with contextlib.ExitStack() as undo:
            for each in self._mounted.values():
                undo.enter_context(each)
            self._mounted.clear()

    def _image(self, directory, size, *make):
        image = directory.with_name(f"{directory.name}.img")
        with image.open("xb") as file:
            file.truncate(size)
        _do(*make, image)
        return image

    def insert(self, directory, kind, image, *, read_only=False):
        """Mount an image of this kind."""
        self.images[directory] = kind, image
        with self._mounting(directory) as undo:
            if kind == "fat32":
                self._serve(undo, directory, "fusefat", "-f", "-o", "ro" if read_only else "rw+", image, directory)
            elif kind == "exfat":
                loop = _try("losetup", "--find", "--show", image)
                undo.callback(_do, "losetup", "--detach", loop)
                self._serve(undo, directory, "mount.exfat-fuse", "-d", "-o", "ro" if read_only else "rw", loop, directory, unmount=("umount",))
            else:
                self._mount(undo, directory, "-t", kind, "-o", "loop,ro" if read_only or kind == "squashfs" else "loop", image)
        return directory

    @contextlib.contextmanager
    def _mounting(self, directory):
        """Yield a stack for what undoes a mount, kept until :meth:`unmount` if the mount succeeds."""
        if os.geteuid() != 0:
            pytest.skip("this user may not mount a file system")
        directory.mkdir(exist_ok=True)
        with contextlib.ExitStack() as undo:
            yield undo
            self._mounted[directory] = undo.pop_all()

    def _mount(self, undo, directory, *options):
        _try("mount", *options, directory)
        undo.callback(_take_out, directory)

    def _serve(self, undo, directory, *command, unmount=("fusermount", "-u")):
        """Start a FUSE program in the foreground: it is ours, and it ends when it is unmounted."""
        with _log(directory).open("wb") as said:
            process = subprocess.Popen([_program(str(command[0])), *map(str, command[1:])], stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        undo.callback(_wait_for, process)
        while not directory.is_mount():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.01)
                pytest.skip(f"not on this machine: {command[0]}: {_log(directory).read_text(errors='replace').strip()}")
        undo.callback(_take_out, directory, *unmount)


@pytest.fixture
def disk():
    """Mounts file systems until the test ends."""
    disks = Disks()
    yield disks
    disks.close()
