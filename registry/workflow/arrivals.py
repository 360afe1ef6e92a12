"""Arrivals: which parts of an unfinished set are here, recorded so that the same command continues and ``import --status`` can tell."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry.content import canonical
from registry.errors import FormatRefused, MediumDamaged
from registry.store.files import read_limited, replace_file, storage_errors

__all__ = ["Arrivals", "Expected", "arriving_sets"]

_BYTES = 8 << 20
_NAME = re.compile(r"([0-9A-Z]{26})\.arrivals\Z")


@dataclass(frozen=True, slots=True)
class Expected:
    """What is known of an unfinished set: how many parts and parity parts it has, its releases, and its media.

    ``needed`` are the parts without which it isn't whole here, ``damaged`` those that were found damaged, and why.  ``media`` are label, first
    and last part of each medium, as far as the media at hand hinted; ``seen`` the numbers of those that were at hand.
    """

    set_id: str
    publisher: str
    parts: int
    parity: int
    releases: tuple[str, ...]
    needed: tuple[int, ...]
    damaged: Mapping[int, str]
    media: tuple[tuple[str, int, int], ...] = ()
    seen: tuple[int, ...] = ()


class Arrivals:
    """The record of one unfinished set in ``incoming``."""

    def __init__(self, incoming: Path, set_id: str) -> None:
        self._path = incoming / f"{set_id}.arrivals"
        self._incoming = incoming
        self._set_id = set_id
        document = _read(self._path) or {"done": [], "expected": {}}
        self.done: set[int] = set(document["done"])
        """The parts, and parity parts, that were taken in to their end and are on our disk."""
        self._expected: dict[str, Any] = document["expected"]

    def parity_file(self, number: int) -> Path:
        """Return where the content of a parity part lies until the set is whole."""
        return self._incoming / f"{self._set_id}.parity-{number}"

    def add(self, *numbers: int) -> None:
        """Record parts whose bytes are durable."""
        self.done.update(numbers)
        self._save()

    def remove(self, *numbers: int) -> None:
        """Take parts back that turned out to be damaged."""
        self.done.difference_update(numbers)
        self._save()

    def expect(self, expected: Expected) -> None:
        """Record what is known of the set; what earlier runs knew of its media stays."""
        before = self._expected
        labels = {(first, last): label for label, first, last in before.get("media", [])}
        media = [[label or labels.get((first, last), ""), first, last] for label, first, last in expected.media] or before.get("media", [])
        self._expected = {
            "publisher": expected.publisher,
            "parts": expected.parts,
            "parity": expected.parity,
            "releases": list(expected.releases),
            "needed": list(expected.needed),
            "damaged": {str(number): why for number, why in expected.damaged.items()},
            "media": media,
            "seen": sorted({*before.get("seen", ()), *expected.seen}),
        }
        self._save()

    def forget(self) -> None:
        """Remove the record, and the parity parts: the set is whole, or is not wanted any more."""
        for leftover in self._incoming.glob(f"{self._set_id}.parity-*"):
            leftover.unlink(missing_ok=True)
        self._path.unlink(missing_ok=True)

    def _save(self) -> None:
        document = {"v": 1, "done": sorted(self.done), "expected": self._expected}
        with storage_errors(f"the store {self._incoming.parent}"):
            self._incoming.mkdir(mode=0o700, exist_ok=True)
            replace_file(self._path, canonical.dump(document), mode=0o600)


def arriving_sets(incoming: Path) -> Iterator[Expected]:
    """Yield every unfinished set, with the parts that are still missing as its ``needed``, newest first."""
    for path in sorted(incoming.glob("*.arrivals"), reverse=True):
        document, match = _read(path), _NAME.match(path.name)
        if document and document["expected"] and match:
            yield _expected(match[1], set(document["done"]), document["expected"])


def _expected(set_id: str, done: set[int], said: Mapping[str, Any]) -> Expected:
    return Expected(
        set_id=set_id,
        publisher=said["publisher"],
        parts=said["parts"],
        parity=said["parity"],
        releases=tuple(said["releases"]),
        needed=tuple(number for number in said["needed"] if number not in done),
        damaged={int(number): why for number, why in said["damaged"].items() if int(number) not in done},
        media=tuple((label, first, last) for label, first, last in said["media"]),
        seen=tuple(said["seen"]),
    )


def _read(path: Path) -> dict[str, Any] | None:
    """Return a record, or None where there is none that makes sense: taking a part again is always safe."""
    try:
        document = canonical.load(read_limited(path, _BYTES, what=path.name), what=path.name, limit=_BYTES)
        return document if _makes_sense(document) else None
    except (OSError, FormatRefused, MediumDamaged):
        return None


def _makes_sense(document: Any) -> bool:
    try:
        version, done, said = document["v"], document["done"], document["expected"]
        known = _expected("", set(done), said) if said else None
    except (KeyError, TypeError, ValueError, AttributeError):
        return False
    numbers = [
        *done,
        *((known.parts, known.parity, *known.needed, *known.seen, *(each for _, *span in known.media for each in span)) if known else ()),
    ]
    texts = [known.publisher, *known.releases, *known.damaged.values(), *(label for label, _, _ in known.media)] if known else []
    return version == 1 and isinstance(said, dict) and all(type(each) is int for each in numbers) and all(isinstance(each, str) for each in texts)
