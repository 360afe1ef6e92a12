"""Numbers in words, and which media have what is missing."""

import dataclasses

import pytest

from registry.workflow.arrivals import Expected
from registry.workflow.incomplete import missing_media, numbers_in_words

EXPECTED = Expected("01M7ZR2K3RRPWNSYSEJR59BV9J", "c" * 64, 6, 0, (), (), {}, (("A", 1, 2), ("", 3, 4), ("C", 5, 6)))


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ([], ""),
        ([7], "7"),
        ([1, 2], "1, 2"),
        ([1, 2, 3], "1 to 3"),
        ([1, 3, 4, 5, 6, 7], "1, 3 to 7"),
        ([1, 2, 4, 5, 6, 9, 11, 12], "1, 2, 4 to 6, 9, 11, 12"),
        (range(1, 10_001), "1 to 10000"),
        (range(1, 25, 2), "1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23"),
        (range(1, 27, 2), "1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23 and 1 more"),
        (range(1, 201, 2), "1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23 and 88 more"),
    ],
)
def test_numbers(numbers, words):
    assert numbers_in_words(numbers) == words


def test_media():
    assert list(missing_media(EXPECTED, [1, 4, 5, 6])) == [
        ("medium 1 of 3 (label A)", [1]),
        ("medium 2 of 3", [4]),
        ("medium 3 of 3 (label C)", [5, 6]),
    ]
    assert list(missing_media(EXPECTED, [])) == []
    assert list(missing_media(dataclasses.replace(EXPECTED, media=()), [1])) == []
    assert list(missing_media(dataclasses.replace(EXPECTED, media=(("A", 1, 6),)), [1])) == [], "the only one is the one at hand"
