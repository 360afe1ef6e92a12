"""Nothing is visible before it is whole."""

import errno
import os

import pytest

from registry.errors import MediumDamaged, StoreFailed
from registry.store.files import new_file, read_limited, replace_file, storage_errors, sweep_temporaries, write_steadily


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def test_replace(tmp_path):
    path = tmp_path / "file"
    replace_file(path, b"old")
    replace_file(path, b"new" * 1000)
    assert path.read_bytes() == b"new" * 1000
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o444])
def test_mode_whatever_the_umask(tmp_path, mode):
    before = os.umask(0o077)
    try:
        replace_file(tmp_path / "file", b"", mode=mode)
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


def test_nothing_shows_before_the_end(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with new_file(path) as stream:
        stream.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt])
def test_a_failure_leaves_the_old(tmp_path, error):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def interrupted():
        with new_file(path) as stream:
            stream.write(b"half of the new")
            raise error

    with pytest.raises(error):
        interrupted()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_fails_at_the_last_moment(tmp_path, monkeypatch, call):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError(errno.EIO, "input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(OSError, match="input/output"):
            replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_killed_in_between_is_swept(tmp_path):
    """A crash leaves the old file and a temporary one, which the next writer removes; nothing else is touched."""
    pid = os.fork()
    if pid == 0:
        with new_file(tmp_path / "file") as stream:
            stream.write(b"half")
            os._exit(0)
    os.waitpid(pid, 0)
    (tmp_path / "other").write_bytes(b"")
    (tmp_path / ".airlock-link").symlink_to("other")
    (tmp_path / ".airlock-folder").mkdir()
    assert len(names(tmp_path)) == 4
    assert sweep_temporaries(tmp_path) == 1
    assert names(tmp_path) == [".airlock-folder", ".airlock-link", "other"]
    assert sweep_temporaries(tmp_path / "nowhere") == 0


def test_read_limited(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_limited(path, 5, what="it") == b"12345"
    with pytest.raises(MediumDamaged, match="it: larger than any airlock writes"):
        read_limited(path, 4, what="it")
    os.truncate(path, 1 << 40)
    with pytest.raises(MediumDamaged):
        read_limited(path, 4, what="it")
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(OSError, match="symbolic"):
        read_limited(tmp_path / "link", 5, what="it")


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (errno.ENOSPC, "no space is left"),
        (errno.EROFS, "read-only"),
        (errno.EIO, "input/output error"),
        (errno.ENODEV, "the device is gone"),
        (errno.EACCES, "this user may not do that"),
        (errno.EFBIG, "can't hold a file of that size"),
        (errno.EMFILE, os.strerror(errno.EMFILE)),
    ],
)
@pytest.mark.parametrize("kind", [StoreFailed, MediumDamaged])
def test_what_a_disk_says_for_people(number, why, kind):
    with pytest.raises(kind) as refusal, storage_errors("the medium /media/usb", kind=kind, hint="do this"):
        raise OSError(number, os.strerror(number), "/media/usb/x")
    assert why in refusal.value.why
    assert "/media/usb/x" in refusal.value.why
    assert refusal.value.hint


def test_other_errors_pass():
    with pytest.raises(ValueError, match="mine"), storage_errors("it"):
        raise ValueError("mine")


def test_what_is_written_out_stays(tmp_path):
    data = os.urandom(1 << 20)
    with new_file(tmp_path / "file") as stream:
        stream.write(data)
        write_steadily(stream.fileno(), (16 << 20) - 1, len(data))
        write_steadily(stream.fileno(), 0, 1 << 40)  # beyond the end is no error
    assert (tmp_path / "file").read_bytes() == data


def test_what_knows_no_advice_is_left_alone():
    reading, writing = os.pipe()
    write_steadily(writing, 0, 1 << 30)
    os.close(reading)
    os.close(writing)
