"""Pins: a file that people read, diff and edit."""

from datetime import UTC, datetime

import pytest

from registry.content.pins import Pin, parse_pins, with_pin
from registry.content.reference import parse_reference
from registry.errors import FormatRefused

DIGEST = "sha256:" + "a" * 64
PIN = Pin(parse_reference("tiny:1b"), DIGEST, "file:/models/tiny.gguf", datetime(2026, 11, 21, 18, 9, tzinfo=UTC), newline_dropped=True)


def test_reads_like_this():
    assert with_pin("", PIN) == (
        "# What this station publishes: each name fixed to one manifest.\n"
        '# "airlock pin" writes this file; read it, diff it, keep it under version control.\n'
        "v = 1\n"
        "[[pin]]\n"
        'name = "library/tiny:1b"\n'
        f'manifest = "{DIGEST}"\n'
        'source = "file:/models/tiny.gguf"\n'
        "pinned = 2026-11-21T18:09:00Z\n"
        "newline_dropped = true\n"
    )
    assert parse_pins(with_pin("", PIN), what="pins.toml") == {PIN.reference: PIN}


def test_no_file_no_pins():
    assert parse_pins("", what="pins.toml") == {}


def test_comments_and_order_stay():
    text = with_pin(with_pin("", PIN), Pin(parse_reference("other:1b"), DIGEST, "file:/o.gguf", PIN.pinned))
    text = text.replace("[[pin]]", "# asked for by the lab\n[[pin]]", 1)
    again = with_pin(text, Pin(PIN.reference, "sha256:" + "b" * 64, "file:/new.gguf", PIN.pinned))
    assert "# asked for by the lab\n[[pin]]" in again
    assert list(parse_pins(again, what="x")) == list(parse_pins(text, what="x"))
    changed = [line for line in again.splitlines() if line not in text.splitlines()]
    assert changed == ['manifest = "sha256:' + "b" * 64 + '"', 'source = "file:/new.gguf"']


GOOD = with_pin("", PIN)


@pytest.mark.parametrize(
    "text",
    [
        "v = 2\n",
        "v = 1\nmore = 1\n",
        "pin = 1",
        GOOD.replace("v = 1", ""),
        GOOD + GOOD.partition("v = 1\n")[2],
        GOOD.replace(DIGEST, DIGEST.upper()),
        GOOD.replace("library/tiny:1b", "tiny:1b-r1"),
        GOOD.replace("library/tiny:1b", "../tiny"),
        GOOD.replace("newline_dropped = true", 'newline_dropped = "yes"'),
        GOOD.replace("newline_dropped = true\n", ""),
        GOOD + "more = 1\n",
        GOOD.replace("2026-11-21T18:09:00Z", '"yesterday"'),
        GOOD.replace('name = "', "name = '"),
        "v = 1\n[pin]\nname = 1\n",
        "\x00",
    ],
)
def test_refused(text):
    with pytest.raises(FormatRefused) as refusal:
        parse_pins(text, what="pins.toml")
    assert "pins.toml" in refusal.value.what or "not a" in refusal.value.what or "can't be pinned" in refusal.value.what
