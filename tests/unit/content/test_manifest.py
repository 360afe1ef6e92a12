"""Manifests: the canonical bytes of an Ollama model, and nothing looser."""

import hashlib
import json

import pytest

from registry.content.manifest import CONFIG_TYPE, MANIFEST_TYPE, parse_manifest
from registry.errors import FormatRefused

MODEL = "application/vnd.ollama.image.model"
A, B, C = (f"sha256:{digit * 64}" for digit in "abc")
GOOD = (
    f'{{"schemaVersion":2,"mediaType":"{MANIFEST_TYPE}","config":{{"mediaType":"{CONFIG_TYPE}","digest":"{A}","size":485}},'
    f'"layers":[{{"mediaType":"{MODEL}","digest":"{B}","size":291}},{{"mediaType":"application/vnd.ollama.image.license","digest":"{C}","size":8}}]}}'
).encode()


def test_reads_and_writes_the_same_bytes():
    manifest = parse_manifest(GOOD)
    assert manifest.to_bytes() == GOOD
    assert [blob.digest for blob in manifest.blobs] == [B, C, A]
    assert manifest.size == 485 + 291 + 8


def test_members_that_ollama_adds():
    data = GOOD.replace(b'"size":291', b'"size":291,"from":"/models/blobs/sha256-1","name":"blk.0"')
    layer = parse_manifest(data).layers[0]
    assert (layer.origin, layer.name) == ("/models/blobs/sha256-1", "blk.0")
    assert parse_manifest(data).to_bytes() == data


def test_one_blob_twice_counts_once():
    data = GOOD.replace(C.encode(), B.encode()).replace(b'"size":8', b'"size":291')
    assert len(parse_manifest(data).blobs) == 2


def edit(**changes):
    return json.dumps({**json.loads(GOOD), **changes}, separators=(",", ":")).encode()


LAYER = {"mediaType": MODEL, "digest": B, "size": 291}
BAD = {
    "newline": GOOD + b"\n",
    "space": GOOD.replace(b",", b", ", 1),
    "order": json.dumps(dict(reversed(json.loads(GOOD).items())), separators=(",", ":")).encode(),
    "unknown member": edit(annotations={}),
    "member twice": GOOD.replace(b'"schemaVersion":2', b'"schemaVersion":1,"schemaVersion":2'),
    "other letter case": GOOD.replace(b'"layers"', b'"Layers"'),
    "both letter cases": GOOD.replace(b'"layers"', b'"Layers":[],"layers"'),
    "oci": GOOD.replace(MANIFEST_TYPE.encode(), b"application/vnd.oci.image.manifest.v1+json"),
    "oci index": edit(mediaType="application/vnd.oci.image.index.v1+json", manifests=[]),
    "no media type": edit(mediaType=None),
    "schema version": edit(schemaVersion=1),
    "no config": edit(config=None),
    "config of another type": GOOD.replace(CONFIG_TYPE.encode(), b"application/json"),
    "no layers": edit(layers=[]),
    "layers of another type": edit(layers={}),
    "unknown layer": edit(layers=[{**LAYER, "mediaType": "application/vnd.ollama.image.executable"}]),
    "empty blob": edit(layers=[{**LAYER, "size": 0}]),
    "negative size": edit(layers=[{**LAYER, "size": -1}]),
    "float size": edit(layers=[{**LAYER, "size": 291.0}]),
    "true as size": edit(layers=[{**LAYER, "size": True}]),
    "huge size": edit(layers=[{**LAYER, "size": 2**53}]),
    "digest in upper case": GOOD.replace(B.encode(), f"sha256:{'B' * 64}".encode()),
    "short digest": GOOD.replace(B.encode(), B[:-1].encode()),
    "one digest, two sizes": GOOD.replace(C.encode(), B.encode()),
    "config and layer with two sizes": GOOD.replace(C.encode(), A.encode()),
    "escapes": GOOD.replace(b'"size":291', b'"size":291,"name":"a&b"'),
    "not ASCII": GOOD.replace(b'"size":291', '"size":291,"name":"ä"'.encode()),
    "not JSON": b"GGUF",
    "empty": b"",
    "an array": b"[]",
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_refused(data):
    assert data != GOOD
    with pytest.raises(FormatRefused):
        parse_manifest(data)


def test_too_large():
    with pytest.raises(FormatRefused, match="too large"):
        parse_manifest(GOOD + b" " * (4 << 20))


def test_digest_is_that_of_the_bytes():
    assert hashlib.sha256(parse_manifest(GOOD).to_bytes()).hexdigest() == hashlib.sha256(GOOD).hexdigest()
