"""A receipt file opens for those it is sealed to, whole or not at all."""

import json

import pytest

from registry.errors import FormatRefused, MediumDamaged, RecipientRefused
from registry.media import receipt_file
from registry.media.receipt_file import open_receipt_file, seal_receipt
from registry.media.recipients import new_identity
from registry.media.stream import sealed_size
from registry.media.suites import SUITES

ENVELOPE = b'{"payload":"..."}' * 10
ONE, OTHER, STRANGER = new_identity(), new_identity(), new_identity()


def halves(data):
    line, _, body = data.partition(b"\n")
    return line, body


@pytest.mark.parametrize("suite", SUITES)
def test_it_opens_in_every_suite(suite):
    identity = new_identity(suite)
    data = seal_receipt(ENVELOPE, [identity.recipient])
    assert open_receipt_file(data, [STRANGER, identity], what="x") == ENVELOPE


def test_every_station_it_is_sealed_to_opens_it():
    p384 = new_identity("p384-hkdf-sha384-aes-256-gcm")
    data = seal_receipt(ENVELOPE, [ONE.recipient, p384.recipient, ONE.recipient])
    assert [open_receipt_file(data, [each], what="x") for each in (ONE, p384)] == [ENVELOPE, ENVELOPE]
    assert len(json.loads(halves(data)[0])["keys"]) == 2


def test_nobody_else_does():
    with pytest.raises(RecipientRefused, match="sealed to other stations"):
        open_receipt_file(seal_receipt(ENVELOPE, [ONE.recipient]), [STRANGER], what="x")


def test_it_does_not_show_what_it_holds():
    assert b"payload" not in seal_receipt(ENVELOPE, [ONE.recipient])


def test_its_length_is_known():
    line, body = halves(seal_receipt(ENVELOPE, [ONE.recipient]))
    assert len(body) == sealed_size(len(ENVELOPE))
    assert not line.startswith(b"\n")


def test_no_changed_byte_passes():
    data = seal_receipt(ENVELOPE, [ONE.recipient])
    for place in {*range(200), *range(200, len(data), 13), *range(len(data) - 40, len(data))}:
        bent = bytearray(data)
        bent[place] ^= 1
        with pytest.raises((FormatRefused, MediumDamaged, RecipientRefused)):
            open_receipt_file(bytes(bent), [ONE], what="x")


@pytest.mark.parametrize("cut", [0, 1, 100, 1700, 1760, -1])
def test_a_cut_file_is_refused(cut):
    with pytest.raises((FormatRefused, MediumDamaged)):
        open_receipt_file(seal_receipt(ENVELOPE, [ONE.recipient])[:cut], [ONE], what="x")


def test_a_longer_file_is_refused():
    with pytest.raises(MediumDamaged):
        open_receipt_file(seal_receipt(ENVELOPE, [ONE.recipient]) + b"x", [ONE], what="x")


def test_lines_and_streams_cannot_be_exchanged():
    one, other = (seal_receipt(ENVELOPE, [ONE.recipient]) for _ in range(2))
    with pytest.raises(MediumDamaged, match="damaged"):
        open_receipt_file(halves(one)[0] + b"\n" + halves(other)[1], [ONE], what="x")


def test_another_recipients_key_cannot_stand_for_ours():
    """The wrapped key is bound to the key id it was made for."""
    line, body = halves(seal_receipt(ENVELOPE, [OTHER.recipient]))
    document = json.loads(line)
    document["keys"][0]["key"] = ONE.recipient.key_id
    with pytest.raises(RecipientRefused, match="can't be opened"):
        open_receipt_file(json.dumps(document, separators=(",", ":"), sort_keys=True).encode() + b"\n" + body, [ONE], what="x")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b'{"format":"airlock-receipt-v1"}',
        b'{"format":"airlock-receipt-v1","keys":[]}',
        b'{"format":"airlock-receipt-v1","keys":{}}',
        b'{"format":"airlock-receipt-v1","keys":[1]}',
        b'{"format":"airlock-receipt-v1","keys":[{"key":"x","suite":"x","wrapped":""}]}',
        b'{"format":"airlock-receipt-v1","keys":[{"key":1,"suite":"x","wrapped":""}]}',
        b'{"format":"airlock-receipt-v1","keys":[{"key":"' + b"ab" * 32 + b'","suite":"x","wrapped":"\xc3\xa4"}]}',
        b'{"format":"airlock-receipt-v1","keys":[],"more":1}',
        b'{"format":"airlock-receipt-v10","keys":[]}',
        b'{"format":"airlock-receipt-v1",' + b" " * receipt_file.MAX_LINE_BYTES + b'"keys":[]}',
    ],
)
def test_odd_first_lines_are_refused(line):
    with pytest.raises(FormatRefused):
        open_receipt_file(line + b"\n" + b"x" * 100, [ONE], what="x")
