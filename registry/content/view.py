"""The published view: which manifest each name stands for at a site, as the writer tells the server.

The file is canonical JSON and is replaced as a whole (``<home>/published/view.json``); quarantined and withdrawn releases don't appear in it::

    {"accepted":1795000000,"journals":[{"entries":120,"journal":"sha256:…"}],"nodes":[…],
     "releases":[{"manifest":"sha256:…","number":1,"publisher":"<64 hex>","repository":"library/gemma3","state":"promoted",
       "statement":"sha256:…","tag":"270m"},…],
     "rules":[…],"sequence":7,"site":"<site id>","tokens":[…],"v":2,"withdrawn":[…]}

``accepted`` is when the newest set was imported whole (Unix seconds; null before the first), ``journals`` how many lines of each access journal,
which is named by the digest of its first line, the site's log has on record: so that whoever watches the server sees both grow old.

:mod:`registry.content.callers` describes ``nodes``, ``rules`` and ``tokens``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from registry.content.callers import AccessRule, KnownNode, KnownToken, parse_nodes, parse_rules, parse_tokens
from registry.content.canonical import MAX_INTEGER, dump, load
from registry.content.digest import Digest, hex_of, parse_digest
from registry.content.reference import parse_reference
from registry.errors import FormatRefused

__all__ = ["MAX_VIEW_BYTES", "PublishedRelease", "Resolver", "ServedState", "View", "WithdrawnRelease", "parse_view", "withdrawn_by_name"]

MAX_VIEW_BYTES = 64 * 1024 * 1024
_VERSION = 2
_LARGEST_NUMBER = 999_999_999
_SITE = re.compile(r"[!-~]{1,128}\Z")
_PUBLISHER = re.compile(r"[0-9a-f]{64}\Z")
_MEMBERS = {"v", "site", "sequence", "releases", "withdrawn", "nodes", "rules", "tokens", "accepted", "journals"}
_SINCE_2 = {"accepted", "journals"}
_RELEASE_MEMBERS = {"publisher", "repository", "tag", "number", "state", "manifest", "statement"}


class ServedState(StrEnum):
    """The two states in which a release can be pulled."""

    APPROVED = "approved"
    PROMOTED = "promoted"


@dataclass(frozen=True, slots=True)
class PublishedRelease:
    """One release that may be served.

    ``publisher`` is 64 lower-case hexadecimal digits, ``repository`` is ``namespace/model`` and ``tag`` a pinnable tag, both in lower case;
    ``number`` is 1 to 999,999,999; ``manifest`` names the manifest's bytes in the blob store, ``statement`` those of the signed statement.
    """

    publisher: str
    repository: str
    tag: str
    number: int
    state: ServedState
    manifest: Digest
    statement: Digest


@dataclass(frozen=True, slots=True)
class WithdrawnRelease:
    """One release that is no longer served, and the sentence for whoever asks for it (1 to 400 printable characters)."""

    repository: str
    tag: str
    number: int
    manifest: Digest
    why: str


@dataclass(frozen=True, slots=True)
class View:
    """Everything a site serves, and whom it knows; ``sequence`` (0 to 2^53 − 1) grows with every change of what is published.

    ``accepted`` is Unix seconds, or None; ``journals`` has a number of lines (1 to 2^53 − 1) for each access journal.
    """

    site: str
    sequence: int
    releases: tuple[PublishedRelease, ...]
    withdrawn: tuple[WithdrawnRelease, ...] = ()
    nodes: tuple[KnownNode, ...] = ()
    rules: tuple[AccessRule, ...] = ()
    tokens: tuple[KnownToken, ...] = ()
    accepted: int | None = None
    journals: Mapping[Digest, int] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Return the canonical bytes, releases sorted by repository, tag and number.

        Raises:
            ValueError: two releases contradict each other, or a value isn't what :func:`parse_view` accepts: a mistake of ours.
        """
        data = dump(
            {
                "v": _VERSION,
                "site": self.site,
                "sequence": self.sequence,
                "releases": [
                    {
                        "publisher": release.publisher,
                        "repository": release.repository,
                        "tag": release.tag,
                        "number": release.number,
                        "state": str(release.state),
                        "manifest": release.manifest,
                        "statement": release.statement,
                    }
                    for release in sorted(self.releases, key=_order)
                ],
                "withdrawn": [
                    {"repository": each.repository, "tag": each.tag, "number": each.number, "manifest": each.manifest, "why": each.why}
                    for each in sorted(self.withdrawn, key=_order)
                ],
                "nodes": [each.as_json() for each in sorted(self.nodes, key=lambda node: node.name)],
                "rules": [each.as_json() for each in sorted(self.rules)],
                "tokens": [each.as_json() for each in sorted(self.tokens, key=lambda token: token.name)],
                "accepted": self.accepted,
                "journals": [{"journal": journal, "entries": entries} for journal, entries in sorted(self.journals.items())],
            }
        )
        try:
            parse_view(data)
        except FormatRefused as refusal:
            raise ValueError(str(refusal)) from refusal
        return data


