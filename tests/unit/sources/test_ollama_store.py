"""registry.sources.ollama_store: names, the bytes kept, and everything that can be wrong in a store (tests/interop pins a real one)."""

import json
import os
import pwd
from dataclasses import replace
from pathlib import Path

import pytest

from registry.content.digest import digest_of
from registry.content.manifest import Descriptor, Manifest, parse_manifest
from registry.errors import FormatRefused, NotFound, PolicyRefused, Usage
from registry.sources import ollama_store
from registry.sources.ollama_store import parse_stored_name
from registry.sources.pinning import Options, locate, open_source

NAME = "registry.ollama.ai/library/tiny:latest"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("gemma3", "registry.ollama.ai/library/gemma3:latest"),
        ("gemma3:270m", "registry.ollama.ai/library/gemma3:270m"),
        ("team/gemma3:270m", "registry.ollama.ai/team/gemma3:270m"),
        ("localhost:5000/team/gemma3", "localhost:5000/team/gemma3:latest"),
        ("models.example/team/Model.GGUF:Q4_K_M", "models.example/team/Model.GGUF:Q4_K_M"),
    ],
)
def test_names(text, name):
    assert str(parse_stored_name(text)) == name


@pytest.mark.parametrize(
    "text", ["", ":", "a:", "/a", "a/", "../a", "a/../b", "..", "a/b/c/d", "a b", "a.b/c", "a:b/c:d:e", "a@sha256:0", "a\n", "-a", "a" * 81, "a\0"]
)
def test_names_that_ollama_would_not_accept(text):
    with pytest.raises(FormatRefused, match="not a name in Ollama's store"):
        parse_stored_name(text)


def test_the_same_model_from_file_and_store(stored):
    _, pinned = stored
    read = []
    found = open_source("ollama-store:tiny", progress=read.append)
    assert (found.manifest_bytes, dict(found.small)) == (pinned.manifest_bytes, dict(pinned.small))
    assert found.newline_dropped
    assert found.source == f"ollama-store:{NAME}"
    assert list(found.blobs) == list(pinned.blobs)
    assert sum(read) == parse_manifest(found.manifest_bytes).size
    assert locate(found.source, list(found.blobs)) == dict(found.blobs)


def test_a_manifest_without_newline(store, gguf_file):
    pinned = open_source(f"file:{gguf_file}")
    store.add(NAME, pinned, end=b"")
    assert not open_source("ollama-store:tiny").newline_dropped


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n", b" \n", b" ", b"x", b"\0"])
def test_only_one_newline_is_dropped(store, gguf_file, end):
    store.add(NAME, open_source(f"file:{gguf_file}"), end=end)
    with pytest.raises(FormatRefused):
        open_source("ollama-store:tiny")


def test_names_are_found_in_any_letter_case_and_recorded_as_written(store, gguf_file):
    pinned = open_source(f"file:{gguf_file}")
    store.add("models.example/Team/Tiny:Q4", pinned)
    assert open_source("ollama-store:MODELS.example/team/tiny:q4").source == "ollama-store:models.example/Team/Tiny:Q4"
    store.add("models.example/Team/Tiny:q4", pinned)
    assert open_source("ollama-store:models.example/team/tiny:q4").source == "ollama-store:models.example/Team/Tiny:q4"
    store.add("models.example/Team/Tiny:yY", pinned)
    store.add("models.example/Team/Tiny:Yy", pinned)
    with pytest.raises(FormatRefused, match="more than one model"):
        open_source("ollama-store:models.example/team/tiny:yy")


def test_unknown_names(stored):
    store, _ = stored
    for name in ("other", "tiny:other", "other/tiny"):
        with pytest.raises(NotFound, match="not in Ollama's store") as caught:
            open_source(f"ollama-store:{name}")
        assert str(store.root) in caught.value.why


def test_options_are_for_files(stored):
    with pytest.raises(Usage, match="takes no template"):
        open_source("ollama-store:tiny", options=Options(system=Path("x")))
    assert open_source("ollama-store:tiny", options=Options())


def test_the_service_store_is_the_second_choice(tmp_path, monkeypatch, store, gguf_file):
    store.add(NAME, open_source(f"file:{gguf_file}"))
    monkeypatch.delenv("OLLAMA_MODELS")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(ollama_store, "SERVICE_STORE", store.root)
    found = open_source("ollama-store:tiny")
    assert [path.parent for path in found.blobs.values()] == [store.root / "blobs"]
    own = type(store)(tmp_path / "home" / ".ollama" / "models")
    own.add(NAME, found)
    assert [path.parent for path in open_source("ollama-store:tiny").blobs.values()] == [own.root / "blobs"]
    own.blob(next(iter(found.blobs))).unlink()
    assert [path.parent for path in locate(found.source, list(found.blobs)).values()] == [store.root / "blobs"]


def test_a_chosen_store_is_the_only_one(stored, tmp_path, monkeypatch):
    store, _ = stored
    monkeypatch.setattr(ollama_store, "SERVICE_STORE", store.root)
    monkeypatch.setenv("OLLAMA_MODELS", f' "{tmp_path}/empty" ')
    with pytest.raises(NotFound) as caught:
        open_source("ollama-store:tiny")
    assert caught.value.why == f"looked in {tmp_path}/empty"


def damage(path, change):
    data = bytearray(path.read_bytes())
    if change == "changed":
        data[-1] ^= 1
    elif change == "cut":
        del data[-1:]
    elif change == "longer":
        data += b"\0"
    path.write_bytes(data)


