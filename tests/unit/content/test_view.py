"""The published view: what the writer writes is what the parser accepts, and nothing else; what each name stands for."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.content.canonical import dump
from registry.content.digest import digest_of
from registry.content.view import PublishedRelease, Resolver, ServedState, View, parse_view
from registry.errors import FormatRefused

PUBLISHER = "ab" * 32


def release(repository="library/gemma3", tag="270m", number=1, state="promoted", content=b"1"):
    return PublishedRelease(PUBLISHER, repository, tag, number, ServedState(state), digest_of(content), digest_of(b"statement"))


VIEW = View(
    "site-1",
    7,
    (
        release(),
        release(number=2, state="approved", content=b"2"),
        release(tag="1b", number=3, state="approved", content=b"3"),
        release(repository="clinical/triage", tag="latest", number=1, content=b"4"),
    ),
)


def test_written_views_are_sorted_and_parse_to_the_same_view():
    data = VIEW.to_bytes()
    view = parse_view(data)
    assert [(r.repository, r.tag, r.number) for r in view.releases] == [
        ("clinical/triage", "latest", 1),
        ("library/gemma3", "1b", 3),
        ("library/gemma3", "270m", 1),
        ("library/gemma3", "270m", 2),
    ]
    assert set(view.releases) == set(VIEW.releases)
    assert view.to_bytes() == data
    assert (view.site, view.sequence) == ("site-1", 7)


def test_the_form_is_the_documented_one():
    digest = digest_of(b"1")
    assert (
        View("s", 1, (release(),), accepted=1_795_000_000, journals={digest: 3}).to_bytes()
        == (
            f'{{"accepted":1795000000,"journals":[{{"entries":3,"journal":"{digest}"}}],"nodes":[],"releases":[{{"manifest":"{digest}","number":1,"publisher":"{PUBLISHER}","repository":"library/gemma3","state":"promoted",'
            f'"statement":"{digest_of(b"statement")}",'
            '"tag":"270m"}],"rules":[],"sequence":1,"site":"s","tokens":[],"v":2,"withdrawn":[]}'
        ).encode()
    )


def test_an_empty_view_is_a_view():
    assert parse_view(View("s", 0, ()).to_bytes()) == View("s", 0, ())


@pytest.mark.parametrize(
    "change",
    [
        {"v": 3},
        {"v": True},
        {"accepted": -1},
        {"accepted": "2026"},
        {"accepted": True},
        {"journals": {}},
        {"journals": [1]},
        {"journals": [{"journal": digest_of(b"1"), "entries": 0}]},
        {"journals": [{"journal": digest_of(b"1"), "entries": True}]},
        {"journals": [{"journal": "sha256:1", "entries": 1}]},
        {"journals": [{"journal": digest_of(b"1"), "entries": 1}, {"journal": digest_of(b"1"), "entries": 2}]},
        {"extra": 1},
        {"site": ""},
        {"site": "two words"},
        {"site": 5},
        {"sequence": -1},
        {"sequence": "7"},
        {"sequence": True},
        {"releases": {}},
        {"releases": [1]},
        {"releases": None},
    ],
)
def test_other_members_are_refused(change):
    document = json.loads(VIEW.to_bytes()) | change
    with pytest.raises(FormatRefused):
        parse_view(dump(document))


def test_a_view_of_the_version_before_is_read_until_it_is_written_anew():
    document = json.loads(VIEW.to_bytes()) | {"v": 1}
    with pytest.raises(FormatRefused):
        parse_view(dump(document))  # of both versions at once
    del document["accepted"], document["journals"]
    with pytest.raises(FormatRefused):
        parse_view(dump(document | {"v": True}))
    assert parse_view(dump(document)) == parse_view(VIEW.to_bytes())


@pytest.mark.parametrize("member", ["v", "site", "sequence", "releases", "accepted", "journals"])
def test_missing_members_are_refused(member):
    document = json.loads(VIEW.to_bytes())
    del document[member]
    with pytest.raises(FormatRefused):
        parse_view(dump(document))


@pytest.mark.parametrize(
    "change",
    [
        {"publisher": "AB" * 32},
        {"publisher": "ab"},
        {"publisher": None},
        {"repository": "Library/gemma3"},
        {"repository": "gemma3"},
        {"repository": "library/gemma3:1"},
        {"repository": "a/../b"},
        {"repository": ["library/gemma3"]},
        {"tag": "270M"},
        {"tag": "270m-r1"},
        {"tag": "sha256-" + "0" * 60},
        {"tag": "cloud"},
        {"tag": "a:b"},
        {"tag": ""},
        {"number": 0},
        {"number": 10**9},
        {"number": True},
        {"number": "1"},
        {"state": "quarantine"},
        {"state": "withdrawn"},
        {"state": ["promoted"]},
        {"manifest": "sha256:" + "A" * 64},
        {"manifest": 1},
        {"extra": 1},
    ],
)
def test_a_release_that_is_not_one_is_refused(change):
    document = json.loads(View("s", 1, (release(),)).to_bytes())
    document["releases"][0] |= change
    with pytest.raises(FormatRefused):
        parse_view(dump(document))


def test_unsorted_and_doubled_releases_are_refused():
    document = json.loads(VIEW.to_bytes())
    for releases in (document["releases"][::-1], document["releases"][:1] * 2):
        with pytest.raises(FormatRefused):
            parse_view(dump(document | {"releases": releases}))


@pytest.mark.parametrize(
    "releases",
    [
        (release(number=1), release(number=2)),  # two promoted
        (release(), release(content=b"other")),  # one number, two manifests
        (release(number=0),),
        (release(tag="Upper"),),
    ],
)
def test_the_writer_never_writes_what_the_server_would_refuse(releases):
    with pytest.raises(ValueError, match="published view"):
        View("s", 1, releases).to_bytes()


@given(st.data())
def test_any_changed_byte_gives_another_view_or_a_refusal(data):
    good = VIEW.to_bytes()
    position = data.draw(st.integers(0, len(good) - 1))
    byte = data.draw(st.integers(0, 255))
    changed = good[:position] + bytes([byte]) + good[position + 1 :]
    try:
        view = parse_view(changed)
    except FormatRefused:
        return
    assert view.to_bytes() == changed


@given(st.binary(max_size=200))
def test_any_bytes_give_a_view_or_a_refusal(data):
    with contextlib.suppress(FormatRefused):
        assert parse_view(data).to_bytes() == data


def resolved(reference, repository="library/gemma3", view=VIEW):
    found = Resolver(view.releases).resolve(repository, reference)
    return found and (found.tag, found.number)


def test_a_plain_tag_is_the_promoted_release():
    assert resolved("270m") == ("270m", 1)
    assert resolved("1b") is None  # approved only


def test_release_tags_and_digests_also_find_approved_releases():
    for number, content in ((1, b"1"), (2, b"2")):
        digest = digest_of(content)
        assert resolved(f"270m-r{number}") == ("270m", number)
        assert resolved(digest) == ("270m", number)
        assert resolved(digest.replace(":", "-")) == ("270m", number)
    assert resolved("1b-r3") == ("1b", 3)


def test_everything_else_is_unknown():
    for reference in ("270m-r3", "270m-r01", "270m-r", "latest", "", digest_of(b"4"), digest_of(b"none"), "sha256:", "sha256-"):
        assert resolved(reference) is None, reference
    assert resolved("270m", "library/other") is None
    assert Resolver(()).resolve("library/gemma3", "270m") is None


def test_letter_case_does_not_matter_except_in_a_digest():
    digest = digest_of(b"1")
    assert resolved("270M", "Library/GEMMA3") == ("270m", 1)
    assert resolved("270M-R2") == ("270m", 2)
    assert resolved("SHA256-" + digest[7:].upper()) == ("270m", 1)
    assert resolved("sha256:" + digest[7:].upper()) is None
    assert Resolver(VIEW.releases).knows("LIBRARY/gemma3")
    assert not Resolver(VIEW.releases).knows("library/none")


def test_of_two_releases_with_the_same_bytes_the_promoted_one_answers_for_the_digest():
    for states in (("promoted", "approved"), ("approved", "promoted")):
        view = View("s", 1, tuple(release(number=n, state=state, content=b"same") for n, state in enumerate(states, 1)))
        assert Resolver(view.releases).resolve("library/gemma3", digest_of(b"same")).state is ServedState.PROMOTED
