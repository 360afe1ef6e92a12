"""Model files at a site that had models before: found where Ollama and people leave them, and nowhere through a link."""

import os

import pytest

from registry.sources.old_shares import find_model_files, open_unlinked

HEX = "ab" * 32


@pytest.fixture
def share(tmp_path):
    def write(*names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
        return tmp_path

    return write


def names(place):
    return [str(each.path.relative_to(place)) for each in find_model_files(place)]


def test_an_ollama_store(share):
    place = share(
        f"blobs/sha256-{HEX}", f"blobs/sha256-{HEX}-partial", f"blobs/sha256-{HEX}-partial-0", "manifests/registry.ollama.ai/library/x/latest"
    )
    [found] = find_model_files(place)
    assert (found.path.name, found.size, found.claimed) == (f"sha256-{HEX}", 1, f"sha256:{HEX}")


def test_an_old_share(share):
    place = share("a/model.gguf", "a/B.GGUF", "w/model-00001.safetensors", "w/old.bin", "letter.docx", "people.csv", f"old/blobs/sha256-{HEX}")
    assert names(place) == ["a/B.GGUF", "a/model.gguf", f"old/blobs/sha256-{HEX}", "w/model-00001.safetensors", "w/old.bin"]
    assert {each.claimed for each in find_model_files(place)} == {None, f"sha256:{HEX}"}


def test_a_file_that_is_named_counts_whatever_it_is_called(share):
    [found] = find_model_files(share("weights.of-old") / "weights.of-old")
    assert found.claimed is None


def test_links_pipes_and_empty_files_do_not_count(share):
    place = share("real.gguf")
    (place / "linked.gguf").symlink_to(place / "real.gguf")
    (place / "folder.gguf").symlink_to(place)
    (place / "empty.gguf").write_bytes(b"")
    os.mkfifo(place / "pipe.gguf")
    assert names(place) == ["real.gguf"]
    assert list(find_model_files(place / "linked.gguf")) == []
    for name in ("linked.gguf", "pipe.gguf"):
        with pytest.raises(OSError):
            open_unlinked(place / name).close()


def test_what_can_not_be_read_is_said(share):
    with pytest.raises(FileNotFoundError):
        list(find_model_files(share() / "gone"))
