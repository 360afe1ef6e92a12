"""Google Tink opens what we seal, and we open what Tink seals: the sealing of a set is theirs, not ours."""

import base64
import hashlib
import io
import json
import random

import pytest
import tink
from tink import hybrid, proto_keyset_format, secret_key_access, streaming_aead
from tink.proto import aes_gcm_hkdf_streaming_pb2, hpke_pb2, tink_pb2

from registry.errors import MediumDamaged, RecipientRefused
from registry.media.receipt_file import seal_receipt
from registry.media.recipients import Identity, new_identity, unwrap, wrap
from registry.media.recipients import _info as info
from registry.media.stream import SEGMENT_BYTES, associated_data, open_bytes, plain_size, seal_bytes
from registry.store.home import Home
from registry.workflow.actor import Credentials
from registry.workflow.site import open_site

SET = "01M7ZR2K3RRPWNSYSEJR59BV9J"
KEY = bytes(range(32))
AD = associated_data(SET, "part", 7)
# The first segment holds 56 bytes less than a segment's size (header and tag), the others 16 less (tag).
FIRST, NEXT = SEGMENT_BYTES - 56, SEGMENT_BYTES - 16
LENGTHS = [0, 1, FIRST - 1, FIRST, FIRST + 1, FIRST + NEXT - 1, FIRST + NEXT, FIRST + NEXT + 1, FIRST + 3 * NEXT + 12345]


@pytest.fixture(scope="module", autouse=True)
def _registered():
    streaming_aead.register()
    hybrid.register()


def handle(kind, key, material):
    """A keyset with one raw key, as Tink reads it."""
    data = tink_pb2.KeyData(type_url=f"type.googleapis.com/google.crypto.tink.{kind}", value=key.SerializeToString(), key_material_type=material)
    only = tink_pb2.Keyset.Key(key_data=data, status=tink_pb2.ENABLED, key_id=1, output_prefix_type=tink_pb2.RAW)
    keyset = tink_pb2.Keyset(primary_key_id=1, key=[only]).SerializeToString()
    if material == tink_pb2.KeyData.ASYMMETRIC_PUBLIC:
        return proto_keyset_format.parse_without_secret(keyset)
    return proto_keyset_format.parse(keyset, secret_key_access.TOKEN)


@pytest.fixture(scope="module")
def stream(_registered):
    """Tink's streaming AEAD with our set key: template AES256_GCM_HKDF_1MB."""
    template = aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingKeyFormat.FromString(
        streaming_aead.streaming_aead_key_templates.AES256_GCM_HKDF_1MB.value
    )
    key = aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingKey(version=0, params=template.params, key_value=KEY)
    assert template.params.ciphertext_segment_size == SEGMENT_BYTES
    return handle("AesGcmHkdfStreamingKey", key, tink_pb2.KeyData.SYMMETRIC).primitive(streaming_aead.StreamingAead)


class Kept(io.BytesIO):
    """Tink closes what it writes to; the bytes are wanted afterwards."""

    def close(self):
        self.kept = self.getvalue()
        super().close()


@pytest.mark.parametrize("length", LENGTHS)
def test_tink_opens_ours(stream, length):
    data, sink = random.Random(length).randbytes(length), io.BytesIO()
    seal_bytes(sink, data, KEY, AD)
    with stream.new_decrypting_stream(io.BytesIO(sink.getvalue()), AD) as opened:
        assert opened.read() == data


@pytest.mark.parametrize("length", LENGTHS)
def test_we_open_tinks(stream, length):
    data, sink = random.Random(length).randbytes(length), Kept()
    with stream.new_encrypting_stream(sink, AD) as sealing:
        sealing.write(data)
    sealed = sink.kept
    assert plain_size(len(sealed), what="x") == length
    assert open_bytes(io.BytesIO(sealed), len(sealed), KEY, AD, what="x", limit=1 << 30) == data


def test_neither_opens_it_in_another_place(stream):
    """The associated data is what binds a file to its place, on both sides."""
    sink = io.BytesIO()
    seal_bytes(sink, b"weights", KEY, AD)
    elsewhere = associated_data(SET, "part", 8)
    with stream.new_decrypting_stream(io.BytesIO(sink.getvalue()), elsewhere) as opened, pytest.raises(Exception, match="."):
        opened.read()
    with pytest.raises(MediumDamaged):
        open_bytes(io.BytesIO(sink.getvalue()), len(sink.getvalue()), KEY, elsewhere, what="x", limit=100)


def params():
    return hpke_pb2.HpkeParams(kem=hpke_pb2.X_WING, kdf=hpke_pb2.HKDF_SHA256, aead=hpke_pb2.AES_256_GCM)


def test_suite_is_tinks_template():
    template = hybrid.hybrid_key_templates.X_WING_HKDF_SHA256_HKDF_SHA256_AES_256_GCM_RAW
    assert template.output_prefix_type == tink_pb2.RAW
    assert hpke_pb2.HpkeKeyFormat.FromString(template.value).params == params()


def public_key(identity):
    return hpke_pb2.HpkePublicKey(version=0, params=params(), public_key=identity.recipient.public)


