"""Which names belong to whom: patterns that could meet are refused."""

import itertools
from fnmatch import fnmatchcase

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import Usage
from registry.workflow.trust import _may_overlap, parse_fingerprint


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        ("clinical/*", "clinical/notes", True),
        ("clinical/*", "library/*", False),
        ("*/*", "library/tiny", True),
        ("*/notes", "clinical/*", True),
        ("*/notes", "*/tiny", False),
        ("library/a*", "library/*b", True),
        ("library/a*c", "library/b*", False),
        ("library/?", "library/a", True),
        ("library/?", "library/ab", False),
        ("library/??", "library/a*", True),
        ("lib*/x", "l*y/x", True),
        ("a/b", "a/b", True),
        ("a/b", "a/c", False),
        ("a/*b*", "a/*c*", True),
        ("a/b*", "a/b", True),
        ("a/b?*", "a/b", False),
    ],
)
def test_overlap(one, other, overlap):
    assert _may_overlap(one, other) is overlap
    assert _may_overlap(other, one) is overlap


PATTERNS = st.from_regex(r"[ab*?]{1,4}/[ab*?]{1,4}", fullmatch=True)


@given(PATTERNS, PATTERNS, st.from_regex(r"[ab]{1,5}/[ab]{1,5}", fullmatch=True))
def test_a_name_that_matches_both_is_an_overlap(one, other, name):
    if fnmatchcase(name, one) and fnmatchcase(name, other):
        assert _may_overlap(one, other)


SHORT_NAMES = ["".join(letters) for length in range(1, 6) for letters in itertools.product("ab", repeat=length)]


@settings(max_examples=40)
@given(PATTERNS, PATTERNS)
def test_exactly_the_patterns_that_meet(one, other):
    """Compared with trying every short name."""

    def meet(left, right):
        return any(fnmatchcase(name, left) and fnmatchcase(name, right) for name in SHORT_NAMES)

    halves = list(zip(one.split("/"), other.split("/"), strict=True))
    if all(meet(left, right) for left, right in halves):
        assert _may_overlap(one, other)
    elif all(len(left) + len(right) <= 5 for left, right in halves):
        assert not _may_overlap(one, other)


@pytest.mark.parametrize("text", ["", "7f3a", "g" * 64, "0" * 63, "0" * 65, "sha512:" + "0" * 64])
def test_not_a_fingerprint(text):
    with pytest.raises(Usage, match="not a fingerprint"):
        parse_fingerprint(text)


@pytest.mark.parametrize("text", ["AB" * 32, " ".join(["abab"] * 16), "ab:" * 31 + "ab", "sha256:" + "ab" * 32, "abab-" * 15 + "abab", "ABAB\n" * 16])
def test_a_fingerprint_as_people_write_it(text):
    assert parse_fingerprint(text) == "ab" * 32
