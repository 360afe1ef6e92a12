"""registry.content.config: what is read of a config, and which ones are refused."""

import json

import pytest

from registry.content.config import MAX_CONFIG_BYTES, ModelConfig, parse_config
from registry.content.digest import digest_of
from registry.errors import FormatRefused, PolicyRefused

ABOUT = ModelConfig("gguf", "gemma3", ("gemma3",), "268.10M", "Q4_K_M")


def test_what_is_written_is_read():
    data = ABOUT.to_bytes([digest_of(b"layer")])
    assert data.startswith(b'{"model_format":"gguf","model_family":"gemma3","model_families":["gemma3"],"model_type":"268.10M","file_type":"Q4_K_M",')
    assert data.endswith(b'"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["' + digest_of(b"layer").encode() + b'"]}}\n')
    assert parse_config(data) == ABOUT


def test_other_versions_write_more_or_less():
    assert parse_config(b'{"renderer":"x","model_families":null}') == ModelConfig("", "", (), "", "")


@pytest.mark.parametrize("name", ["remote_host", "remote_model", "Remote_Host", "REMOTE_MODEL", "remote_ho\u017ft"])
def test_a_model_that_runs_elsewhere(name):
    with pytest.raises(PolicyRefused, match="runs elsewhere"):
        parse_config(json.dumps({name: "https://example.com"}).encode())


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not readable"),
        (b"[" * 100_000, "not readable"),
        (b"\xff", "not readable"),
        (b"[]", "expected a JSON object"),
        (b"null", "expected a JSON object"),
        (b'{"model_type":1}', "lines of text"),
        (b'{"model_families":"x"}', "lines of text"),
        (b'{"model_type":"a\\nb"}', "lines of text"),
        (b'{"model_type":"a","model_type":"b"}', "there twice"),
        (b'{"model_type":"a","Model_Type":"b"}', "there twice"),
        (b" " * (MAX_CONFIG_BYTES + 1), "too large"),
    ],
)
def test_refusals(data, said):
    with pytest.raises(FormatRefused) as caught:
        parse_config(data)
    assert said in str(caught.value)