def parse_view(data: bytes, *, what: str = "published view") -> View:
    """Return the view that ``data`` describes.

    Raises:
        FormatRefused: not the canonical bytes of a view of version 1 or 2, members unknown or missing, releases unsorted, one
            (repository, tag, number) twice, or two promoted releases for one (repository, tag).
    """
    document = load(data, what=what, limit=MAX_VIEW_BYTES)
    if isinstance(document, dict) and document.get("v") == 1 and document["v"] is not True and document.keys() == _MEMBERS - _SINCE_2:
        document = {**document, "v": _VERSION, "accepted": None, "journals": []}  # until the next command that writes publishes anew
    if not isinstance(document, dict) or document.keys() != _MEMBERS:
        raise FormatRefused(f"{what}: not a published view", why=f"expected exactly the members {', '.join(sorted(_MEMBERS))}")
    if type(document["v"]) is not int or document["v"] != _VERSION:
        raise FormatRefused(f"{what}: unknown version", why=f"expected {_VERSION}, found {str(document['v'])[:40]}", hint="update airlock")
    site, sequence, entries = document["site"], document["sequence"], document["releases"]
    if not isinstance(site, str) or not _SITE.match(site):
        raise FormatRefused(f"{what}: site is not a site id", why="expected 1 to 128 printable characters without spaces")
    if type(sequence) is not int or not 0 <= sequence <= MAX_INTEGER:
        raise FormatRefused(f"{what}: sequence is not a number from 0 to 2^53 − 1")
    if not isinstance(entries, list):
        raise FormatRefused(f"{what}: releases is not a list")
    releases = tuple(_release(entry, f"{what}: release {position}") for position, entry in enumerate(entries, 1))
    _refuse_contradictions(releases, what)
    if not isinstance(document["withdrawn"], list):
        raise FormatRefused(f"{what}: withdrawn is not a list")
    withdrawn = tuple(_withdrawn(entry, f"{what}: withdrawn release {position}") for position, entry in enumerate(document["withdrawn"], 1))
    if sorted(withdrawn, key=_order) != list(withdrawn):
        raise FormatRefused(f"{what}: its withdrawn releases are not sorted")
    nodes, rules, tokens = parse_nodes(document["nodes"], what), parse_rules(document["rules"], what), parse_tokens(document["tokens"], what)
    accepted, journals = _accepted(document["accepted"], what), _journals(document["journals"], what)
    return View(site, sequence, releases, withdrawn, nodes, rules, tokens, accepted, journals)


class Resolver:
    """What every name in one view stands for; pure, built once, then each question is one look-up."""

    def __init__(self, releases: Iterable[PublishedRelease]) -> None:
        """Index ``releases``, which come from one parsed view (or are a part of it)."""
        self._by_name: dict[tuple[str, str], PublishedRelease] = {}
        self._repositories: set[str] = set()
        for release in releases:
            self._repositories.add(release.repository)
            self._by_name[release.repository, f"{release.tag}-r{release.number}"] = release
            promoted = release.state is ServedState.PROMOTED
            if promoted:
                self._by_name[release.repository, release.tag] = release
            for name in (release.manifest, f"sha256-{hex_of(release.manifest)}"):
                # Two releases may be the same bytes; then the promoted one answers, so that more callers may have it.
                if promoted or (release.repository, name) not in self._by_name:
                    self._by_name[release.repository, name] = release

    def knows(self, repository: str) -> bool:
        """Say whether anything of ``repository`` is served, in whatever letter case it is written."""
        return repository.lower() in self._repositories

    def resolve(self, repository: str, reference: str) -> PublishedRelease | None:
        """Return the release that ``reference`` stands for in ``repository``, or None.

        A plain tag stands for the promoted release; ``TAG-rN``, ``sha256-<hex>`` and ``sha256:<hex>`` for approved and promoted ones.
        Letter case doesn't matter, because Ollama rewrites it (``types/model/name.go``), except in the digest form, which has only one.
        """
        name = reference if ":" in reference else reference.lower()
        return self._by_name.get((repository.lower(), name))


