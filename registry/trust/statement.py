"""Release statements: this manifest is this name, with this number (in-toto Statement v1, the TUF target)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from registry.content import canonical
from registry.content.digest import Digest, hex_of, parse_digest
from registry.content.manifest import MANIFEST_TYPE, Descriptor
from registry.content.reference import Reference, parse_reference
from registry.errors import FormatRefused
from registry.trust.oms import BUNDLE_TYPE, MAX_BUNDLE_BYTES, OmsKey, parse_key

__all__ = ["MAX_STATEMENT_BYTES", "OMS", "OMS_UPSTREAM", "PREDICATE_TYPE", "Evidence", "Release", "parse_statement"]

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:model-airlock:release:v1"
MAX_STATEMENT_BYTES = 4 * 1024 * 1024
MAX_RELEASE_NUMBER = 999_999_999
OMS, OMS_UPSTREAM = "oms", "oms-upstream"
"""The kinds of evidence: an OMS bundle made by the station, and one made by whoever made the model."""
_HEX64 = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True)
class Evidence:
    """An OMS bundle that travels beside the model, never in its manifest: Ollama downloads every layer.

    ``key`` is the only key whose signature on it counts, ``name`` the signer's name of the model; ``files`` maps the signer's file names to the
    objects of the release that they stand for.
    """

    kind: str
    bundle: Descriptor
    key: OmsKey
    name: str
    files: Mapping[str, Digest]


@dataclass(frozen=True, slots=True)
class Release:
    """What a statement says.

    ``nonce`` is 32 random bytes in hexadecimal, so that nobody can confirm a guess from the statement's digest, which travels in clear.
    ``objects`` begins with the manifest; the blobs follow, layers first, config last.  ``source`` names where the model came from,
    ``inspection`` what airlock saw in it: text to text, for people.  An empty ``sites`` means any site.  ``evidence`` holds at most one of each kind.
    """

    publisher: str
    reference: Reference
    number: int
    nonce: str
    objects: tuple[Descriptor, ...]
    source: str
    inspection: Mapping[str, str] = field(default_factory=dict)
    sites: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()

    @property
    def carried(self) -> tuple[Descriptor, ...]:
        """Everything that travels and is kept: the objects, then the evidence."""
        return (*self.objects, *(each.bundle for each in self.evidence))

    @property
    def manifest(self) -> Descriptor:
        """The manifest's descriptor."""
        return self.objects[0]

    @property
    def name(self) -> str:
        """``namespace/model:TAG-rN``."""
        return f"{self.reference}-r{self.number}"

    def to_bytes(self) -> bytes:
        """Return the statement's canonical bytes."""
        return canonical.dump(
            {
                "_type": STATEMENT_TYPE,
                "subject": [{"name": self.name, "digest": {"sha256": hex_of(self.manifest.digest)}}],
                "predicateType": PREDICATE_TYPE,
                "predicate": {
                    "evidence": [_evidence_members(each) for each in self.evidence],
                    "extensions": {},
                    "inspection": dict(self.inspection),
                    "nonce": self.nonce,
                    "number": self.number,
                    "objects": [{"digest": each.digest, "mediaType": each.media_type, "size": each.size} for each in self.objects],
                    "publisher": self.publisher,
                    "repository": self.reference.repository,
                    "sites": list(self.sites),
                    "source": self.source,
                    "tag": self.reference.tag,
                },
            }
        )


