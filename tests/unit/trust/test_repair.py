"""Repair requests: one spelling, signed by the site they name."""

import base64
import json

import pytest

from registry.content import canonical
from registry.errors import FormatRefused, SignatureRefused
from registry.trust.envelope import REPAIR_TYPE, SITE_TYPE, envelop
from registry.trust.keys import new_signer, public_to_json
from registry.trust.repair import MAX_REPAIR_BYTES, RepairRequest, open_repair, parse_repair, sign_repair

SITE, OTHER = new_signer(), new_signer()
SET = "01M7ZR2K3RRPWNSYSEJR59BV9J"
GOOD = RepairRequest(SITE.public_key, SET, "2026-11-21T18:09:00Z", (1, 3, 7))


def members(**changes):
    return {**json.loads(GOOD.to_bytes()), **changes}


def test_opens():
    opened = open_repair(sign_repair(GOOD, SITE), what="it")
    assert opened == GOOD
    assert opened.site == SITE.public_key.keyid


def test_says_nothing_but_numbers():
    """What a gate for data going out reads: no names, no people, no hosts."""
    assert set(members()) == {"v", "site", "receipt_key", "set", "made", "parts"}


def test_the_longest_fits():
    longest = RepairRequest(SITE.public_key, SET, GOOD.made, tuple(range(1, 10_001)))
    data = sign_repair(longest, SITE)
    assert len(data) < MAX_REPAIR_BYTES
    assert open_repair(data, what="it") == longest


@pytest.mark.parametrize(
    "change",
    [
        {"parts": []},
        {"parts": [0]},
        {"parts": [10_001]},
        {"parts": [True]},
        {"parts": ["1"]},
        {"parts": [3, 1]},
        {"parts": [1, 1]},
        {"parts": "1"},
        {"parts": 1},
        {"set": "x"},
        {"set": SET.lower()},
        {"set": None},
        {"made": "yesterday"},
        {"site": OTHER.public_key.keyid},
        {"receipt_key": {}},
        {"v": 2},
        {"note": "by alice"},
    ],
    ids=",".join,
)
def test_anything_else_is_refused(change):
    with pytest.raises(FormatRefused):
        parse_repair(canonical.dump(members(**change)), what="it")
    with pytest.raises(FormatRefused):
        open_repair(envelop(canonical.dump(members(**change)), REPAIR_TYPE, [SITE]), what="it")


@pytest.mark.parametrize("name", sorted(members()))
def test_no_member_may_be_missing(name):
    document = members()
    del document[name]
    with pytest.raises(FormatRefused):
        parse_repair(canonical.dump(document), what="it")


def test_signed_by_another():
    with pytest.raises(SignatureRefused, match="signed by an unknown key"):
        open_repair(sign_repair(GOOD, OTHER), what="it")


def test_not_signed():
    with pytest.raises(SignatureRefused):
        open_repair(envelop(GOOD.to_bytes(), REPAIR_TYPE, []), what="it")


def test_another_key_in_it():
    """Then it is another site's: whoever asks can only ask for themselves."""
    data = canonical.dump(members(receipt_key=public_to_json(OTHER.public_key), site=OTHER.public_key.keyid))
    assert open_repair(envelop(data, REPAIR_TYPE, [OTHER]), what="it").site == OTHER.public_key.keyid
    with pytest.raises(SignatureRefused):
        open_repair(envelop(data, REPAIR_TYPE, [SITE]), what="it")


def test_another_kind_of_document():
    with pytest.raises(FormatRefused, match="carries something else"):
        open_repair(envelop(GOOD.to_bytes(), SITE_TYPE, [SITE]), what="it")


@pytest.mark.parametrize(
    "data", [b"", b"garbage", b"[]", b"{}", b'{"payload":1}', b'{"payload":"e30="}', b'{"payload":"!"}', bytes(MAX_REPAIR_BYTES + 1)]
)
def test_garbage(data):
    with pytest.raises(FormatRefused):
        open_repair(data, what="it")


def test_every_byte_counts():
    good = sign_repair(GOOD, SITE)
    for place in range(len(good)):
        data = bytearray(good)
        data[place] ^= 1
        with pytest.raises((FormatRefused, SignatureRefused)):
            open_repair(bytes(data), what="it")


def test_base64_has_one_spelling():
    envelope = json.loads(sign_repair(GOOD, SITE))
    envelope["payload"] = base64.b64encode(GOOD.to_bytes()).decode() + "\n"
    with pytest.raises(FormatRefused):
        open_repair(canonical.dump(envelope), what="it")
