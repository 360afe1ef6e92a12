"""Blobs: a blob that is visible is whole."""

import pytest

from registry.content.digest import digest_of
from registry.errors import StoreFailed
from registry.store.blobs import LocalBlobStore, blob_path


@pytest.fixture
def blobs(tmp_path):
    return LocalBlobStore(tmp_path / "blobs")


def test_add_and_read(blobs):
    digest = blobs.add(b"hello")
    assert blobs.path(digest) == blobs.root / "sha256" / digest[7:9] / digest[7:] == blob_path(blobs.root, digest)
    assert blobs.read(digest, limit=5) == b"hello"
    assert blobs.holds(digest, 5)
    assert not blobs.holds(digest, 4)
    assert list(blobs.digests()) == [digest]


def test_add_again_touches_nothing(blobs):
    digest = blobs.add(b"hello")
    before = blobs.path(digest).stat()
    blobs.add(b"hello")
    assert blobs.path(digest).stat().st_ino == before.st_ino


def test_add_mends_a_blob_of_another_size(blobs):
    digest = blobs.add(b"hello")
    blobs.path(digest).chmod(0o644)
    blobs.path(digest).write_bytes(b"he")
    assert not blobs.holds(digest, 5)
    blobs.add(b"hello")
    assert blobs.read(digest, limit=5) == b"hello"


def test_adopt(blobs, tmp_path):
    (tmp_path / "file").write_bytes(b"weights")
    blobs.adopt(tmp_path / "file", digest_of(b"weights"))
    assert not (tmp_path / "file").exists()
    assert blobs.path(digest_of(b"weights")).stat().st_mode & 0o777 == 0o444
    assert blobs.holds(digest_of(b"weights"), 7)


def test_damaged_or_missing(blobs):
    digest = blobs.add(b"hello")
    blobs.path(digest).chmod(0o644)
    blobs.path(digest).write_bytes(b"jello")
    with pytest.raises(StoreFailed, match="damaged in the store"):
        blobs.read(digest, limit=5)
    blobs.path(digest).unlink()
    with pytest.raises(StoreFailed, match="missing from the store"):
        blobs.read(digest, limit=5)


def test_a_link_is_no_blob(blobs, tmp_path):
    digest = blobs.add(b"hello")
    blobs.path(digest).rename(tmp_path / "elsewhere")
    blobs.path(digest).symlink_to(tmp_path / "elsewhere")
    assert not blobs.holds(digest, 5)


def test_empty_store_and_temporaries(blobs):
    assert list(blobs.digests()) == []
    digest = blobs.add(b"x")
    (blobs.path(digest).parent / ".airlock-0123456789abcdef").write_bytes(b"")
    assert list(blobs.digests()) == [digest]
