"""What may stand on the outside of a medium."""

import pytest

from registry.errors import FormatRefused
from registry.media.labels import default_label, parse_medium_label, parse_serial
from registry.media.sets import new_set_id


def test_the_default_label_ends_as_the_set_and_is_one():
    set_id = new_set_id(1_790_000_000_000, bytes(range(10)))
    label = default_label(set_id, 12)
    assert label == f"{set_id[-6:]}-12"
    assert parse_medium_label(label, what="medium") == label
    assert default_label(new_set_id(1_790_000_000_000, bytes(10)), 1) != default_label(new_set_id(1_790_000_000_000, b"123456789x"), 1)


@pytest.mark.parametrize("text", ["a", "STICK-17", "XTY0EW-2", "1.a_b-c", "x" * 32])
def test_labels(text):
    assert parse_medium_label(text, what="medium") == text


@pytest.mark.parametrize("text", ["", ".", "..", "-a", "a b", "a/b", "../a", "x" * 33, "ä", "a\n", "a\0", None, 7, ["a"]])
def test_not_a_label(text):
    with pytest.raises(FormatRefused, match="can't be the label of a medium"):
        parse_medium_label(text, what="medium")


@pytest.mark.parametrize("text", ["", "AA00000000000489", "S/N:12-34.5_6+7", "x" * 64])
def test_serial_numbers(text):
    assert parse_serial(text, what="medium") == text


@pytest.mark.parametrize("text", [" ", "a b", "x" * 65, "ä", "a\n", "-a", None, 7])
def test_not_a_serial_number(text):
    with pytest.raises(FormatRefused, match="can't be a serial number"):
        parse_serial(text, what="medium")