def test_tink_unwraps_ours():
    """Our seed is Tink's private key, too."""
    identity = new_identity()
    private = hpke_pb2.HpkePrivateKey(version=0, public_key=public_key(identity), private_key=identity.secret)
    decrypt = handle("HpkePrivateKey", private, tink_pb2.KeyData.ASYMMETRIC_PRIVATE).primitive(hybrid.HybridDecrypt)
    assert decrypt.decrypt(wrap(KEY, identity.recipient, set_id=SET), info(SET, identity.recipient)) == KEY
    with pytest.raises(tink.TinkError):
        decrypt.decrypt(wrap(KEY, identity.recipient, set_id=SET), info(SET[:-1] + "0", identity.recipient))


def test_we_unwrap_tinks():
    identity = new_identity()
    encrypt = handle("HpkePublicKey", public_key(identity), tink_pb2.KeyData.ASYMMETRIC_PUBLIC).primitive(hybrid.HybridEncrypt)
    wrapped = encrypt.encrypt(KEY, info(SET, identity.recipient))
    assert unwrap(wrapped, identity, set_id=SET) == KEY
    with pytest.raises(RecipientRefused):
        unwrap(wrapped, identity, set_id=SET[:-1] + "0")
    with pytest.raises(RecipientRefused):
        unwrap(wrapped, new_identity(), set_id=SET)
    with pytest.raises(RecipientRefused):
        unwrap(encrypt.encrypt(KEY[:16], info(SET, identity.recipient)), identity, set_id=SET)


def test_a_key_that_tink_made():
    """The private half that Tink generates is a seed, and its public half is the one we compute from it."""
    template = hybrid.hybrid_key_templates.X_WING_HKDF_SHA256_HKDF_SHA256_AES_256_GCM_RAW
    made = tink.new_keyset_handle(template)
    keyset = tink_pb2.Keyset.FromString(proto_keyset_format.serialize(made, secret_key_access.TOKEN))
    private = hpke_pb2.HpkePrivateKey.FromString(keyset.key[0].key_data.value)
    identity = Identity(private.private_key)
    assert identity.recipient.public == private.public_key.public_key
    wrapped = made.public_keyset_handle().primitive(hybrid.HybridEncrypt).encrypt(KEY, info(SET, identity.recipient))
    assert unwrap(wrapped, identity, set_id=SET) == KEY


def test_a_part_of_a_real_set(exported):
    """From ``set.json`` to a part's plaintext with Tink alone, as the README on the medium says."""
    folder = exported.folder()
    with open_site(Home(exported.path("in")), Credentials(lambda: exported.passphrase), "test", unlock=True) as site:
        identity = site.identity
    header = json.loads((folder / "set.json").read_bytes())
    wrapped = base64.b64decode(header["keys"][identity.recipient.key_id])
    private = hpke_pb2.HpkePrivateKey(version=0, public_key=public_key(identity), private_key=identity.secret)
    binding = json.dumps({"format": "airlock-set-v1", "recipient": identity.recipient.key_id, "set": folder.name}, separators=(",", ":")).encode()
    set_key = handle("HpkePrivateKey", private, tink_pb2.KeyData.ASYMMETRIC_PRIVATE).primitive(hybrid.HybridDecrypt).decrypt(wrapped, binding)
    template = aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingKeyFormat.FromString(
        streaming_aead.streaming_aead_key_templates.AES256_GCM_HKDF_1MB.value
    )
    key = aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingKey(version=0, params=template.params, key_value=set_key)
    primitive = handle("AesGcmHkdfStreamingKey", key, tink_pb2.KeyData.SYMMETRIC).primitive(streaming_aead.StreamingAead)
    place = json.dumps({"format": "airlock-set-v1", "number": 1, "role": "part", "set": folder.name}, separators=(",", ":")).encode()
    with primitive.new_decrypting_stream((folder / "parts/00000001.sealed").open("rb"), place) as opened:
        plain = opened.read()
    assert exported.path("one.gguf").read_bytes() in plain
    assert exported.path("two.gguf").read_bytes() in plain


def test_a_receipt():
    """From the first line of a receipt file to its envelope with Tink alone, as docs/reference/format.md says."""
    identity, envelope = new_identity(), random.Random(1).randbytes(3_000_000)
    line, _, body = seal_receipt(envelope, [identity.recipient, new_identity().recipient]).partition(b"\n")
    [wrapped] = [base64.b64decode(each["wrapped"]) for each in json.loads(line)["keys"] if each["key"] == identity.recipient.key_id]
    private = hpke_pb2.HpkePrivateKey(version=0, public_key=public_key(identity), private_key=identity.secret)
    binding = json.dumps({"format": "airlock-receipt-v1", "recipient": identity.recipient.key_id}, separators=(",", ":")).encode()
    opened_key = handle("HpkePrivateKey", private, tink_pb2.KeyData.ASYMMETRIC_PRIVATE).primitive(hybrid.HybridDecrypt).decrypt(wrapped, binding)
    template = aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingKeyFormat.FromString(
        streaming_aead.streaming_aead_key_templates.AES256_GCM_HKDF_1MB.value
    )
    key = aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingKey(version=0, params=template.params, key_value=opened_key)
    primitive = handle("AesGcmHkdfStreamingKey", key, tink_pb2.KeyData.SYMMETRIC).primitive(streaming_aead.StreamingAead)
    place = json.dumps({"format": "airlock-receipt-v1", "line": f"sha256:{hashlib.sha256(line).hexdigest()}"}, separators=(",", ":")).encode()
    with primitive.new_decrypting_stream(io.BytesIO(body), place) as opened:
        assert opened.read() == envelope
