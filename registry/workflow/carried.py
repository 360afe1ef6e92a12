"""What a set carries: which pins, where their blobs lie, in which order, in parts of which size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from registry.content.digest import Digest
from registry.content.pins import Pin
from registry.content.reference import Reference
from registry.errors import NotFound, TrustRefused, Usage
from registry.media.index import MAX_PART_BYTES, MAX_PARTS, MIN_PART_BYTES, Object
from registry.media.parity import MAX_SHARES, Group, group_parts
from registry.media.seal import Seal
from registry.sources.pinning import locate
from registry.store.blobs import LocalBlobStore
from registry.store.home import Home
from registry.trust.statement import parse_statement
from registry.workflow.pin import pinned_manifest, read_pins
from registry.workflow.publication import PinnedRelease

__all__ = ["DEFAULT_PART_BYTES", "Layout", "Shape", "chosen_pins", "evidence_of", "lay_out", "objects_in_order", "sizes_of", "sources_of"]

DEFAULT_PART_BYTES = 1 << 30
_MIB = 1 << 20
_MOST_FILES = MAX_PARTS - 2  # the last group and the last parity part may round up
_LEAST_PARITY = Fraction(1, MAX_SHARES - 2)  # a parity part for each group, whatever the share
_PARTS_PER_MEDIUM = 16  # where part sizes are ours to choose: the least that a medium is left empty by, is a sixteenth


@dataclass(frozen=True, slots=True)
class Shape:
    """How a set is cut: the largest part (None: as it suits), the share of parity parts, and whether it is sealed."""

    part_size: int | None = None
    parity: Fraction = Fraction(0)
    sealed: bool = True

    def __post_init__(self) -> None:
        if self.part_size is not None and not MIN_PART_BYTES <= self.part_size <= MAX_PART_BYTES:
            raise Usage(f"part size {self.part_size} is out of bounds", why=f"from {MIN_PART_BYTES} to {MAX_PART_BYTES} bytes are allowed")


@dataclass(frozen=True, slots=True)
class Layout:
    """A set's parts: their size, how many there are, the parity groups over them, and the bytes of each file, parity parts last."""

    size: int
    part_size: int
    parts: int
    parity: tuple[Group, ...]
    files: tuple[int, ...]


def chosen_pins(home: Home, names: Sequence[Reference]) -> list[Pin]:
    """Return the pins of these names, all of them where none is named.

    Raises:
        NotFound: nothing is pinned, or a name isn't.
    """
    pins = read_pins(home)
    if not pins:
        raise NotFound("nothing is pinned yet", hint="pin a model first: airlock pin library/gemma3:270m --from file:gemma-3-270m.gguf")
    for name in names:
        if name not in pins:
            raise NotFound(f"{name}: is not pinned", why=f"pinned are: {', '.join(map(str, pins))}", hint=f"airlock pin {name} --from SOURCE")
    return [pins[name] for name in dict.fromkeys(names or pins)]


def sources_of(home: Home, pins: Sequence[Pin]) -> dict[Digest, Path]:
    """Return where every blob of the pins lies: in the home what pinning kept there, the rest at its source.

    Raises:
        TrustRefused: a source has another size than it was pinned with.
    """
    blobs = LocalBlobStore(home.blobs)
    paths: dict[Digest, Path] = {}
    for pin in pins:
        _, manifest = pinned_manifest(home, pin)
        paths[pin.manifest] = blobs.path(pin.manifest)
        elsewhere = []
        for each in manifest.blobs:
            if blobs.holds(each.digest, each.size):
                paths[each.digest] = blobs.path(each.digest)
            elif each.digest not in paths:
                elsewhere.append(each.digest)
        located = locate(pin.source, elsewhere)
        for digest in elsewhere:
            size = next(each.size for each in manifest.blobs if each.digest == digest)
            path = located[digest]
            if path.stat().st_size != size:
                raise TrustRefused(
                    f"{path}: no longer matches its pin",
                    why=f"{pin.reference} was pinned with {size} bytes here, found {path.stat().st_size}",
                    hint=f"put the pinned file back, or pin what is there now: airlock pin {pin.reference} --from {pin.source}",
                )
        paths |= located
    return paths


def sizes_of(home: Home, pins: Sequence[Pin]) -> dict[Digest, int]:
    """Return the objects of a set in order, manifests and small blobs of each model before its large ones."""
    sizes: dict[Digest, int] = {}
    for pin in pins:
        data, manifest = pinned_manifest(home, pin)
        sizes[pin.manifest] = len(data)
        sizes |= {each.digest: each.size for each in sorted(manifest.blobs, key=lambda blob: blob.size)}
    return sizes


def evidence_of(releases: Sequence[PinnedRelease]) -> dict[Digest, int]:
    """Return the evidence that belongs to releases: digest to size."""
    stated = [parse_statement(each.statement, what=f"statement of {each.pin.reference}") for each in releases]
    return {each.bundle.digest: each.bundle.size for release in stated for each in release.evidence}


def objects_in_order(sizes: Mapping[Digest, int]) -> tuple[Object, ...]:
    """Return objects of these sizes, one after another."""
    offset, objects = 0, []
    for digest, size in sizes.items():
        objects.append(Object(digest, offset, size))
        offset += size
    return tuple(objects)


def lay_out(size: int, shape: Shape, capacity: int) -> Layout:
    """Return the parts of a set of ``size`` bytes.

    Where the part size is ours to choose it is 1 GiB, or less so that parity parts come to the share that was asked for, and so that several media of
    ``capacity`` bytes (the smallest) get filled.

    Raises:
        Usage: more parts than a set may have.
    """
    part_size = shape.part_size or _suitable(size, shape, capacity)
    parts = -(-size // part_size)
    parity = group_parts(parts, shape.parity)
    count = parts + sum(len(each.parity) for each in parity)
    if count > MAX_PARTS:
        raise Usage(
            f"the set would have {count} parts",
            why=f"at most {MAX_PARTS} are allowed",
            hint="choose a larger --part-size, or export fewer models by naming them",
        )
    seal = Seal("", bytes(32) if shape.sealed else None)
    lengths = [min(part_size, size - number * part_size) for number in range(parts)]
    lengths += [lengths[each.data[0] - 1] for number in range(parts + 1, count + 1) for each in parity if number in each.parity]
    return Layout(size, part_size, parts, parity, tuple(map(seal.size, lengths)))


def _suitable(size: int, shape: Shape, capacity: int) -> int:
    suitable = DEFAULT_PART_BYTES
    if shape.parity:
        suitable = min(suitable, int(size * shape.parity))
    if size + (size >> 10) + _MIB > capacity:
        suitable = min(suitable, capacity // _PARTS_PER_MEDIUM)
    most = int(_MOST_FILES / (1 + max(shape.parity, _LEAST_PARITY))) if shape.parity else MAX_PARTS
    return min(MAX_PART_BYTES, max(MIN_PART_BYTES, -(-size // most), -(-suitable // _MIB) * _MIB))