def withdrawn_by_name(withdrawn: Iterable[WithdrawnRelease]) -> dict[tuple[str, str], WithdrawnRelease]:
    """Return every name by which a withdrawn release could be asked for: (repository, TAG-rN, tag or digest), the newest release of a tag winning."""
    names: dict[tuple[str, str], WithdrawnRelease] = {}
    for each in sorted(withdrawn, key=_order):
        for name in (each.tag, f"{each.tag}-r{each.number}", each.manifest, f"sha256-{hex_of(each.manifest)}"):
            names[each.repository, name] = each
    return names


def _withdrawn(entry: object, what: str) -> WithdrawnRelease:
    if not isinstance(entry, dict) or entry.keys() != {"repository", "tag", "number", "manifest", "why"}:
        raise FormatRefused(f"{what}: not a withdrawn release")
    why = entry["why"]
    if not isinstance(why, str) or not why.isprintable() or not 1 <= len(why) <= 400:
        raise FormatRefused(f"{what}: why is not 1 to 400 printable characters")
    as_served = _release(
        {**{name: entry[name] for name in entry if name != "why"}, "publisher": "0" * 64, "state": "approved", "statement": entry["manifest"]}, what
    )
    return WithdrawnRelease(as_served.repository, as_served.tag, as_served.number, as_served.manifest, why)


def _accepted(value: object, what: str) -> int | None:
    if value is not None and (type(value) is not int or not 0 <= value <= MAX_INTEGER):
        raise FormatRefused(f"{what}: accepted is neither Unix seconds nor null")
    return value


def _journals(entries: object, what: str) -> dict[Digest, int]:
    if not isinstance(entries, list):
        raise FormatRefused(f"{what}: journals is not a list")
    journals: dict[Digest, int] = {}
    for entry in entries:
        if not isinstance(entry, dict) or entry.keys() != {"journal", "entries"}:
            raise FormatRefused(f"{what}: not a journal")
        journal, lines = parse_digest(entry["journal"], what=what), entry["entries"]
        if type(lines) is not int or not 1 <= lines <= MAX_INTEGER:
            raise FormatRefused(f"{what}: entries is not a number of lines")
        if journals and journal <= max(journals):
            raise FormatRefused(f"{what}: its journals are not sorted, or one stands there twice")
        journals[journal] = lines
    return journals


def _order(release: PublishedRelease | WithdrawnRelease) -> tuple[str, str, int]:
    return release.repository, release.tag, release.number


def _release(entry: object, what: str) -> PublishedRelease:
    if not isinstance(entry, dict) or entry.keys() != _RELEASE_MEMBERS:
        raise FormatRefused(f"{what}: not a release", why=f"expected exactly the members {', '.join(sorted(_RELEASE_MEMBERS))}")
    publisher, repository, tag, number = entry["publisher"], entry["repository"], entry["tag"], entry["number"]
    if not isinstance(publisher, str) or not _PUBLISHER.match(publisher):
        raise FormatRefused(f"{what}: publisher is not 64 lower-case hexadecimal digits")
    name = f"{repository}:{tag}"
    if not isinstance(repository, str) or not isinstance(tag, str) or str(parse_reference(name, pinnable=True)) != name:
        raise FormatRefused(f"{what}: repository and tag are not a name in lower case", why=f"found {name[:200]!r}")
    if type(number) is not int or not 1 <= number <= _LARGEST_NUMBER:
        raise FormatRefused(f"{what}: number is not 1 to {_LARGEST_NUMBER:,}")
    if entry["state"] not in ("approved", "promoted"):
        raise FormatRefused(f"{what}: state is neither approved nor promoted", why=f"found {str(entry['state'])[:40]!r}")
    manifest, statement = parse_digest(entry["manifest"], what=what), parse_digest(entry["statement"], what=what)
    return PublishedRelease(publisher, repository, tag, number, ServedState(entry["state"]), manifest, statement)


def _refuse_contradictions(releases: tuple[PublishedRelease, ...], what: str) -> None:
    promoted: set[tuple[str, str]] = set()
    for before, release in zip((None, *releases), releases, strict=False):
        name = f"{release.repository}:{release.tag}"
        if before is not None and _order(before) >= _order(release):
            raise FormatRefused(f"{what}: releases are not sorted, or one stands there twice", why=f"at {name}-r{release.number}")
        if release.state is ServedState.PROMOTED:
            if (release.repository, release.tag) in promoted:
                raise FormatRefused(f"{what}: two promoted releases for {name}")
            promoted.add((release.repository, release.tag))
