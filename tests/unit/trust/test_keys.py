"""Signing keys: four algorithms, one spelling of each key and of each signature."""

import base64
import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, mldsa, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import CryptoSigner, Signature, SSlibKey
from tuf.api.metadata import Metadata

from registry.content.digest import digest_of
from registry.errors import FormatRefused, SignatureRefused, TrustRefused
from registry.trust.envelope import INDEX_TYPE, envelop, open_envelope, sign_detached, verify_detached
from registry.trust.keys import ALGORITHMS, new_signer, private_from_json, private_to_json, public_from_json, public_to_json, signer_of
from registry.trust.refresh import Age, OfferedMetadata, adopt_publisher, fingerprint, refresh
from registry.trust.roles import RoleKeys, new_root, new_snapshot, new_targets, new_timestamp, serialise
from registry.trust.spelling import spell_p384

NOW = datetime(2026, 11, 21, 18, 9, tzinfo=UTC)
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973
SIGNERS = {name: new_signer(name) for name in ALGORITHMS}
P384, MLDSA = SIGNERS["ecdsa-p384"], SIGNERS["ml-dsa-65"]


@pytest.fixture(params=sorted(ALGORITHMS))
def signer(request):
    """A key pair of each algorithm."""
    return SIGNERS[request.param]


def flipped(signature):
    """The other valid ECDSA signature over the same bytes, which anybody can compute."""
    r, s = decode_dss_signature(bytes.fromhex(signature.signature))
    return Signature(signature.keyid, encode_dss_signature(r, ORDER - s).hex())


# Keys


def test_a_private_key_comes_back(signer):
    again = private_from_json(private_to_json(signer), public_from_json(public_to_json(signer.public_key), what="key"))
    assert again.public_key == signer.public_key
    signer.public_key.verify_signature(again.sign(b"data"), b"data")


def test_a_key_that_is_not_the_private_keys_is_refused(signer):
    other = new_signer({value.public_key.keyid: name for name, value in SIGNERS.items()}[signer.public_key.keyid])
    with pytest.raises(Exception, match="does not match"):
        private_from_json(private_to_json(signer), other.public_key)


def test_a_public_key_comes_back(signer):
    members = public_to_json(signer.public_key)
    assert set(members) == {"keytype", "scheme", "keyval"}
    key = public_from_json(members, what="key")
    assert key == signer.public_key
    assert key.keyid == SSlibKey.from_crypto(signer._private_key.public_key()).keyid  # the key id every TUF client computes


def test_what_airlock_signs_any_tuf_client_verifies(signer):
    """Plain securesystemslib accepts what our stricter keys accept."""
    plain = SSlibKey.from_dict(signer.public_key.keyid, public_to_json(signer.public_key))
    plain.verify_signature(signer.sign(b"data"), b"data")


def test_ml_dsa_signs_the_payload_of_tap_21():
    signature = bytes.fromhex(MLDSA.sign(b"data").signature)
    key = load_pem_public_key(MLDSA.public_key.keyval["public"].encode())
    assert isinstance(key, mldsa.MLDSA65PublicKey)
    key.verify(signature, b"tuf\x01" + hashlib.sha512(b"data").digest())


def pem(key):
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def with_public(members, text):
    return {**members, "keyval": {"public": text}}


def compressed_point(text):
    """The same P-384 key with its point compressed: SubjectPublicKeyInfo of 72 bytes."""
    point = load_pem_public_key(text.encode()).public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    der = bytes.fromhex("3046301006072a8648ce3d020106052b81040022033200") + point
    body = base64.encodebytes(der).decode()
    return f"-----BEGIN PUBLIC KEY-----\n{body}-----END PUBLIC KEY-----\n"


RESPELLED = {
    "no final newline": str.rstrip,
    "CRLF": lambda text: text.replace("\n", "\r\n"),
    "a comment before": lambda text: "key\n" + text,
    "a second block": lambda text: text + text,
    "a space": lambda text: text.replace("\n", " \n", 2),
    "other line lengths": lambda text: text[:60] + "\n" + text[60:],
    "longer than any": lambda text: text + "\n" * 5000,
    "not ASCII": lambda text: "é" + text,
    "empty": lambda text: "",
    "no key": lambda text: "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
}


@pytest.mark.parametrize("algorithm", ["ecdsa-p384", "ml-dsa-65", "ml-dsa-87"])
@pytest.mark.parametrize("respell", RESPELLED.values(), ids=RESPELLED)
def test_a_pem_key_in_another_spelling_is_refused(algorithm, respell):
    """One key under two key ids could fill a threshold of two."""
    members = public_to_json(SIGNERS[algorithm].public_key)
    with pytest.raises(FormatRefused):
        public_from_json(with_public(members, respell(members["keyval"]["public"])), what="key")


