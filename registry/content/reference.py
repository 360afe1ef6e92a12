"""References: the names people and Ollama give to models.

A name is ``[namespace/]model[:tag]`` with Ollama's defaults ``library`` and ``latest`` (ollama, ``types/model/name.go``).  Clients rewrite
letter case to that of names they know, so airlock keeps names in lower case and looks them up so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from registry.errors import FormatRefused, Usage

__all__ = ["Reference", "Selector", "parse_reference", "parse_repository", "parse_selector"]

# isValidPart in types/model/name.go: at most 80 characters, first one a letter, digit or underscore; "." is barred from namespaces.
_NAMESPACE = re.compile(r"[a-z0-9_][a-z0-9_-]{0,79}\Z")
_MODEL = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,79}\Z")
_RELEASE_TAG = re.compile(r"(?P<tag>.+)-r(?P<number>[1-9][0-9]{0,8})\Z")
_LONGEST_PINNED_TAG = 70  # leaves room for "-r" and the release number within Ollama's 80


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """A model's name without the registry's host: ``namespace/model:tag``, all lower case."""

    namespace: str
    model: str
    tag: str

    @property
    def repository(self) -> str:
        """``namespace/model``: what the OCI distribution specification calls the repository name."""
        return f"{self.namespace}/{self.model}"

    def __str__(self) -> str:
        return f"{self.namespace}/{self.model}:{self.tag}"


@dataclass(frozen=True, slots=True)
class Selector:
    """What a person typed to choose a release: a reference, and the release number if they gave one."""

    reference: Reference
    number: int | None = None

    def __str__(self) -> str:
        return str(self.reference) if self.number is None else f"{self.reference}-r{self.number}"


def parse_reference(text: str, *, pinnable: bool = False) -> Reference:
    """Return the reference that ``text`` names.

    Args:
        text: ``[namespace/]model[:tag]``, any letter case.
        pinnable: also refuse tags that airlock or Ollama give a meaning of their own: ``…-r<digits>``, ``sha256-…``, ``cloud``,
            ``local``, ``…-cloud``, and tags longer than 70 characters.

    Raises:
        FormatRefused: not a name that a stock Ollama accepts, or not one that can be pinned.
    """
    lower = text.lower()
    path, colon, tag = lower.partition(":")
    namespace, slash, model = path.partition("/")
    if not slash:
        namespace, model = "library", namespace
    if not colon:
        tag = "latest"
    for part, form, kind in ((namespace, _NAMESPACE, "namespace"), (model, _MODEL, "model"), (tag, _MODEL, "tag")):
        if not form.match(part):
            raise FormatRefused(
                f"{text!r}: not a model name",
                why=f"the {kind} {part!r} is not 1 to 80 letters, digits, '_', '-'" + (" or '.'" if kind != "namespace" else ""),
                hint="names look like library/gemma3:270m",
            )
    if pinnable:
        _refuse_reserved(text, tag)
    return Reference(namespace, model, tag)


def _refuse_reserved(text: str, tag: str) -> None:
    why = ""
    if re.search(r"-r[0-9]+\Z", tag):
        why = "tags that end in -r and digits name releases"
    elif tag.startswith("sha256-"):
        why = "tags that begin with sha256- name digests"
    elif tag in ("cloud", "local") or tag.endswith("-cloud"):
        why = "Ollama gives the tags cloud, local and …-cloud a meaning of its own"
    elif len(tag) > _LONGEST_PINNED_TAG:
        why = f"a pinned tag has at most {_LONGEST_PINNED_TAG} characters, this one has {len(tag)}"
    if why:
        raise FormatRefused(f"{text!r}: can't be pinned", why=why, hint="choose another tag")


def parse_repository(text: object, *, what: str) -> str:
    """Return ``text`` as a repository name ``namespace/model`` in lower case as written, or refuse it."""
    if isinstance(text, str):
        namespace, slash, model = text.partition("/")
        if slash and _NAMESPACE.match(namespace) and _MODEL.match(model):
            return text
    raise FormatRefused(f"{what}: not a repository name", why=f"expected namespace/model in lower case, found {str(text)[:80]!r}")


def parse_selector(text: str) -> Selector:
    """Return what ``NAME``, ``NAME@N`` or ``NAME:TAG-rN`` chooses.

    Raises:
        Usage: ``N`` is not a whole number from 1 to 999,999,999.
        FormatRefused: as :func:`parse_reference`.
    """
    name, at, number = text.partition("@")
    if at:
        if not re.match(r"[1-9][0-9]{0,8}\Z", number):
            raise Usage(f"{text!r}: not a release", why=f"after @ a release number is expected, found {number!r}", hint="write NAME@3 or NAME:TAG-r3")
        return Selector(parse_reference(name), int(number))
    reference = parse_reference(text)
    match = _RELEASE_TAG.match(reference.tag)
    if match is None:
        return Selector(reference)
    return Selector(Reference(reference.namespace, reference.model, match["tag"]), int(match["number"]))
