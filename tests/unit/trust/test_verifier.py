"""The one place that decides whether a statement may be believed."""

import dataclasses
import json

import pytest
from tuf.api.metadata import TargetFile

from registry.content import canonical
from registry.content.digest import digest_of
from registry.content.manifest import MANIFEST_TYPE, Descriptor
from registry.content.reference import parse_reference
from registry.errors import FormatRefused, TrustRefused
from registry.trust.roles import target_path
from registry.trust.statement import Release, parse_statement
from registry.trust.verifier import VerifiedRelease, verify_release

A, B = (f"sha256:{digit * 64}" for digit in "ab")
PUBLISHER, SITE = "c" * 64, "d" * 64
RELEASE = Release(
    PUBLISHER, parse_reference("clinical/notes:3b"), 7, "e" * 64, (Descriptor(MANIFEST_TYPE, A, 400), Descriptor("x/y", B, 9)), "file:n.gguf"
)


def judge(release=RELEASE, *, listed=True, length=None, namespaces=("*/*",), known=None):
    statement = release if isinstance(release, bytes) else release.to_bytes()
    digest = digest_of(statement)
    target = TargetFile(length or len(statement), {"sha256": digest[7:]}, target_path(digest))
    targets = {target_path(digest): target} if listed else {}
    return verify_release(statement, publisher=PUBLISHER, targets=targets, namespaces=namespaces, site=SITE, known=lambda *_: known)


def test_believed():
    verified = judge()
    assert verified.release == RELEASE
    assert verified.digest == digest_of(RELEASE.to_bytes())
    assert judge(dataclasses.replace(RELEASE, sites=(SITE, "0" * 64))).release.sites == (SITE, "0" * 64)
    assert judge(known=A)
    assert judge(namespaces=("library/*", "clinical/n*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"listed": False}, "not in the publisher's signed list"),
        ({"length": 1}, "not in the publisher's signed list"),
        ({"release": dataclasses.replace(RELEASE, publisher="0" * 64)}, "by another publisher"),
        ({"namespaces": ("library/*",)}, "outside of what this publisher may publish here"),
        ({"namespaces": ("clinical",)}, "outside of what"),
        ({"namespaces": ()}, "outside of what"),
        ({"release": dataclasses.replace(RELEASE, sites=("0" * 64,))}, "not meant for this site"),
        ({"known": B}, "a second content for a release that is on record"),
    ],
)
def test_not_believed(arguments, message):
    with pytest.raises(TrustRefused, match=message):
        judge(**arguments)


def test_nobody_else_makes_one():
    with pytest.raises(TypeError):
        VerifiedRelease(RELEASE, RELEASE.to_bytes(), object())


def edit(**changes):
    document = json.loads(RELEASE.to_bytes())
    document["predicate"].update(changes)
    return canonical.dump(document)


OBJECT = {"digest": B, "mediaType": "x/y", "size": 9}
BAD = {
    "tag in upper case": edit(tag="3B"),
    "reserved tag": edit(tag="3b-r7"),
    "repository of three parts": edit(repository="a/b/c"),
    "number 0": edit(number=0),
    "number as text": edit(number="7"),
    "true as number": edit(number=True),
    "giant number": edit(number=10**10),
    "short nonce": edit(nonce="e" * 63),
    "no objects": edit(objects=[]),
    "manifest not first": edit(objects=[OBJECT]),
    "object twice": edit(objects=[{"digest": A, "mediaType": MANIFEST_TYPE, "size": 400}, OBJECT, OBJECT]),
    "empty object": edit(objects=[{"digest": A, "mediaType": MANIFEST_TYPE, "size": 0}]),
    "object with more": edit(objects=[{"digest": A, "mediaType": MANIFEST_TYPE, "size": 1, "a": 1}]),
    "source that moves the cursor": edit(source="file:\x1b[2J"),
    "long source": edit(source="x" * 5000),
    "inspection of another type": edit(inspection=[]),
    "sites of another type": edit(sites=7),
    "unknown member": edit(more=1),
    "extensions": edit(extensions=[]),
    "another subject": canonical.dump({**json.loads(RELEASE.to_bytes()), "subject": []}),
    "another type": canonical.dump({**json.loads(RELEASE.to_bytes()), "_type": "x"}),
    "another predicate": canonical.dump({**json.loads(RELEASE.to_bytes()), "predicateType": "x"}),
    "no predicate": canonical.dump({"predicate": None}),
    "an array": b"[]",
    "white space": RELEASE.to_bytes() + b" ",
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_not_a_statement(data):
    with pytest.raises(FormatRefused):
        parse_statement(data, what="x")


def test_extensions_may_be_anything():
    assert parse_statement(edit(extensions={"anything": [1, {"a": "b"}]}), what="x").reference == RELEASE.reference
