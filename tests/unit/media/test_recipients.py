"""Recipients and identities in every suite: what is wrapped for one opens for that one alone."""

import hashlib
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from registry.errors import FormatRefused, RecipientRefused
from registry.media.recipients import SET_KEY_BYTES, Identity, Recipient, identity_for, new_identity, unwrap, wrap
from registry.media.sets import Header, parse_header
from registry.media.suites import SUITE_MLKEM1024_P384, SUITE_P384, SUITE_XWING, SUITES

SET_ID = "01M0000000000000000000TEST"
OTHER_SET = "01M0000000000000000000NEXT"
KEY = bytes(range(32))
IDENTITIES = {suite: new_identity(suite) for suite in SUITES}


@pytest.fixture(params=SUITES)
def suite(request):
    return request.param


@pytest.fixture
def identity(suite):
    return IDENTITIES[suite]


@pytest.fixture
def wrapped(identity):
    return wrap(KEY, identity.recipient, set_id=SET_ID)


def test_what_is_wrapped_opens(identity, wrapped):
    assert unwrap(wrapped, identity, set_id=SET_ID) == KEY


def test_lengths_are_those_of_the_table(suite, identity, wrapped):
    expected = {SUITE_XWING: (32, 1216, 1168), SUITE_P384: (48, 97, 145), SUITE_MLKEM1024_P384: (32, 1665, 1713)}
    entry = SUITES[suite]
    assert (len(identity.secret), len(identity.recipient.public), len(wrapped)) == expected[suite]
    assert (entry.private_bytes, entry.public_bytes, entry.wrapped_bytes) == expected[suite]


def test_an_identity_is_its_private_key(identity):
    again = Identity(identity.secret, identity.suite)
    assert again.recipient == identity.recipient
    assert again.recipient.key_id == hashlib.sha256(identity.recipient.public).hexdigest()


def test_two_identities_differ(suite):
    one, other = new_identity(suite), new_identity(suite)
    assert one.secret != other.secret
    assert one.recipient.key_id != other.recipient.key_id


def test_a_private_key_is_not_shown(identity):
    assert identity.secret.hex() not in repr(identity)
    assert str(identity.secret) not in repr(identity)


def test_wrapping_twice_gives_different_bytes(identity):
    assert wrap(KEY, identity.recipient, set_id=SET_ID) != wrap(KEY, identity.recipient, set_id=SET_ID)


def test_another_identity_opens_nothing(suite, wrapped):
    with pytest.raises(RecipientRefused, match="can't be opened"):
        unwrap(wrapped, new_identity(suite), set_id=SET_ID)


def test_another_set_opens_nothing(identity, wrapped):
    """A wrapped key moved to another set's header."""
    with pytest.raises(RecipientRefused, match="can't be opened"):
        unwrap(wrapped, identity, set_id=OTHER_SET)


def test_an_identity_of_another_suite_opens_nothing(suite, wrapped):
    for other, identity in IDENTITIES.items():
        if other != suite:
            with pytest.raises(RecipientRefused):
                unwrap(wrapped, identity, set_id=SET_ID)


def test_every_changed_byte_is_refused(identity, wrapped):
    for position in range(len(wrapped)):
        changed = bytearray(wrapped)
        changed[position] ^= 1 << position % 8
        with pytest.raises(RecipientRefused):
            unwrap(bytes(changed), identity, set_id=SET_ID)


def test_every_bit_of_a_p384_wrapping_is_refused():
    identity = IDENTITIES[SUITE_P384]
    wrapped = wrap(KEY, identity.recipient, set_id=SET_ID)
    for bit in range(8 * len(wrapped)):
        changed = bytearray(wrapped)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(RecipientRefused):
            unwrap(bytes(changed), identity, set_id=SET_ID)


def test_every_cut_is_refused(identity, wrapped):
    for length in [*range(0, len(wrapped), 7), len(wrapped) - 1]:
        with pytest.raises(RecipientRefused):
            unwrap(wrapped[:length], identity, set_id=SET_ID)
    with pytest.raises(RecipientRefused):
        unwrap(wrapped + b"\0", identity, set_id=SET_ID)


@pytest.mark.parametrize("length", [0, SET_KEY_BYTES - 1, SET_KEY_BYTES + 1])
def test_a_key_of_another_length_is_refused(identity, length):
    wrapped = wrap(bytes(length), identity.recipient, set_id=SET_ID)
    with pytest.raises(RecipientRefused, match=f"has {length} bytes"):
        unwrap(wrapped, identity, set_id=SET_ID)


# Public and private keys


def test_a_public_key_of_another_length_is_refused(suite, identity):
    public = identity.recipient.public
    for other in (b"", public[:-1], public + b"\0"):
        with pytest.raises(FormatRefused, match="wrong length"):
            Recipient(other, suite)