def parse_statement(data: bytes, *, what: str) -> Release:
    """Return the release that ``data`` states; whether to believe it is the verifier's matter.

    Raises:
        FormatRefused: anything that :meth:`Release.to_bytes` would not write.
    """
    document = canonical.load(data, what=what, limit=MAX_STATEMENT_BYTES)
    try:
        predicate = document["predicate"]
        release = Release(
            publisher=_hex64(predicate["publisher"], what),
            reference=_reference(predicate["repository"], predicate["tag"], what),
            number=_number(predicate["number"], what),
            nonce=_hex64(predicate["nonce"], what),
            objects=tuple(_object(each, what) for each in predicate["objects"]),
            source=_text(predicate["source"], what),
            inspection={_text(key, what): _text(value, what) for key, value in predicate["inspection"].items()},
            sites=tuple(_hex64(each, what) for each in predicate["sites"]),
            evidence=tuple(_evidence(each, what) for each in predicate["evidence"]),
        )
    except (KeyError, TypeError, AttributeError, IndexError):
        raise FormatRefused(f"{what}: not a release statement", why="a member is missing or has another type") from None
    if not release.objects or release.manifest.media_type != MANIFEST_TYPE:
        raise FormatRefused(f"{what}: not a release statement", why="its first object is not a manifest")
    if len({each.digest for each in release.carried}) != len(release.carried):
        raise FormatRefused(f"{what}: not a release statement", why="it names one object twice")
    if len({each.kind for each in release.evidence}) != len(release.evidence):
        raise FormatRefused(f"{what}: not a release statement", why="it has two pieces of evidence of one kind")
    if not {digest for each in release.evidence for digest in each.files.values()} <= {each.digest for each in release.objects}:
        raise FormatRefused(f"{what}: not a release statement", why="its evidence is about files that are not in the release")
    # Members under "extensions" may be anything (docs/reference/format.md); everything else must be what we would write.
    extensions = predicate.get("extensions")
    if not isinstance(extensions, dict):
        raise FormatRefused(f"{what}: not a release statement", why="extensions is not an object")
    predicate["extensions"] = {}
    if canonical.dump(document) != release.to_bytes():
        raise FormatRefused(f"{what}: not a release statement", why="it has members that airlock doesn't know outside of extensions")
    return release


def _evidence_members(each: Evidence) -> dict[str, Any]:
    return {
        "digest": each.bundle.digest,
        "files": dict(each.files),
        "key": each.key.text,
        "kind": each.kind,
        "mediaType": each.bundle.media_type,
        "name": each.name,
        "size": each.bundle.size,
    }


def _evidence(value: Any, what: str) -> Evidence:
    bundle = _object(value, what)
    if value["kind"] not in (OMS, OMS_UPSTREAM) or bundle.media_type != BUNDLE_TYPE or bundle.size > MAX_BUNDLE_BYTES:
        raise FormatRefused(f"{what}: has evidence of an unknown kind", why=f"found {str(value['kind'])[:40]!r}", hint="update airlock first")
    files = {_text(name, what): parse_digest(digest, what=what) for name, digest in value["files"].items()}
    if not files:
        raise FormatRefused(f"{what}: its evidence is about no file")
    return Evidence(str(value["kind"]), bundle, parse_key(_text(value["key"], what), what=f"{what}: evidence"), _text(value["name"], what), files)


def _reference(repository: Any, tag: Any, what: str) -> Reference:
    name = f"{_text(repository, what)}:{_text(tag, what)}"
    reference = parse_reference(name, pinnable=True)
    if str(reference) != name:
        raise FormatRefused(f"{what}: a name is not in its canonical form", why=f"expected {reference}, found {name!r}")
    return reference


def _object(value: Any, what: str) -> Descriptor:
    size = value["size"]
    if type(size) is not int or size < 1:
        raise FormatRefused(f"{what}: an object has no size")
    return Descriptor(_text(value["mediaType"], what), parse_digest(value["digest"], what=what), size)


def _number(value: Any, what: str) -> int:
    if type(value) is not int or not 1 <= value <= MAX_RELEASE_NUMBER:
        raise FormatRefused(f"{what}: a release number is from 1 to {MAX_RELEASE_NUMBER}", why=f"found {str(value)[:20]}")
    return value


def _hex64(value: Any, what: str) -> str:
    if not isinstance(value, str) or not _HEX64.match(value):
        raise FormatRefused(f"{what}: expected 64 lower-case hexadecimal digits", why=f"found {str(value)[:80]!r}")
    return value


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or len(value) > 4096 or not value.isprintable():
        raise FormatRefused(f"{what}: expected up to 4,096 printable characters", why=f"found {str(value)[:40]!r}")
    return value
