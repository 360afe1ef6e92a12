"""Small sound models for the sources' tests."""

import struct
from pathlib import Path

import pytest

from registry.sources.pinning import open_source


@pytest.fixture
def gguf_bytes():
    """A sound GGUF file with one tensor of 4 elements; ``tail`` makes several of them differ."""

    def make(tail=0):
        def text(value):
            return struct.pack("<Q", len(value)) + value

        header = b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + text(b"general.architecture") + struct.pack("<I", 8) + text(b"llama")
        header += text(b"t") + struct.pack("<IQIQ", 1, 4, 0, 0)
        return header + bytes(-len(header) % 32) + struct.pack("<4f", 1, 2, 3, tail)

    return make


@pytest.fixture
def gguf_file(tmp_path, gguf_bytes):
    path = tmp_path / "tiny.gguf"
    path.write_bytes(gguf_bytes())
    return path


class Store:
    """An Ollama store on disk, filled as ``ollama create`` fills it."""

    def __init__(self, root):
        self.root = root

    def blob(self, digest):
        return self.root / "blobs" / digest.replace(":", "-")

    def manifest(self, name):
        path, _, tag = name.rpartition(":")
        return self.root / "manifests" / path / tag

    def add(self, name, pinned, end=b"\n"):
        """Write a pinned model into the store under ``host/namespace/model:tag``."""
        (self.root / "blobs").mkdir(parents=True, exist_ok=True)
        for digest, path in pinned.blobs.items():
            self.blob(digest).write_bytes(Path(path).read_bytes())
        for digest, data in pinned.small.items():
            self.blob(digest).write_bytes(data)
        self.manifest(name).parent.mkdir(parents=True, exist_ok=True)
        self.manifest(name).write_bytes(pinned.manifest_bytes + end)


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store that ``OLLAMA_MODELS`` names."""
    root = tmp_path / "models"
    monkeypatch.setenv("OLLAMA_MODELS", str(root))
    return Store(root)


@pytest.fixture
def stored(store, gguf_file):
    """The store with the model ``tiny`` in it, and what a pin of that file says."""
    pinned = open_source(f"file:{gguf_file}")
    store.add("registry.ollama.ai/library/tiny:latest", pinned)
    return store, pinned
