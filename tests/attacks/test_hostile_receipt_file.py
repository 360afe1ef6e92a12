"""A file that calls itself a receipt: huge, cut, garbage, a link or a pipe.  It must not fill memory, hang, or be read through."""

import os

import pytest

from registry.media.receipt_file import MAX_FILE_BYTES


def test_huge(serving, receipt_refused):
    with serving.path("x.receipt").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    receipt_refused(serving, "x.receipt", code=5, error="larger than any airlock writes", why="at most")


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"garbage", b"\x00" * 5000, b"[" * 5000 + b"\n", b'{"format":"airlock-receipt-v1"}\n', b"{}\n" + b"x" * 99]
)
def test_garbage(serving, receipt_refused, data):
    serving.path("x.receipt").write_bytes(data)
    receipt_refused(serving, "x.receipt", code=3, error="^x.receipt: not a receipt$", hint="airlock receipt --to MEDIUM")


def test_cut(serving, receipt_refused):
    serving.ok("in", "receipt", "--to", "x.receipt")
    data = serving.path("x.receipt").read_bytes()
    serving.path("x.receipt").write_bytes(data[:-100])
    receipt_refused(serving, "x.receipt", code=5, error="^x.receipt: damaged$", hint="copy the medium again, or ask the site for a fresh one")


def test_a_link(serving, receipt_refused):
    """It could stand for a file of this machine."""
    serving.ok("in", "receipt", "--to", "x.receipt")
    serving.path("link.receipt").symlink_to("x.receipt")
    receipt_refused(serving, "link.receipt", code=5, error="link.receipt")


def test_a_pipe(serving, receipt_refused):
    os.mkfifo(serving.path("pipe.receipt"))
    receipt_refused(serving, "pipe.receipt", code=5, error="^pipe.receipt: not a regular file$")


def test_too_many(serving, receipt_refused):
    folder = serving.path("stick/airlock/receipts")
    folder.mkdir(parents=True)
    for number in range(1001):
        (folder / f"{number:08x}-20261128T000000Z.receipt").touch()
    receipt_refused(serving, "stick", code=3, error="too many receipts", hint="name one of them")
