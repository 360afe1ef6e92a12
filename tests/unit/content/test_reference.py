"""References: the names people and Ollama give to models."""

import pytest

from registry.content.reference import Reference, parse_reference, parse_repository, parse_selector
from registry.errors import FormatRefused, Usage


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("gemma3", "library/gemma3:latest"),
        ("gemma3:270m", "library/gemma3:270m"),
        ("Clinical/Notes:V1", "clinical/notes:v1"),
        ("a/b.c-d_e:q4_k_m", "a/b.c-d_e:q4_k_m"),
        ("x" * 80 + "/" + "y" * 80 + ":" + "z" * 80, "x" * 80 + "/" + "y" * 80 + ":" + "z" * 80),
    ],
)
def test_defaults_are_ollamas(text, full):
    assert str(parse_reference(text)) == full
    assert parse_reference(full) == parse_reference(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "/",
        "a/",
        "/a",
        "a:",
        "a/b/c",
        "a:b:c",
        "a b",
        "a/b:c d",
        "../a",
        "a/..",
        "..",
        ".a",
        "-a",
        "a/b:-c",
        "a.b/c",
        "ä",
        "a\n",
        "x" * 81,
        "a@b",
        "a:b@sha256",
    ],
)
def test_not_a_name(text):
    with pytest.raises(FormatRefused) as refusal:
        parse_reference(text)
    assert "not a model name" in refusal.value.what
    assert refusal.value.hint


@pytest.mark.parametrize("tag", ["3b-r7", "3b-r0", "a-r123", "sha256-abc", "cloud", "local", "120b-cloud", "x" * 71])
def test_reserved_tags_cannot_be_pinned(tag):
    assert parse_reference(f"m:{tag}").tag == tag
    with pytest.raises(FormatRefused, match="can't be pinned"):
        parse_reference(f"m:{tag}", pinnable=True)


@pytest.mark.parametrize("tag", ["3b-r", "3b-r7x", "r7", "sha256", "clouds", "cloudy-local", "x" * 70])
def test_tags_that_can(tag):
    assert parse_reference(f"m:{tag}", pinnable=True).tag == tag


@pytest.mark.parametrize(
    ("text", "reference", "number"),
    [
        ("tiny", "library/tiny:latest", None),
        ("tiny@3", "library/tiny:latest", 3),
        ("tiny:1b@3", "library/tiny:1b", 3),
        ("tiny:1b-r3", "library/tiny:1b", 3),
        ("tiny:1b-r3-r4", "library/tiny:1b-r3", 4),
        ("tiny:1b-r03", "library/tiny:1b-r03", None),
        ("tiny:1b-r0", "library/tiny:1b-r0", None),
        ("tiny@999999999", "library/tiny:latest", 999_999_999),
    ],
)
def test_selectors(text, reference, number):
    selector = parse_selector(text)
    assert (str(selector.reference), selector.number) == (reference, number)


@pytest.mark.parametrize("text", ["tiny@", "tiny@0", "tiny@01", "tiny@-1", "tiny@x", "tiny@1000000000", "tiny@1@2", "tiny@1\n"])
def test_not_a_release(text):
    with pytest.raises(Usage, match="after @ a release number is expected"):
        parse_selector(text)


def test_repositories():
    assert parse_repository("a/b", what="x") == "a/b"
    for text in ("a", "a/b/c", "A/b", "a/", None, 1, "a/b:c"):
        with pytest.raises(FormatRefused, match="x: not a repository name"):
            parse_repository(text, what="x")


def test_references_sort_by_name():
    assert min([Reference("b", "a", "a"), Reference("a", "b", "a"), Reference("a", "a", "b")]) == Reference("a", "a", "b")
