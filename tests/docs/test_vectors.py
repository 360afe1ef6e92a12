"""The test vectors of docs/reference/format.md, read by our code and by Google Tink."""

import base64
import hashlib
import io
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import tink
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner
from tink import cleartext_keyset_handle, hybrid, streaming_aead
from tink.proto import aes_gcm_hkdf_streaming_pb2, common_pb2, hpke_pb2, tink_pb2

from registry.content import canonical
from registry.content.digest import digest_of
from registry.content.manifest import parse_manifest
from registry.content.view import parse_view
from registry.errors import AirlockError, FormatRefused
from registry.media import stream
from registry.media.index import parse_index
from registry.media.recipients import Identity, unwrap
from registry.media.sets import parse_header
from registry.store.log import parse_event
from registry.trust.envelope import EVENT_TYPE, INDEX_TYPE, open_envelope, verify_detached
from registry.trust.keys import public_from_json
from registry.trust.refresh import Age, OfferedMetadata, adopt_publisher, refresh
from registry.trust.statement import parse_statement
from registry.trust.verifier import verify_release
from registry.workflow.site_card import parse_site_card

VECTORS = Path(__file__).parent / "vectors"


def load(name):
    return json.loads((VECTORS / f"{name}.json").read_text(encoding="ascii"))


CANONICAL, STREAMS, WRAPPED, DOCUMENTS = map(load, ("canonical", "streams", "wrapped", "documents"))
FILES = {name: base64.b64decode(data) for name, data in DOCUMENTS["documents"].items()}
SET_KEY = bytes.fromhex(STREAMS["set_key"])
NOW = datetime(2026, 12, 1, tzinfo=UTC)


def signer(name):
    return CryptoSigner(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(DOCUMENTS["seeds"][name])))


