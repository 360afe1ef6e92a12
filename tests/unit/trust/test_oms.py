"""OMS bundles: what is written is read back, everything else is refused."""

import base64
import contextlib
import hashlib
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from registry.content.digest import digest_of
from registry.errors import FormatRefused, SignatureRefused
from registry.trust.keys import new_signer, signer_of
from registry.trust.oms import BUNDLE_TYPE, MAX_BUNDLE_BYTES, blob_name, key_of, oms_bundle, parse_key, parse_pem, verify_oms

FILES = {"a.gguf": digest_of(b"a"), "b.json": digest_of(b"b")}
SIGNER = new_signer("ecdsa-p384")
KEY = key_of(SIGNER)
BUNDLE = oms_bundle("tiny", FILES.items(), SIGNER)


def verify(bundle, files=FILES, key=KEY):
    return verify_oms(bundle, files, key, what="bundle")


def changed(change):
    """The bundle with ``change`` applied to its members: the signature is over what it was."""
    members = json.loads(BUNDLE)
    change(members)
    return json.dumps(members).encode()


def signed(change):
    """A bundle whose statement was changed before it was signed."""
    members = json.loads(BUNDLE)
    statement = json.loads(base64.b64decode(members["dsseEnvelope"]["payload"]))
    result = change(statement)
    payload = json.dumps(statement if result is None else result).encode()
    pae = b"DSSEv1 28 application/vnd.in-toto+json %d %s" % (len(payload), payload)
    signature = bytes.fromhex(SIGNER.sign(pae).signature)
    members["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    members["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(signature).decode()
    return json.dumps(members).encode()


def test_what_is_written_is_read_back():
    signer = verify(BUNDLE)
    assert (signer.name, dict(signer.files), signer.key) == ("tiny", FILES, KEY)
    assert verify(BUNDLE, {"b.json": digest_of(b"b")}).files == FILES, "it may list more than is asked for"


def test_members_of_a_bundle():
    """The members that other verifiers read, and how subject and hint come to be."""
    members = json.loads(BUNDLE)
    assert members["mediaType"] == BUNDLE_TYPE == "application/vnd.dev.sigstore.bundle.v0.3+json"
    assert members["verificationMaterial"]["publicKey"]["hint"] == hashlib.sha256(KEY.pem).hexdigest()
    statement = json.loads(base64.b64decode(members["dsseEnvelope"]["payload"]))
    digests = hashlib.sha256(hashlib.sha256(b"a").digest() + hashlib.sha256(b"b").digest()).hexdigest()
    assert statement["subject"] == [{"name": "tiny", "digest": {"sha256": digests}}]
    assert statement["predicateType"] == "https://model_signing/signature/v1.0"
    assert [each["name"] for each in statement["predicate"]["resources"]] == ["a.gguf", "b.json"]


def test_our_files_have_the_names_of_ollamas_store():
    assert blob_name(digest_of(b"a")) == f"sha256-{hashlib.sha256(b'a').hexdigest()}"


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_keys_are_read_from_pem_and_from_text(curve):
    pem = ec.generate_private_key(curve).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    key = parse_pem(pem, what="key")
    assert key.pem == pem
    assert parse_key(key.text, what="key") == key
    assert key.fingerprint == hashlib.sha256(pem).hexdigest()


def test_other_keys_are_refused():
    compressed = KEY._public().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    spelled = KEY.der[:20] + b"\x00" + compressed
    other_curve = ec.generate_private_key(ec.SECP256K1()).public_key()
    for text in ("", "x", "AAAA", "é", KEY.text + "\n", KEY.text[:-1], base64.b64encode(spelled).decode()):
        with pytest.raises(FormatRefused):
            parse_key(text, what="key")
    for pem in (b"", b"-----BEGIN PUBLIC KEY-----\n", KEY.der, other_curve.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)):
        with pytest.raises(FormatRefused):
            parse_pem(pem, what="key")
    with pytest.raises(FormatRefused):
        key_of(new_signer("ed25519"))


def test_another_key_is_refused():
    other = signer_of(ec.generate_private_key(ec.SECP384R1()), what="other")
    with pytest.raises(SignatureRefused, match="signed by another key"):
        verify(BUNDLE, key=key_of(other))
    unhinted = changed(lambda members: members["verificationMaterial"]["publicKey"].clear())
    assert verify(unhinted).files == FILES, "the hint only helps to find the key"
    with pytest.raises(SignatureRefused, match="its signature is not valid"):
        verify(unhinted, key=key_of(other))


@pytest.mark.parametrize("files", [{"a.gguf": digest_of(b"x")}, {"c.gguf": digest_of(b"a")}, {"sub/a.gguf": digest_of(b"a")}])
def test_files_it_does_not_cover(files):
    with pytest.raises(SignatureRefused, match="does not cover"):
        verify(BUNDLE, files)


