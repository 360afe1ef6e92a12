"""A receipt says which site it is of by the key that signed it; it has one spelling."""

import dataclasses

import pytest

from registry.content import canonical
from registry.content.digest import digest_of
from registry.errors import FormatRefused, SignatureRefused
from registry.trust.envelope import EVENT_TYPE, RECEIPT_TYPE, envelop
from registry.trust.keys import new_signer, public_to_json
from registry.trust.receipt import CompletedSet, Holding, PublisherState, Receipt, open_receipt, parse_receipt, sign_receipt

SITE = new_signer()
ONE, TWO = sorted(digest_of(bytes([number])) for number in range(2))
RECEIPT = Receipt(
    site=SITE.public_key.keyid,
    receipt_key=SITE.public_key,
    made="2026-11-28T18:09:00Z",
    checkpoint=(7, ONE),
    publishers=(PublisherState("ab" * 32, 1, 3, 3, 2, "2026-11-21T18:09:00Z"), PublisherState("cd" * 32, 1, None, None, None, None)),
    sets=(CompletedSet("01M7ZQEJKVBHWZASY02FSYWH07", TWO),),
    newest_set="01M7ZQEJKVBHWZASY02FSYWH07",
    holds=(Holding(ONE, 12, "01M7ZQEJKVBHWZASY02FSYWH07"), Holding(TWO, 1 << 40, None)),
)


def changed(**members):
    return canonical.dump({**canonical.load(RECEIPT.to_bytes(), what="x", limit=1 << 20), **members})


def test_round_trip():
    assert open_receipt(sign_receipt(RECEIPT, SITE), what="x") == RECEIPT


def test_the_order_of_what_is_given_does_not_matter():
    other = dataclasses.replace(RECEIPT, holds=RECEIPT.holds[::-1], publishers=RECEIPT.publishers[::-1])
    assert other.to_bytes() == RECEIPT.to_bytes()


def test_an_empty_site_has_a_receipt():
    empty = dataclasses.replace(RECEIPT, publishers=(), sets=(), newest_set=None, holds=())
    assert parse_receipt(empty.to_bytes(), what="x") == empty


def test_it_names_nobody_and_no_machine():
    """Gates against data leaks read it: these members and no others."""
    document = canonical.load(RECEIPT.to_bytes(), what="x", limit=1 << 20)
    assert set(document) == {"v", "site", "receipt_key", "made", "checkpoint", "publishers", "sets", "newest_set", "holds"}
    assert set(document["holds"][0]) == {"digest", "size", "set"}
    assert set(document["publishers"][0]) == {"publisher", "root", "timestamp", "snapshot", "targets", "issued"}


@pytest.mark.parametrize(
    "members",
    [
        {"v": 2},
        {"site": "ef" * 32},
        {"made": "yesterday"},
        {"made": "2026-11-28T18:09:00Z\n"},
        {"note": "anna was here"},
        {"checkpoint": {"sequence": 0, "digest": ONE}},
        {"checkpoint": {"sequence": True, "digest": ONE}},
        {"newest_set": "01m7zqejkvbhwzasy02fsywh07"},
        {"holds": [{"digest": ONE, "size": 12, "set": None}, {"digest": ONE, "size": 13, "set": None}]},
        {"holds": [{"digest": TWO, "size": 12, "set": None}, {"digest": ONE, "size": 13, "set": None}]},
        {"holds": [{"digest": ONE, "size": 0, "set": None}]},
        {"holds": [{"digest": ONE, "size": 1, "set": None, "path": "/home"}]},
        {"holds": {}},
        {"sets": [{"set": "01M7ZQEJKVBHWZASY02FSYWH07"}]},
        {"sets": None},
        {"publishers": ["ab" * 32]},
        {"receipt_key": None},
    ],
)
def test_any_other_member_is_refused(members):
    with pytest.raises(FormatRefused):
        parse_receipt(changed(**members), what="x")


def test_a_receipt_key_of_another_site_is_refused():
    with pytest.raises(FormatRefused, match="not a receipt of this version"):
        parse_receipt(changed(receipt_key=public_to_json(new_signer().public_key)), what="x")


def test_only_the_site_signs_its_receipt():
    """Whoever has the station's public key can seal anything to it."""
    with pytest.raises(SignatureRefused, match="signed by an unknown key"):
        open_receipt(envelop(RECEIPT.to_bytes(), RECEIPT_TYPE, [new_signer()]), what="x")
    with pytest.raises(SignatureRefused, match="not signed by enough keys"):
        open_receipt(envelop(RECEIPT.to_bytes(), RECEIPT_TYPE, []), what="x")


def test_an_event_of_the_site_is_no_receipt():
    with pytest.raises(FormatRefused, match="carries something else"):
        open_receipt(envelop(RECEIPT.to_bytes(), EVENT_TYPE, [SITE]), what="x")


def test_no_changed_byte_passes():
    data = sign_receipt(RECEIPT, SITE)
    for place in range(0, len(data), 7):
        bent = bytearray(data)
        bent[place] ^= 1
        with pytest.raises((FormatRefused, SignatureRefused)):
            open_receipt(bytes(bent), what="x")