@pytest.mark.parametrize("change", ["changed", "cut", "longer"])
@pytest.mark.parametrize("which", ["blobs", "small"])
def test_blobs_are_hashed(stored, which, change):
    """Ollama never hashes a blob again: a bad disk would otherwise be carried across the gap."""
    store, pinned = stored
    damage(store.blob(next(iter(getattr(pinned, which)))), change)
    with pytest.raises(FormatRefused, match="damaged in Ollama's store") as caught:
        open_source("ollama-store:tiny")
    assert caught.value.hint.endswith("ollama rm tiny:latest && ollama pull tiny:latest")


@pytest.mark.parametrize("which", ["blobs", "small"])
def test_missing_blobs(stored, which):
    store, pinned = stored
    store.blob(next(iter(getattr(pinned, which)))).unlink()
    with pytest.raises(NotFound, match="missing in Ollama's store"):
        open_source("ollama-store:tiny")


def test_a_blob_that_is_gone_at_export(stored):
    store, pinned = stored
    store.blob(next(iter(pinned.blobs))).unlink()
    with pytest.raises(NotFound, match="no longer in Ollama's store"):
        locate(f"ollama-store:{NAME}", list(pinned.blobs))


def with_blob(store, pinned, change):
    """Write the model again with its manifest changed by ``change(manifest) -> (manifest, added blobs)``."""
    manifest, added = change(parse_manifest(pinned.manifest_bytes))
    store.add(NAME, replace(pinned, manifest_bytes=manifest.to_bytes(), small={**pinned.small, **added}))


@pytest.mark.parametrize("name", ["remote_host", "remote_model", "Remote_Host"])
def test_a_model_that_runs_elsewhere(stored, name):
    config = json.dumps({name: "x"}).encode()

    def change(manifest):
        return replace(manifest, config=replace(manifest.config, digest=digest_of(config), size=len(config))), {digest_of(config): config}

    with_blob(*stored, change)
    with pytest.raises(PolicyRefused, match="runs elsewhere"):
        open_source("ollama-store:tiny")


@pytest.mark.parametrize("kind", ["model", "adapter", "projector"])
def test_weights_that_are_no_gguf(stored, kind):
    data = b"\x80\x04pickle"
    layer = Descriptor(f"application/vnd.ollama.image.{kind}", digest_of(data), len(data))
    with_blob(*stored, lambda manifest: (Manifest(manifest.config, (*manifest.layers, layer)), {layer.digest: data}))
    with pytest.raises(FormatRefused, match="not a GGUF file"):
        open_source("ollama-store:tiny")


def test_weights_that_pass_for_a_text_are_still_looked_at(stored):
    """One digest under two types: what is a model under one of them must be one."""
    data = b"not a model"
    text = Descriptor("application/vnd.ollama.image.system", digest_of(data), len(data))
    model = replace(text, media_type="application/vnd.ollama.image.model")
    with_blob(*stored, lambda manifest: (Manifest(manifest.config, (text, model)), {text.digest: data}))
    with pytest.raises(FormatRefused, match="not a GGUF file"):
        open_source("ollama-store:tiny")


def test_large_texts_stay_where_they_lie(stored):
    data = b"x" * (4 * 1024 * 1024 + 1)
    layer = Descriptor("application/vnd.ollama.image.license", digest_of(data), len(data))
    with_blob(*stored, lambda manifest: (Manifest(manifest.config, (*manifest.layers, layer)), {layer.digest: data}))
    found = open_source("ollama-store:tiny")
    assert layer.digest in found.blobs
    assert layer.digest not in found.small


def test_a_fifo_in_the_store(stored):
    store, pinned = stored
    path = store.blob(next(iter(pinned.blobs)))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(Usage, match="can't be read"):
        open_source("ollama-store:tiny")


@pytest.fixture
def somebody(tmp_path):
    """Root reads everything: become somebody else who can get to ``tmp_path``.  Gives the user's name."""
    if os.geteuid() != 0:
        yield pwd.getpwuid(os.geteuid()).pw_name
        return
    modes = [(folder, folder.stat().st_mode) for folder in tmp_path.parents if not folder.stat().st_mode & 0o001]
    for folder, mode in [*modes, (tmp_path, 0o700)]:
        folder.chmod(mode | 0o011)
    os.seteuid(pwd.getpwnam("nobody").pw_uid)
    yield "nobody"
    os.seteuid(0)
    for folder, mode in modes:
        folder.chmod(mode)


@pytest.mark.parametrize("closed", ["home", "store", "blobs"])
def test_an_unreadable_store_prints_the_command_that_mends_it(stored, tmp_path, monkeypatch, request, closed):
    store, _ = stored
    home = tmp_path / "service home"
    home.mkdir()
    store.root.rename(home / "models")
    models = home / "models"
    monkeypatch.setenv("OLLAMA_MODELS", str(models))
    folder = {"home": home, "store": models, "blobs": models / "blobs"}[closed]
    folder.chmod(0)
    request.addfinalizer(lambda: folder.chmod(0o755))
    name = request.getfixturevalue("somebody")
    with pytest.raises(Usage) as caught:
        open_source("ollama-store:tiny")
    assert caught.value.what == f"{models}: Ollama's store can't be read"
    assert caught.value.why.endswith("Permission denied")
    expected = f"sudo setfacl -R -m u:{name}:rX '{models}'"
    command = caught.value.hint.splitlines()[0]
    assert command == (f"sudo setfacl -m u:{name}:x '{home}' && {expected}" if closed == "home" else expected)