def test_which_name_a_pinned_file_has():
    def named(files):
        return verify(oms_bundle("tiny", files.items(), SIGNER), {})

    inside = named({"gguf/a.gguf": digest_of(b"a"), "other.gguf": digest_of(b"b")})
    assert inside.name_of("a.gguf", digest_of(b"a")) == "gguf/a.gguf"
    assert inside.name_of("other.gguf", digest_of(b"a")) is None
    assert inside.name_of("a.gguf", digest_of(b"b")) is None
    assert named({".": digest_of(b"a")}).name_of("any.gguf", digest_of(b"a")) == ".", "a signature over one file names it by a dot"
    assert named({".": digest_of(b"a"), "b": digest_of(b"b")}).name_of("any.gguf", digest_of(b"a")) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda members: members.update(mediaType="application/vnd.dev.sigstore.bundle.v0.2+json"),
        lambda members: members.update(more=1),
        lambda members: members.pop("dsseEnvelope"),
        lambda members: members.update(verificationMaterial={"x509CertificateChain": {"certificates": []}, "tlogEntries": []}),
        lambda members: members["verificationMaterial"].update(tlogEntries=[{"logIndex": "1"}]),
        lambda members: members["verificationMaterial"].update(publicKey=[]),
        lambda members: members["dsseEnvelope"].update(payloadType="text/plain"),
        lambda members: members["dsseEnvelope"].update(payload=7),
        lambda members: members["dsseEnvelope"].update(payload=members["dsseEnvelope"]["payload"] + "\n"),
        lambda members: members["dsseEnvelope"].update(signatures=[]),
        lambda members: members["dsseEnvelope"]["signatures"].append(members["dsseEnvelope"]["signatures"][0]),
        lambda members: members["dsseEnvelope"]["signatures"][0].pop("sig"),
    ],
)
def test_other_bundles_are_refused(change):
    with pytest.raises(FormatRefused):
        verify(changed(change))


@pytest.mark.parametrize(
    "change",
    [
        lambda statement: statement.update(predicateType="https://model_signing/Digests/v0.1"),
        lambda statement: statement.update(_type="https://in-toto.io/Statement/v0.1"),
        lambda statement: statement["subject"].append(statement["subject"][0]),
        lambda statement: statement["subject"][0]["digest"].update(sha256="00" * 32),
        lambda statement: statement["subject"][0].update(name="\n"),
        lambda statement: statement["predicate"]["serialization"].update(method="shards", shard_size=1000),
        lambda statement: statement["predicate"]["serialization"].update(hash_type="blake2b"),
        lambda statement: statement["predicate"]["resources"][0].update(algorithm="blake2b"),
        lambda statement: statement["predicate"]["resources"].reverse(),
        lambda statement: statement["predicate"]["resources"].append(statement["predicate"]["resources"][0]),
        lambda statement: statement["predicate"]["resources"].clear(),
        lambda statement: statement["predicate"]["resources"][0].update(name=[]),
        lambda statement: statement["predicate"]["resources"][0].update(digest="AA" * 32),
        lambda statement: ["a list"],
    ],
)
def test_other_statements_are_refused_though_well_signed(change):
    with pytest.raises(FormatRefused):
        verify(signed(change))


def test_members_of_later_versions_are_ignored():
    """The predicate may grow: verifiers of 1.0 ignore what they don't know."""
    grown = signed(lambda statement: statement["predicate"].update(model_card={"licence": "x"}))
    assert verify(grown).files == FILES


def test_twins_and_sizes():
    twice = BUNDLE.replace(b'"keyid":""', b'"keyid":"","keyid":""')
    for data in (twice, b"", b"[]", b"\xff", b"[" * 200_000, b" " * (MAX_BUNDLE_BYTES + 1), b'{"a":' + b"9" * 10_000 + b"}"):
        with pytest.raises(FormatRefused):
            verify(data)


def test_every_flipped_bit_is_refused_or_says_the_same():
    """Whatever bit flips, nothing else than what was signed comes out; in our spelling nothing passes at all."""
    same = 0
    for position in range(len(BUNDLE) * 8):
        flipped = bytearray(BUNDLE)
        flipped[position // 8] ^= 1 << position % 8
        try:
            assert verify(bytes(flipped)) == verify(BUNDLE)
            same += 1
        except (FormatRefused, SignatureRefused):
            pass
    assert same == 0


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


def places(value, path=()):
    """Every place in a JSON value, as the keys and positions that lead there."""
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


@given(st.data())
def test_whatever_stands_in_a_statement_only_our_refusals_come_out(data):
    def change(statement):
        *path, last = data.draw(st.sampled_from([path for path in places(statement) if path]))
        for key in path:
            statement = statement[key]
        statement[last] = data.draw(ODD)

    with contextlib.suppress(FormatRefused, SignatureRefused):
        assert verify(signed(change)).files == FILES


@given(ODD.filter(lambda value: value is not None))
def test_whatever_is_signed_only_our_refusals_come_out(value):
    with pytest.raises(FormatRefused):
        verify(signed(lambda _: value))
