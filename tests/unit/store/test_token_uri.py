"""``pkcs11:`` URIs (RFC 7512): the part that airlock uses, and nothing looser."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import Usage
from registry.store.token_uri import TokenUri, parse_token_uri

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"pkcs11:object=release?module-path={MODULE}", TokenUri(MODULE, label="release")),
        (f"pkcs11:token=airlock;object=release?module-path={MODULE}", TokenUri(MODULE, token="airlock", label="release")),
        (f"pkcs11:id=%01%FF;serial=ab12;type=private?module-path={MODULE}", TokenUri(MODULE, serial="ab12", id=b"\x01\xff")),
        (f"pkcs11:token=My%20Token%3B;object=%C3%A9?module-path={MODULE}", TokenUri(MODULE, token="My Token;", label="é")),
        (f"pkcs11:object=a?pin-source=file:/run/pin&module-path={MODULE}", TokenUri(MODULE, label="a", pin_file=Path("/run/pin"))),
        (f"pkcs11:object=a?module-path={MODULE}&pin-source=file:///run/my%20pin", TokenUri(MODULE, label="a", pin_file=Path("/run/my pin"))),
    ],
)
def test_a_key_on_a_token(text, expected):
    assert parse_token_uri(text) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "begin with"),
        (f"hsm:object=a?module-path={MODULE}", "begin with"),
        (f"PKCS11:object=a?module-path={MODULE}", "begin with"),
        (f"pkcs11:token=a?module-path={MODULE}", "names no key"),
        ("pkcs11:object=a", "names no module-path"),
        ("pkcs11:object=a?module-path=libsofthsm2.so", "names no module-path"),
        (f"pkcs11:object=a;type=cert?module-path={MODULE}", "type=cert"),
        (f"pkcs11:object=a;object=b?module-path={MODULE}", "given twice"),
        (f"pkcs11:object=?module-path={MODULE}", "empty"),
        (f"pkcs11:object=a b?module-path={MODULE}", "percent-encoded"),
        (f"pkcs11:object=%zz?module-path={MODULE}", "percent-encoded"),
        (f"pkcs11:slot-id=1;object=a?module-path={MODULE}", "'slot-id'"),
        (f"pkcs11:object=a?module-path={MODULE}&module-name=x", "'module-name'"),
        (f"pkcs11:object=a?module-path={MODULE}&pin-source=|/usr/bin/pin", "pin-source"),
        (f"pkcs11:object=a?module-path={MODULE}&pin-source=file:pin", "pin-source"),
        (f"pkcs11:object=a?module-path={MODULE}&pin-source=file://host/pin", "pin-source"),
    ],
)
def test_anything_else_is_refused(text, why):
    with pytest.raises(Usage, match="not a key on a token") as refusal:
        parse_token_uri(text)
    assert why in refusal.value.why
    assert "pkcs11:token=" in refusal.value.hint


@pytest.mark.parametrize("text", [f"pkcs11:object=a?module-path={MODULE}&pin-value=1234", f"pkcs11:object=a;pin-value=1234?module-path={MODULE}"])
def test_a_pin_in_the_uri_is_refused_and_not_repeated(text):
    with pytest.raises(Usage, match="never given in an argument") as refusal:
        parse_token_uri(text)
    assert "1234" not in str(refusal.value.as_json())


@given(st.text(max_size=80))
def test_any_text_is_a_uri_or_refused(text):
    for whole in (text, f"pkcs11:{text}", f"pkcs11:object=a;{text}?module-path=/lib/a.so"):
        with contextlib.suppress(Usage):
            assert parse_token_uri(whole).module.is_absolute()
