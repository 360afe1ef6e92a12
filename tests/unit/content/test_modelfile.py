"""registry.content.modelfile: the model made of a GGUF file and texts (tests/interop compares it with a real ``ollama create``)."""

import json
from dataclasses import replace

import pytest

from registry.content.digest import digest_of
from registry.content.gguf import GgufHeader
from registry.content.manifest import Descriptor, parse_manifest
from registry.content.modelfile import MODEL_TYPE, compose, human_number
from registry.errors import FormatRefused

MODEL = Descriptor(MODEL_TYPE, digest_of(b"weights"), 7)
HEADER = GgufHeader(
    version=3,
    architecture="llama",
    name="",
    kind="",
    file_type=15,
    block_count=1,
    vision_block_count=0,
    shards=1,
    has_chat_template=False,
    alignment=32,
    parameter_count=268_098_176,
    tensors=(),
    data_offset=0,
)


def test_the_order_of_layers_is_that_of_ollama():
    made = compose(
        MODEL, HEADER, template=b"{{ .Prompt }}", system=b"Be brief.", parameters={"top_k": 1.0, "stop": ["<x>"]}, licenses=[b"one", b"two"]
    )
    kinds = [layer.media_type.rpartition(".")[2] for layer in made.manifest.layers]
    assert kinds == ["model", "template", "system", "license", "license", "params"]
    assert made.small[made.manifest.layers[-1].digest] == b'{"stop":["\\u003cx\\u003e"],"top_k":1}\n'
    config = json.loads(made.small[made.manifest.config.digest])
    assert config["rootfs"]["diff_ids"] == [layer.digest for layer in made.manifest.layers]
    assert (config["model_type"], config["file_type"], config["model_family"]) == ("268.10M", "Q4_K_M", "llama")
    assert parse_manifest(made.manifest.to_bytes()) == made.manifest
    assert set(made.small) | {MODEL.digest} == {blob.digest for blob in made.manifest.blobs}


def test_a_bare_model_has_one_layer():
    made = compose(MODEL, HEADER)
    assert made.manifest.layers == (MODEL,)
    assert set(made.small) == {made.manifest.config.digest}


def test_texts_are_taken_byte_for_byte():
    made = compose(MODEL, HEADER, system=b" a\r\n\xe2\x80\x8b\n")
    assert b" a\r\n\xe2\x80\x8b\n" in made.small.values()


@pytest.mark.parametrize(("number", "name"), [(0, "unknown"), (None, "unknown"), (1, "F16"), (7, "Q8_0"), (32, "BF16"), (1024, "unknown")])
def test_file_types(number, name):
    made = compose(MODEL, replace(HEADER, file_type=number))
    assert json.loads(made.small[made.manifest.config.digest])["file_type"] == name


@pytest.mark.parametrize(
    ("count", "text"),
    [
        *[(0, "0"), (999, "999"), (1000, "1K"), (1500, "2K"), (2500, "2K"), (999_999, "1000K"), (10**6, "1M"), (1_234_567, "1.23M")],
        *[(999_999_999, "1000.00M"), (10**9, "1B"), (8_030_261_312, "8.0B"), (70_553_706_496, "70.6B"), (671 * 10**9, "671B")],
    ],
)
def test_human_numbers(count, text):
    assert human_number(count) == text


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"kind": "adapter"}, "it is an adapter"),
        ({"kind": "projector"}, "it is a projector"),
        ({"block_count": 0, "vision_block_count": 27}, "it is a projector"),
        ({"shards": 2}, "one of 2 files"),
    ],
)
def test_files_that_are_no_model_of_their_own(change, why):
    with pytest.raises(FormatRefused) as caught:
        compose(MODEL, replace(HEADER, **change))
    assert why in caught.value.why
    assert caught.value.hint


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ({"template": b""}, "template: empty"),
        ({"template": b"{{ if }}"}, "template: not a Go template"),
        ({"system": b"\xff"}, "system: not text"),
        ({"system": b"x" * (2**20 + 1)}, "system: too large"),
        ({"licenses": [b"x", b""]}, "license: empty"),
    ],
)
def test_refused_texts(texts, said):
    with pytest.raises(FormatRefused) as caught:
        compose(MODEL, HEADER, **texts)
    assert caught.value.what == said