def test_a_point_off_the_curve_is_refused():
    for suite in (SUITE_P384, SUITE_MLKEM1024_P384):
        public = bytearray(IDENTITIES[suite].recipient.public)
        public[-1] ^= 1
        with pytest.raises(FormatRefused, match="not a public key of suite"):
            Recipient(bytes(public), suite)


@pytest.mark.parametrize("first", [0, 2, 3, 5, 6, 7])
def test_a_point_in_another_form_is_refused(first):
    """Uncompressed is the one spelling (RFC 9180, section 7.1.1); 6 and 7 are X9.62's hybrid forms of the same point."""
    public = IDENTITIES[SUITE_P384].recipient.public
    with pytest.raises(FormatRefused, match="not a public key of suite"):
        Recipient(bytes((first,)) + public[1:], SUITE_P384)


def test_an_encapsulation_key_out_of_range_is_refused():
    """FIPS 203, section 7.2: the modulus check."""
    for suite in (SUITE_XWING, SUITE_MLKEM1024_P384):
        public = b"\xff\xff\xff" + IDENTITIES[suite].recipient.public[3:]
        with pytest.raises(FormatRefused, match="not a public key of suite"):
            Recipient(public, suite)


def test_a_suite_nobody_knows_is_refused():
    with pytest.raises(FormatRefused, match="a suite that this airlock doesn't know") as refusal:
        Recipient(bytes(97), "p521")
    assert "update airlock" in refusal.value.hint
    with pytest.raises(FormatRefused):
        Identity(bytes(32), "p521")


@pytest.mark.parametrize("length", [0, 31, 33, 47, 49])
def test_a_private_key_of_another_length_is_refused(suite, length):
    with pytest.raises(FormatRefused):
        Identity(bytes(length), suite)


def test_a_p384_private_key_has_its_48_bytes_whatever_its_value():
    """RFC 9180, section 7.1.2: leading zeros stay."""
    identity = Identity((7).to_bytes(48, "big"), SUITE_P384)
    expected = ec.derive_private_key(7, ec.SECP384R1()).public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    assert identity.recipient.public == expected
    assert unwrap(wrap(KEY, identity.recipient, set_id=SET_ID), identity, set_id=SET_ID) == KEY


def test_mlkem1024_p384_keys_are_those_of_the_drafts_vector():
    """draft-ietf-hpke-pq, test vector for KEM 0x0051, KDF 0x0002, AEAD 0x0002: skRm, and the SHA-256 of pkRm."""
    identity = Identity(bytes.fromhex("dbdae0423ba0e5db3d6322601b8dc302d3051d4677142079c7bdf441f4c448dd"), SUITE_MLKEM1024_P384)
    assert identity.recipient.key_id == "5d0b42c6f1471a72045ec087a4c2e61875541f4550b513672f2d858eb1a133c3"


# The header


def test_a_header_names_its_suite(suite, identity, wrapped):
    header = Header(SET_ID, {identity.recipient.key_id: wrapped}, suite=suite)
    assert json.loads(header.to_bytes())["suite"] == suite
    assert parse_header(header.to_bytes(), what="set.json") == header


def test_a_header_with_a_key_of_another_length_is_refused(suite, identity, wrapped):
    for keys in ({identity.recipient.key_id: wrapped[:-1]}, {"0" * 64: wrapped, identity.recipient.key_id: wrapped + b"\0"}, {"0" * 64: b""}):
        with pytest.raises(FormatRefused, match="not a set's header") as refusal:
            parse_header(Header(SET_ID, keys, suite=suite).to_bytes(), what="set.json")
        assert "bytes of its suite" in refusal.value.why


def test_a_header_under_another_suite_is_refused(suite, identity, wrapped):
    for other in SUITES:
        if other != suite:
            with pytest.raises(FormatRefused, match="not a set's header"):
                parse_header(Header(SET_ID, {identity.recipient.key_id: wrapped}, suite=other).to_bytes(), what="set.json")


def test_a_header_of_tomorrow_says_what_to_do(identity, wrapped):
    data = Header(SET_ID, {identity.recipient.key_id: wrapped}, suite="p521-of-tomorrow").to_bytes()
    with pytest.raises(FormatRefused, match="a suite that this airlock doesn't know") as refusal:
        parse_header(data, what="set.json")
    assert "update airlock" in refusal.value.hint


def test_the_identity_for_a_set_has_its_suite_and_its_key(suite, identity, wrapped):
    keys = {identity.recipient.key_id: wrapped}
    assert identity_for(keys, suite, IDENTITIES.values()) == identity
    assert identity_for(keys, suite, [new_identity(suite), identity]) == identity  # an earlier identity still opens its sets
    assert identity_for(keys, suite, [new_identity(suite)]) is None
    assert identity_for(keys, suite, []) is None
    for other in SUITES:
        if other != suite:
            assert identity_for(keys, other, IDENTITIES.values()) is None
