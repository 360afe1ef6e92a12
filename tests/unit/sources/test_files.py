"""registry.sources.files: a GGUF file with texts beside it."""

import os
from pathlib import Path

import pytest

from registry.content.digest import digest_of
from registry.content.manifest import parse_manifest
from registry.errors import FormatRefused, NotFound, Usage
from registry.sources.pinning import Options, locate, open_source


def test_a_file_with_all_texts(gguf_file, tmp_path):
    for name, text in {"template": "{{ .Prompt }}", "system": "Be brief.", "parameters": "PARAMETER top_k 1", "licence": "MIT"}.items():
        (tmp_path / name).write_text(text)
    read = []
    options = Options(tmp_path / "template", tmp_path / "system", tmp_path / "parameters", (tmp_path / "licence",))
    pinned = open_source(f"file:{gguf_file}", options=options, progress=read.append)
    manifest = parse_manifest(pinned.manifest_bytes)
    digest = digest_of(gguf_file.read_bytes())
    assert pinned.blobs == {digest: gguf_file}
    assert [pinned.small.get(layer.digest) for layer in manifest.layers] == [None, b"{{ .Prompt }}", b"Be brief.", b"MIT", b'{"top_k":1}\n']
    assert {blob.digest for blob in manifest.blobs} == {*pinned.small, digest}
    assert sum(read) == gguf_file.stat().st_size
    assert not pinned.newline_dropped


def test_the_source_is_an_absolute_path_and_finds_the_blob_again(gguf_file, monkeypatch):
    monkeypatch.chdir(gguf_file.parent)
    (gguf_file.parent / "folder").mkdir()
    pinned = open_source("file:folder/../tiny.gguf")
    assert pinned.source == f"file:{gguf_file}"
    assert locate(pinned.source, list(pinned.blobs)) == dict(pinned.blobs)
    assert open_source(pinned.source) == pinned
    monkeypatch.setenv("HOME", str(gguf_file.parent))
    assert open_source("file:~/tiny.gguf") == pinned


def test_a_link_is_followed_and_keeps_its_name(gguf_file):
    link = gguf_file.with_name("latest.gguf")
    link.symlink_to(gguf_file)
    assert open_source(f"file:{link}").source == f"file:{link}"


def test_the_blob_is_looked_for_where_it_was(gguf_file):
    pinned = open_source(f"file:{gguf_file}")
    with pytest.raises(NotFound, match="holds one blob only"):
        locate(pinned.source, [*pinned.blobs, digest_of(b"another")])
    gguf_file.unlink()
    with pytest.raises(NotFound, match="no such file"):
        locate(pinned.source, list(pinned.blobs))


@pytest.mark.parametrize("text", ["file:", "file:a\nb.gguf", "file:a\udc80.gguf"])
def test_paths_that_are_none(text):
    with pytest.raises(Usage, match="not a path"):
        open_source(text)


@pytest.mark.parametrize("text", ["", "gemma", "gemma3:270m", "http://x/y", "/x.gguf", "FILE:x"])
def test_unknown_kinds_of_source(text):
    for call in (open_source, lambda source: locate(source, [])):
        with pytest.raises(Usage, match="no such source") as caught:
            call(text)
        assert "file:PATH.gguf" in caught.value.hint


def test_missing_files(gguf_file, tmp_path):
    with pytest.raises(NotFound, match="no such file"):
        open_source(f"file:{tmp_path}/none.gguf")
    with pytest.raises(NotFound, match=r"template .*no such file"):
        open_source(f"file:{gguf_file}", options=Options(template=tmp_path / "none"))


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo", Path("/dev/zero")):
        with pytest.raises(Usage, match="not a regular file"):
            open_source(f"file:{path}")


def test_files_that_are_no_gguf(gguf_file):
    gguf_file.write_bytes(b"PK\3\4" + bytes(100))
    with pytest.raises(FormatRefused, match="not a GGUF file"):
        open_source(f"file:{gguf_file}")


def test_texts_that_can_not_be_what_they_are_given_for(gguf_file, tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "large").write_bytes(b"x" * 3_000_000)
    (tmp_path / "text").write_text("a text")
    for options, said in [
        (Options(template=tmp_path / "empty"), "template: empty"),
        (Options(system=tmp_path / "large"), "system: too large"),
        (Options(licenses=(tmp_path / "text", gguf_file)), "license: not text"),
        (Options(parameters=tmp_path / "text"), "line 1 is no parameter"),
    ]:
        with pytest.raises(FormatRefused) as caught:
            open_source(f"file:{gguf_file}", options=options)
        assert said in caught.value.what
