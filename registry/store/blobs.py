"""Blobs on a local disk: one immutable file per digest, ``sha256/<two hex>/<hex>`` below a root directory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from registry.content.digest import Digest, digest_of, from_hex, hex_of
from registry.errors import StoreFailed
from registry.store.files import fsync_directory, read_limited, replace_file, storage_errors

__all__ = ["LocalBlobStore", "blob_path"]

_READABLE_BY_ALL = 0o444  # the server may run as another user than the writer; nobody rewrites a blob
_DIRECTORY = 0o755


def blob_path(root: Path, digest: Digest) -> Path:
    """Return where the blob ``digest`` lies, or would lie, below ``root``."""
    hexadecimal = hex_of(digest)
    return root / "sha256" / hexadecimal[:2] / hexadecimal


class LocalBlobStore:
    """Content-addressed files below ``root``.  A blob that is visible is whole: it was hashed before it got its name."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, digest: Digest) -> Path:
        """Return where the blob lies, or would lie."""
        return blob_path(self.root, digest)

    def holds(self, digest: Digest, size: int) -> bool:
        """Tell whether a regular file of exactly ``size`` bytes lies under this digest.  Content is scrub's matter, not this one's."""
        try:
            status = os.lstat(self.path(digest))
        except FileNotFoundError:
            return False
        return status.st_size == size and (status.st_mode & 0o170000) == 0o100000

    def read(self, digest: Digest, *, limit: int) -> bytes:
        """Return a small blob's bytes, hashed again.

        Raises:
            StoreFailed: not there, longer than ``limit`` bytes, or its content no longer has this digest.
        """
        try:
            data = read_limited(self.path(digest), limit, what=f"blob {digest}")
        except FileNotFoundError:
            raise StoreFailed(f"blob {digest}: missing from the store", hint="airlock check lists everything that is missing") from None
        if digest_of(data) != digest:
            raise StoreFailed(f"blob {digest}: damaged in the store", why=f"its content now has the digest {digest_of(data)}")
        return data

    def add(self, data: bytes) -> Digest:
        """Store a small blob and return its digest; one that is there already stays untouched.

        Raises:
            StoreFailed: the disk is full or failing.
        """
        digest = digest_of(data)
        with storage_errors(f"the store {self.root}"):
            if not self.holds(digest, len(data)):
                replace_file(self._prepared(digest), data, mode=_READABLE_BY_ALL)
        return digest

    def adopt(self, file: Path, digest: Digest) -> None:
        """Move a file that was hashed and fsync'ed into the store.  It must lie on the same file system."""
        os.chmod(file, _READABLE_BY_ALL)  # noqa: PTH101 - one spelling for every call of os in this module
        target = self._prepared(digest)
        os.replace(file, target)  # noqa: PTH105
        fsync_directory(target.parent)

    def remove(self, digest: Digest) -> None:
        """Remove a blob that nothing refers to."""
        self.path(digest).unlink(missing_ok=True)

    def digests(self) -> Iterator[Digest]:
        """Yield every digest in the store, in no order."""
        top = self.root / "sha256"
        if not top.is_dir():
            return
        for directory in sorted(top.iterdir()):
            for file in sorted(directory.iterdir()):
                if len(file.name) == 64:  # a temporary file has another form
                    yield from_hex(file.name)

    def _prepared(self, digest: Digest) -> Path:
        target = self.path(digest)
        for directory in (self.root, self.root / "sha256", target.parent):
            if not directory.is_dir():
                directory.mkdir(mode=_DIRECTORY, parents=True, exist_ok=True)
                directory.chmod(_DIRECTORY)
                fsync_directory(directory.parent)
        return target
