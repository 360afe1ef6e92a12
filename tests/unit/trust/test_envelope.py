"""DSSE envelopes: who says these bytes, in exactly one spelling."""

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from registry.content import canonical
from registry.errors import FormatRefused, SignatureRefused
from registry.trust.envelope import EVENT_TYPE, INDEX_TYPE, envelop, open_envelope, sign_detached, verify_detached
from registry.trust.keys import new_signer

ONE, TWO, OTHER = new_signer(), new_signer(), new_signer()
KEYS = [ONE.public_key, TWO.public_key]


def reopen(data, threshold=1, keys=KEYS, kind=INDEX_TYPE):
    return open_envelope(data, kind, keys, threshold, what="it", limit=10_000)


def edit(data, **changes):
    return canonical.dump({**json.loads(data), **changes})


GOOD = envelop(b"payload", INDEX_TYPE, [ONE])


def test_opens():
    opened = reopen(GOOD)
    assert (opened.payload, opened.signers) == (b"payload", (ONE.public_key.keyid,))
    assert reopen(envelop(b"", INDEX_TYPE, [ONE, TWO]), 2).signers == tuple(sorted([ONE.public_key.keyid, TWO.public_key.keyid]))


def test_as_the_specification_says():
    """DSSE 1.0: the signature is over ``DSSEv1 <type length> <type> <length> <payload>``."""
    envelope = json.loads(GOOD)
    signature = base64.b64decode(envelope["signatures"][0]["sig"])

    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(ONE.public_key.keyval["public"]))
    key.verify(signature, f"DSSEv1 {len(INDEX_TYPE)} {INDEX_TYPE} 7 payload".encode())
    assert base64.b64decode(envelope["payload"]) == b"payload"
    assert envelope["payloadType"] == INDEX_TYPE


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (envelop(b"payload", INDEX_TYPE, [OTHER]), SignatureRefused),
        (envelop(b"payload", INDEX_TYPE, [ONE, OTHER]), SignatureRefused),
        (envelop(b"payload", EVENT_TYPE, [ONE]), FormatRefused),
        (edit(GOOD, payload=base64.b64encode(b"Payload").decode()), SignatureRefused),
        (edit(GOOD, payloadType=EVENT_TYPE), FormatRefused),
        (edit(GOOD, more=1), FormatRefused),
        (edit(GOOD, payload="cGF5bG9hZB=="), FormatRefused),
        (edit(GOOD, payload=json.loads(GOOD)["payload"] + "\n"), FormatRefused),
        (edit(GOOD, signatures=[{**json.loads(GOOD)["signatures"][0], "a": 1}]), FormatRefused),
        (edit(GOOD, signatures=json.loads(GOOD)["signatures"] * 2), FormatRefused),
        (edit(GOOD, signatures={}), FormatRefused),
        (edit(GOOD, signatures=[1]), FormatRefused),
        (edit(GOOD, payload=1), FormatRefused),
        (GOOD + b"\n", FormatRefused),
        (b"{}", FormatRefused),
        (b"[]", FormatRefused),
        (b"null", FormatRefused),
        (b"", FormatRefused),
    ],
    ids=[
        "stranger",
        "stranger too",
        "another type",
        "payload edited",
        "type edited",
        "unknown member",
        "base64 bits",
        "base64 newline",
        "member of a signature",
        "signature twice",
        "signatures of another type",
        "signature of another type",
        "payload of another type",
        "newline",
        "empty object",
        "array",
        "null",
        "empty",
    ],
)
def test_refused(data, error):
    with pytest.raises(error):
        reopen(data)


def test_none_signed():
    with pytest.raises((SignatureRefused, FormatRefused)):
        reopen(edit(GOOD, signatures=[]))


def test_threshold():
    with pytest.raises(SignatureRefused, match="expected 2, found 1"):
        reopen(GOOD, 2)


def test_one_bad_signature_spoils_it():
    """Also where the others would be enough."""
    document = json.loads(envelop(b"payload", INDEX_TYPE, [ONE, TWO]))
    document["signatures"][1]["sig"] = document["signatures"][0]["sig"]
    with pytest.raises(SignatureRefused, match="its signature is not valid"):
        reopen(canonical.dump(document))


def test_too_large():
    with pytest.raises(FormatRefused, match="too large"):
        open_envelope(GOOD, INDEX_TYPE, KEYS, 1, what="it", limit=10)


def test_detached():
    signature = sign_detached(b"event", EVENT_TYPE, ONE)
    verify_detached(b"event", EVENT_TYPE, ONE.public_key, signature, what="it")
    for payload, kind, key, wrong in (
        (b"Event", EVENT_TYPE, ONE, signature),
        (b"event", INDEX_TYPE, ONE, signature),
        (b"event", EVENT_TYPE, TWO, signature),
        (b"event", EVENT_TYPE, ONE, signature.upper()),
        (b"event", EVENT_TYPE, ONE, signature[:-2]),
        (b"event", EVENT_TYPE, ONE, ""),
    ):
        with pytest.raises(SignatureRefused):
            verify_detached(payload, kind, key.public_key, wrong, what="it")
