"""Digests: the name of bytes."""

import hashlib

import pytest

from registry.content.digest import digest_of, from_hex, hex_of, parse_digest
from registry.errors import FormatRefused

HEX = hashlib.sha256(b"abc").hexdigest()


def test_the_name_of_bytes():
    assert digest_of(b"abc") == parse_digest(f"sha256:{HEX}") == from_hex(HEX)
    assert hex_of(digest_of(memoryview(b"abc"))) == HEX


@pytest.mark.parametrize(
    "text",
    [
        HEX,
        f"sha256:{HEX.upper()}",
        f"SHA256:{HEX}",
        f"sha256-{HEX}",
        f"sha256:{HEX[:-1]}",
        f"sha256:{HEX}0",
        f"sha256:{HEX}\n",
        f" sha256:{HEX}",
        "",
        None,
        7,
        b"x",
    ],
)
def test_wrong_case_or_length(text):
    with pytest.raises(FormatRefused, match="not a digest"):
        parse_digest(text)