def test_a_compressed_point_is_refused():
    members = public_to_json(P384.public_key)
    other = compressed_point(members["keyval"]["public"])
    assert pem(load_pem_public_key(other.encode())) == members["keyval"]["public"]  # the same key, indeed
    with pytest.raises(FormatRefused, match="another spelling"):
        public_from_json(with_public(members, other), what="key")


@pytest.mark.parametrize("change", [str.upper, lambda text: text[:-1], lambda text: text + "0", lambda text: "g" + text[1:]])
def test_an_ed25519_key_in_another_spelling_is_refused(change):
    members = public_to_json(SIGNERS["ed25519"].public_key)
    with pytest.raises(FormatRefused):
        public_from_json(with_public(members, change(members["keyval"]["public"])), what="key")


def test_keys_of_other_algorithms_are_refused():
    strangers = [
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP521R1()),
        rsa.generate_private_key(65537, 2048),
        mldsa.MLDSA44PrivateKey.generate(),
        x25519.X25519PrivateKey.generate(),
    ]
    for private in strangers:
        with pytest.raises(FormatRefused):
            signer_of(private, what="key")


@pytest.mark.parametrize("scheme", ["ecdsa-sha2-nistp384", "ml-dsa-65/1", "ml-dsa-87/1", "ed25519"])
def test_a_key_under_another_scheme_is_refused(signer, scheme):
    members = public_to_json(signer.public_key)
    if scheme != members["scheme"]:
        for keytype in ("ed25519", "ecdsa", "ml-dsa"):
            with pytest.raises(FormatRefused):
                public_from_json({**members, "keytype": keytype, "scheme": scheme}, what="key")


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"keytype": "ed25519", "scheme": "ed25519", "keyval": {}},
        {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": 1}},
        {"keytype": ["ecdsa"], "scheme": "ecdsa-sha2-nistp384", "keyval": {"public": ""}},
        {"keytype": "ecdsa", "scheme": {}, "keyval": {"public": ""}},
        {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": "00" * 32}, "more": 1},
        {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": "00" * 32, "private": ""}},
    ],
)
def test_what_is_no_key_is_refused(value):
    with pytest.raises(FormatRefused):
        public_from_json(value, what="key")


@given(st.text(max_size=300))
def test_any_text_is_a_key_or_refused(text):
    for algorithm in ("ecdsa-p384", "ml-dsa-65"):
        with pytest.raises(FormatRefused):
            public_from_json(with_public(public_to_json(SIGNERS[algorithm].public_key), text), what="key")


# Signatures


def test_the_flipped_signature_is_valid_ecdsa_and_still_refused():
    signature = P384.sign(b"data")
    SSlibKey.from_dict(signature.keyid, public_to_json(P384.public_key)).verify_signature(flipped(signature), b"data")
    with pytest.raises(UnverifiedSignatureError, match="one spelling"):
        P384.public_key.verify_signature(flipped(signature), b"data")


def test_ed25519_with_s_plus_the_group_order_is_refused():
    """RFC 8032, section 5.1.7: the malleability that older verifiers had."""
    signer = SIGNERS["ed25519"]
    signature = bytes.fromhex(signer.sign(b"data").signature)
    order = 2**252 + 27742317777372353535851937790883648493
    changed = signature[:32] + (int.from_bytes(signature[32:], "little") + order).to_bytes(32, "little")
    with pytest.raises(UnverifiedSignatureError):
        signer.public_key.verify_signature(Signature(signer.public_key.keyid, changed.hex()), b"data")


def test_the_library_alone_makes_the_other_spelling_too():
    """Without our signer about half of the signatures have the higher s."""
    plain = CryptoSigner(P384._private_key)
    signatures = [plain.sign(b"data").signature for _ in range(40)]
    lower = [text == spell_p384(*decode_dss_signature(bytes.fromhex(text))) for text in signatures]
    assert set(lower) == {True, False}


def test_every_signature_we_make_verifies():
    for number in range(40):
        P384.public_key.verify_signature(P384.sign(b"%d" % number), b"%d" % number)


OTHER_SPELLINGS = {
    "upper case": lambda text: text.upper(),
    "a byte more": lambda text: text + "00",
    "a digit more": lambda text: text + "0",
    "white space": lambda text: text[:2] + " " + text[2:],
    "empty": lambda text: "",
    "not hexadecimal": lambda text: "zz" + text[2:],
}


@pytest.mark.parametrize("respell", OTHER_SPELLINGS.values(), ids=OTHER_SPELLINGS)
def test_a_signature_in_another_spelling_is_refused(signer, respell):
    signature = signer.sign(b"data")
    with pytest.raises(UnverifiedSignatureError):
        signer.public_key.verify_signature(Signature(signature.keyid, respell(signature.signature)), b"data")


def integer(value):
    body = value.to_bytes((value.bit_length() + 8) // 8, "big")
    return bytes((2, len(body))) + body


DER = {
    "r with a leading zero": lambda r, s: (b"\x02" + bytes((len(integer(r)) - 1,)) + b"\x00" + integer(r)[2:]) + integer(s),
    "r of 0": lambda r, s: integer(0) + integer(s),
    "s of 0": lambda r, s: integer(r) + integer(0),
    "r plus n": lambda r, s: integer(r + ORDER) + integer(s),
    "s plus n": lambda r, s: integer(r) + integer(s + ORDER),
    "s minus n": lambda r, s: integer(r) + b"\x02\x31" + (s - ORDER).to_bytes(49, "big", signed=True),
    "n for s": lambda r, s: integer(r) + integer(ORDER),
    "three numbers": lambda r, s: integer(r) + integer(s) + integer(1),
    "one number": lambda r, s: integer(r),
}


@pytest.mark.parametrize("body", DER.values(), ids=DER)
@pytest.mark.parametrize("length", ["short", "long", "indefinite"])
def test_odd_der_is_refused(body, length):
    """The kinds of encodings that Wycheproof's ECDSA tests list."""
    signature = P384.sign(b"data")
    inner = body(*decode_dss_signature(bytes.fromhex(signature.signature)))
    prefix = {"short": bytes((0x30, len(inner))), "long": bytes((0x30, 0x81, len(inner))), "indefinite": b"\x30\x80"}[length]
    data = prefix + inner + (b"\x00\x00" if length == "indefinite" else b"")
    with pytest.raises(UnverifiedSignatureError):
        P384.public_key.verify_signature(Signature(signature.keyid, data.hex()), b"data")


@pytest.mark.parametrize("algorithm", ["ed25519", "ecdsa-p384", "ml-dsa-65"])
def test_every_flipped_bit_is_refused(algorithm):
    signer = SIGNERS[algorithm]
    signature = bytes.fromhex(signer.sign(b"data").signature)
    step = 1 if len(signature) < 200 else 29  # ML-DSA: 26,472 bits, every 29th
    for bit in range(0, 8 * len(signature), step):
        changed = bytearray(signature)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(UnverifiedSignatureError):
            signer.public_key.verify_signature(Signature(signer.public_key.keyid, changed.hex()), b"data")


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.binary(max_size=120))
def test_whatever_bytes_come_as_a_signature_are_refused(data):
    with pytest.raises(UnverifiedSignatureError):
        P384.public_key.verify_signature(Signature(P384.public_key.keyid, data.hex()), b"data")


def test_envelopes_and_events_refuse_the_flip():
    data = envelop(b"{}", INDEX_TYPE, [P384])
    assert open_envelope(data, INDEX_TYPE, [P384.public_key], 1, what="index", limit=9999).payload == b"{}"
    signature = base64.b64decode(data.split(b'"sig":"')[1].split(b'"')[0])
    other = bytes.fromhex(flipped(Signature(P384.public_key.keyid, signature.hex())).signature)
    changed = data.replace(base64.b64encode(signature), base64.b64encode(other))
    assert changed != data
    with pytest.raises(SignatureRefused):
        open_envelope(changed, INDEX_TYPE, [P384.public_key], 1, what="index", limit=9999)
    event = sign_detached(b"{}", INDEX_TYPE, P384)
    verify_detached(b"{}", INDEX_TYPE, P384.public_key, event, what="event")
    with pytest.raises(SignatureRefused):
        verify_detached(b"{}", INDEX_TYPE, P384.public_key, flipped(Signature(P384.public_key.keyid, event)).signature, what="event")


# Roles


class Publisher:
    """A publisher whose release role is hybrid: one classical and one ML-DSA key, threshold 2."""

    def __init__(self, classical="ecdsa-p384", quantum="ml-dsa-65"):
        self.root, self.station = new_signer(classical), new_signer(classical)
        self.release = [SIGNERS[classical], SIGNERS[quantum]]
        one = RoleKeys([self.station.public_key])
        self.roles = {
            "root": RoleKeys([self.root.public_key]),
            "targets": RoleKeys([each.public_key for each in self.release], 2),
            "snapshot": one,
            "timestamp": one,
        }
        self.first = new_root(1, self.roles, [self.root], NOW)

    def offer(self, version, signers, edit=lambda data: data, now=NOW):
        """Everything a set carries; ``edit`` changes the targets bytes before snapshot and timestamp are made."""
        targets = edit(new_targets(version, {digest_of(b"statement"): 9}, signers, now))
        snapshot = new_snapshot(version, targets, [self.station], now)
        return OfferedMetadata((self.first,), new_timestamp(version, snapshot, [self.station], now), snapshot, targets)

    def refresh(self, offered):
        return refresh(adopt_publisher(offered, fingerprint(self.first)), offered, now=NOW, floor=None)


@pytest.mark.parametrize("classical", ["ed25519", "ecdsa-p384"])
@pytest.mark.parametrize("quantum", ["ml-dsa-65", "ml-dsa-87"])
def test_a_hybrid_role_takes_both_keys(classical, quantum):
    publisher = Publisher(classical, quantum)
    assert publisher.refresh(publisher.offer(1, publisher.release)).age is Age.NEWER
    for signer in publisher.release:
        with pytest.raises(SignatureRefused):
            publisher.refresh(publisher.offer(1, [signer]))


def test_a_hybrid_role_refuses_a_broken_half():
    """Whoever breaks one of the two algorithms has won nothing."""
    publisher = Publisher()

    def broken(keep):
        def edit(data):
            metadata = Metadata.from_bytes(data)
            forged = new_signer("ecdsa-p384" if keep is MLDSA else "ml-dsa-65").sign(metadata.signed_bytes).signature
            lost = next(each for each in publisher.release if each is not keep)
            metadata.signatures[lost.public_key.keyid].signature = forged
            return serialise(metadata)

        return edit

    for keep in publisher.release:
        with pytest.raises(SignatureRefused):
            publisher.refresh(publisher.offer(1, publisher.release, broken(keep)))


def test_metadata_with_a_flipped_signature_are_refused():
    """Otherwise a courier could make an honest station look as if it had signed one version number twice."""
    publisher = Publisher()
    good = publisher.offer(1, publisher.release)
    trusted = publisher.refresh(good).trusted

    def flip(data):
        metadata = Metadata.from_bytes(data)
        for keyid, signature in metadata.signatures.items():
            if signature.keyid == publisher.station.public_key.keyid:
                metadata.signatures[keyid] = flipped(signature)
        return serialise(metadata)

    changed = OfferedMetadata(good.roots, flip(good.timestamp), good.snapshot, good.targets)
    assert changed.timestamp != good.timestamp
    with pytest.raises(SignatureRefused):
        refresh(trusted, changed, now=NOW, floor=None)


def test_root_keys_may_be_of_another_algorithm_after_a_rotation():
    publisher = Publisher("ed25519")
    quantum = new_signer("ml-dsa-87")
    roles = {**publisher.roles, "root": RoleKeys([quantum.public_key])}
    second = new_root(2, roles, [publisher.root, quantum], NOW)
    offered = publisher.offer(1, publisher.release)
    rotated = OfferedMetadata((publisher.first, second), offered.timestamp, offered.snapshot, offered.targets)
    assert publisher.refresh(rotated).root.version == 2
    unsigned = new_root(2, roles, [quantum], NOW)
    with pytest.raises((SignatureRefused, TrustRefused)):
        publisher.refresh(OfferedMetadata((publisher.first, unsigned), offered.timestamp, offered.snapshot, offered.targets))


def test_a_role_key_of_another_algorithm_is_refused():
    """python-tuf alone would accept RSA and P-256 in a root."""
    publisher = Publisher("ed25519")
    stranger = CryptoSigner.generate_ecdsa()
    roles = {**publisher.roles, "targets": RoleKeys([stranger.public_key])}
    root = new_root(1, roles, [publisher.root], NOW)
    targets = new_targets(1, {}, [stranger], NOW)
    snapshot = new_snapshot(1, targets, [publisher.station], NOW)
    offered = OfferedMetadata((root,), new_timestamp(1, snapshot, [publisher.station], NOW), snapshot, targets)
    with pytest.raises(FormatRefused, match="not a public key that airlock uses"):
        refresh(adopt_publisher(offered, fingerprint(root)), offered, now=NOW + timedelta(days=1), floor=None)