def plaintext(length):
    return (bytes(range(251)) * (length // 251 + 1))[:length]


class Flat(io.BytesIO):
    """A stream in memory that reads as an unbuffered file does."""


def sealed_with_fixed_randomness(monkeypatch, length, associated):
    """Return what our code writes when its salt and nonce prefix are the vectors'."""
    drawn = {32: bytes.fromhex(STREAMS["salt"]), 7: bytes.fromhex(STREAMS["nonce_prefix"])}
    monkeypatch.setattr(stream.secrets, "token_bytes", drawn.__getitem__)
    sink = io.BytesIO()
    stream.seal_bytes(sink, plaintext(length), SET_KEY, associated)
    return sink.getvalue()


def tink_streaming(set_key):
    """Return Tink's AES256_GCM_HKDF_1MB with this key."""
    streaming_aead.register()
    key = aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingKey(
        version=0,
        key_value=set_key,
        params=aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingParams(
            ciphertext_segment_size=1048576, derived_key_size=32, hkdf_hash_type=common_pb2.SHA256
        ),
    )
    return keyset("AesGcmHkdfStreamingKey", key, tink_pb2.KeyData.SYMMETRIC).primitive(streaming_aead.StreamingAead)


def keyset(kind, key, material):
    data = tink_pb2.KeyData(type_url=f"type.googleapis.com/google.crypto.tink.{kind}", value=key.SerializeToString(), key_material_type=material)
    entry = tink_pb2.Keyset.Key(key_data=data, status=tink_pb2.ENABLED, key_id=1, output_prefix_type=tink_pb2.RAW)
    return cleartext_keyset_handle.from_keyset(tink_pb2.Keyset(primary_key_id=1, key=[entry]))


@pytest.mark.parametrize("vector", CANONICAL, ids=lambda vector: vector["text"][:20])
def test_canonical_json(vector):
    data = vector["text"].encode("utf-8", "surrogatepass")
    if vector["expect"] == "accepted":
        assert canonical.dump(canonical.load(data, what="vector", limit=1000)) == data
    else:
        with pytest.raises(FormatRefused):
            canonical.load(data, what="vector", limit=1000)


@pytest.mark.parametrize("vector", STREAMS["streams"], ids=lambda vector: str(vector["plain_bytes"]))
def test_streams_are_what_we_write_and_read(monkeypatch, vector):
    length, associated = vector["plain_bytes"], vector["associated_data"].encode()
    sealed = sealed_with_fixed_randomness(monkeypatch, length, associated)
    assert hashlib.sha256(sealed).hexdigest() == vector["sealed_sha256"]
    assert len(sealed) == vector["sealed_bytes"] == stream.sealed_size(length)
    if "sealed" in vector:
        assert sealed == base64.b64decode(vector["sealed"])
    assert stream.open_bytes(Flat(sealed), len(sealed), SET_KEY, associated, what="vector", limit=1 << 22) == plaintext(length)


@pytest.mark.parametrize("vector", STREAMS["streams"], ids=lambda vector: str(vector["plain_bytes"]))
def test_tink_reads_our_streams(monkeypatch, vector):
    associated = vector["associated_data"].encode()
    sealed = sealed_with_fixed_randomness(monkeypatch, vector["plain_bytes"], associated)
    with tink_streaming(SET_KEY).new_decrypting_stream(io.BytesIO(sealed), associated) as opened:
        assert opened.read() == plaintext(vector["plain_bytes"])


@pytest.mark.parametrize("length", [0, 1, 1048520, 1048521])
def test_we_read_tinks_streams(length):
    class Kept(io.BytesIO):
        def close(self):
            pass

    sink = Kept()
    with tink_streaming(SET_KEY).new_encrypting_stream(sink, b"associated") as sealing:
        sealing.write(plaintext(length))
    sealed = sink.getvalue()
    assert stream.open_bytes(Flat(sealed), len(sealed), SET_KEY, b"associated", what="vector", limit=1 << 22) == plaintext(length)


def test_the_wrapped_key_opens_here_and_in_tink():
    wrapped, seed = base64.b64decode(WRAPPED["wrapped"]), bytes.fromhex(WRAPPED["identity_seed"])
    identity = Identity(seed)
    assert identity.recipient.key_id == WRAPPED["key_id"]
    assert base64.b64encode(identity.recipient.public).decode() == WRAPPED["recipient"]
    assert unwrap(wrapped, identity, set_id=WRAPPED["set"]) == SET_KEY
    hybrid.register()
    params = hpke_pb2.HpkeParams(kem=hpke_pb2.X_WING, kdf=hpke_pb2.HKDF_SHA256, aead=hpke_pb2.AES_256_GCM)
    public = hpke_pb2.HpkePublicKey(version=0, params=params, public_key=identity.recipient.public)
    private = hpke_pb2.HpkePrivateKey(version=0, public_key=public, private_key=seed)
    handle = keyset("HpkePrivateKey", private, tink_pb2.KeyData.ASYMMETRIC_PRIVATE)
    assert handle.primitive(hybrid.HybridDecrypt).decrypt(wrapped, WRAPPED["info"].encode()) == SET_KEY


def test_tink_refuses_another_place_for_a_stream(monkeypatch):
    sealed = sealed_with_fixed_randomness(monkeypatch, 1000, stream.associated_data(DOCUMENTS["set"], "part", 1))
    moved = stream.associated_data(DOCUMENTS["set"], "part", 2)
    with pytest.raises(tink.TinkError), tink_streaming(SET_KEY).new_decrypting_stream(io.BytesIO(sealed), moved) as opened:
        opened.read()


def test_the_documents_of_a_set():
    """Read a whole small set in the order of verification: metadata, header, index, statement."""
    offered = OfferedMetadata((FILES["1.root.json"],), FILES["timestamp.json"], FILES["snapshot.json"], FILES["targets.json"])
    refreshed = refresh(adopt_publisher(offered, offered.publisher), offered, now=NOW, floor=None)
    assert refreshed.age is Age.NEWER
    header = parse_header(FILES["set.json"], what="set.json")
    assert header.to_bytes() == FILES["set.json"]
    set_key = unwrap(header.keys[WRAPPED["key_id"]], Identity(bytes.fromhex(WRAPPED["identity_seed"])), set_id=header.set_id)
    associated = stream.associated_data(header.set_id, "index", 0)
    sealed = FILES["index.sealed"]
    envelope = stream.open_bytes(Flat(sealed), len(sealed), set_key, associated, what="index", limit=1 << 20)
    assert envelope == FILES["index envelope"]
    keys, threshold = refreshed.keys("timestamp")
    payload = open_envelope(envelope, INDEX_TYPE, keys, threshold, what="index", limit=1 << 20).payload
    assert payload == FILES["index payload"]
    index = parse_index(payload, what="index")
    assert index.to_bytes() == payload
    assert index.header == digest_of(FILES["set.json"])
    [statement] = index.statements
    assert statement == FILES["statement"]
    release = verify_release(
        statement,
        publisher=offered.publisher,
        targets=refreshed.targets.targets,
        namespaces=["*/*"],
        site=index.sites[0],
        known=lambda reference, number: None,
    ).release
    assert release.to_bytes() == statement
    assert release.name == "library/tiny:1b-r1"
    assert release.manifest.digest == digest_of(FILES["manifest"])
    assert parse_manifest(FILES["manifest"]).to_bytes() == FILES["manifest"]
    assert {each.digest for each in index.objects} == {each.digest for each in release.objects}


def test_the_documents_of_a_site():
    card = parse_site_card(FILES["site.pub"], what="site.pub")
    assert card.site == DOCUMENTS["key_ids"]["receipt"]
    assert card.recipient.key_id == WRAPPED["key_id"]
    view = parse_view(FILES["published view"])
    assert view.to_bytes() == FILES["published view"]
    assert view.site == card.site
    event = parse_event(FILES["event"], DOCUMENTS["event_signature"])
    key = public_from_json(event.subject["actor"], what="actor")
    assert event.actor == key.keyid == DOCUMENTS["key_ids"]["actor"]
    verify_detached(event.document, EVENT_TYPE, key, event.signature, what="event")


@pytest.mark.parametrize("name", ["statement", "set.json", "index payload", "published view", "manifest", "event", "site.pub", "timestamp.json"])
def test_every_changed_byte_of_a_document_is_refused_or_another_document(name):
    """Whatever bytes come: a value that writes back the same bytes, or a refusal, nothing else."""
    parsers = {
        "statement": lambda data: parse_statement(data, what=name).to_bytes(),
        "set.json": lambda data: parse_header(data, what=name).to_bytes(),
        "index payload": lambda data: parse_index(data, what=name).to_bytes(),
        "published view": lambda data: parse_view(data).to_bytes(),
        "manifest": lambda data: parse_manifest(data).to_bytes(),
        "event": lambda data: parse_event(data, "00").document,
    }
    original = FILES[name]
    refused = 0
    for position in range(len(original)):
        changed = bytearray(original)
        changed[position] ^= 1
        try:
            if name == "site.pub":
                parse_site_card(bytes(changed), what=name)
                pytest.fail(f"byte {position} may be changed")
            elif name == "timestamp.json":
                offered = OfferedMetadata((FILES["1.root.json"],), bytes(changed), FILES["snapshot.json"], FILES["targets.json"])
                refresh(adopt_publisher(offered, offered.publisher), offered, now=NOW, floor=None)
                pytest.fail(f"byte {position} may be changed")
            assert parsers[name](bytes(changed)) == changed
        except AirlockError:
            refused += 1
    assert refused > 0


def test_the_vectors_are_what_their_script_writes(tmp_path):
    """The fixed inputs still give these bytes: the format has not changed by accident."""
    for file in VECTORS.iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    subprocess.run([sys.executable, str(tmp_path / "make.py")], check=True)
    for name in ("canonical", "streams", "wrapped", "documents"):
        assert (tmp_path / f"{name}.json").read_bytes() == (VECTORS / f"{name}.json").read_bytes(), f"{name}.json differs"
