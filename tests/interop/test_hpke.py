"""Set keys wrapped by airlock open with other HPKE implementations, and theirs with airlock: Google Tink for X-Wing, pyhpke for P-384.

Tink's Python package refuses NIST curves above P-256, hence pyhpke.  For ML-KEM-1024 with P-384 there is no second implementation on PyPI; its
keys are compared with the draft's test vector in ``tests/unit/media/test_recipients.py``.
"""

import json

import pytest
import tink
from pyhpke import AEADId, CipherSuite, KDFId, KEMId
from tink import cleartext_keyset_handle, hybrid
from tink.proto import hpke_pb2, tink_pb2

from registry.errors import RecipientRefused
from registry.media.recipients import new_identity, unwrap, wrap
from registry.media.suites import SUITE_P384, SUITE_XWING

SET_ID = "01M0000000000000000000TEST"
KEY = bytes(range(32))
ENC_BYTES = 97


def info(recipient):
    """The binding of docs/reference/format.md."""
    return json.dumps({"format": "airlock-set-v1", "recipient": recipient.key_id, "set": SET_ID}, separators=(",", ":"), sort_keys=True).encode()


# X-Wing: Tink


def tink_handle(key, type_name, kind):
    data = tink_pb2.KeyData(type_url=f"type.googleapis.com/google.crypto.tink.{type_name}", value=key.SerializeToString(), key_material_type=kind)
    entry = tink_pb2.Keyset.Key(key_data=data, status=tink_pb2.ENABLED, key_id=1, output_prefix_type=tink_pb2.RAW)
    keyset = tink_pb2.Keyset(primary_key_id=1, key=[entry])
    return cleartext_keyset_handle.read(tink.BinaryKeysetReader(keyset.SerializeToString()))


def tink_keys(identity):
    hybrid.register()
    params = hpke_pb2.HpkeParams(kem=hpke_pb2.X_WING, kdf=hpke_pb2.HKDF_SHA256, aead=hpke_pb2.AES_256_GCM)
    public = hpke_pb2.HpkePublicKey(version=0, params=params, public_key=identity.recipient.public)
    private = hpke_pb2.HpkePrivateKey(version=0, public_key=public, private_key=identity.secret)
    return (
        tink_handle(public, "HpkePublicKey", tink_pb2.KeyData.ASYMMETRIC_PUBLIC).primitive(hybrid.HybridEncrypt),
        tink_handle(private, "HpkePrivateKey", tink_pb2.KeyData.ASYMMETRIC_PRIVATE).primitive(hybrid.HybridDecrypt),
    )


def test_tink_opens_what_airlock_wrapped():
    identity = new_identity(SUITE_XWING)
    _, decrypt = tink_keys(identity)
    wrapped = wrap(KEY, identity.recipient, set_id=SET_ID)
    assert decrypt.decrypt(wrapped, info(identity.recipient)) == KEY
    with pytest.raises(tink.TinkError):
        decrypt.decrypt(wrapped, b"another set")


def test_airlock_opens_what_tink_wrapped():
    identity = new_identity(SUITE_XWING)
    encrypt, _ = tink_keys(identity)
    assert unwrap(encrypt.encrypt(KEY, info(identity.recipient)), identity, set_id=SET_ID) == KEY
    with pytest.raises(RecipientRefused):
        unwrap(encrypt.encrypt(KEY, b"another set"), identity, set_id=SET_ID)


# P-384: pyhpke


P384 = CipherSuite.new(KEMId.DHKEM_P384_HKDF_SHA384, KDFId.HKDF_SHA384, AEADId.AES256_GCM)


def test_pyhpke_opens_what_airlock_wrapped():
    identity = new_identity(SUITE_P384)
    wrapped = wrap(KEY, identity.recipient, set_id=SET_ID)
    private = P384.kem.deserialize_private_key(identity.secret)
    context = P384.create_recipient_context(wrapped[:ENC_BYTES], private, info=info(identity.recipient))
    assert context.open(wrapped[ENC_BYTES:]) == KEY


def test_airlock_opens_what_pyhpke_wrapped():
    identity = new_identity(SUITE_P384)
    public = P384.kem.deserialize_public_key(identity.recipient.public)
    enc, context = P384.create_sender_context(public, info=info(identity.recipient))
    assert unwrap(enc + context.seal(KEY), identity, set_id=SET_ID) == KEY
