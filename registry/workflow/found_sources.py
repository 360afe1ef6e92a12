"""Where the objects of an earlier set lie today: in the home, or at the source of whatever is pinned now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from registry.content.digest import Digest
from registry.content.pins import Pin
from registry.errors import AirlockError, NotFound, TrustRefused
from registry.media.index import Index, Object
from registry.sources.pinning import locate
from registry.store.blobs import LocalBlobStore
from registry.store.home import Home
from registry.trust.statement import Release, parse_statement
from registry.workflow.pin import pinned_manifest, read_pins

__all__ = ["found_sources"]


def found_sources(home: Home, index: Index, wanted: Iterable[Object]) -> dict[Digest, Path]:
    """Return where each of these objects lies; a pin of any name will do, as long as its content is the same.

    Raises:
        NotFound: nothing that is pinned has it any more, or a source is not there.
        TrustRefused: its source has another size than it was pinned with.
    """
    blobs, pins = LocalBlobStore(home.blobs), list(read_pins(home).values())
    pinned = [(pin, {each.digest for each in pinned_manifest(home, pin)[1].blobs}) for pin in pins]
    paths = {}
    for each in wanted:
        if blobs.holds(each.digest, each.size):
            paths[each.digest] = blobs.path(each.digest)
            continue
        having = [pin for pin, digests in pinned if each.digest in digests]
        paths[each.digest] = _at_a_source(each, having) if having else _refuse_unpinned(each, index, {str(pin.reference): pin for pin in pins})
    return paths


def _at_a_source(wanted: Object, pins: Sequence[Pin]) -> Path:
    """Return where the first pin that still leads to an object finds it."""
    refusals: list[AirlockError] = []
    for pin in pins:
        try:
            return _located(wanted, pin)
        except AirlockError as refusal:
            refusals.append(refusal)
    raise refusals[0]


def _located(wanted: Object, pin: Pin) -> Path:
    hint = f"put the pinned file back and run the same command again; or pin it where it is now: airlock pin {pin.reference} --from SOURCE"
    try:
        path = locate(pin.source, [wanted.digest])[wanted.digest]
        found = path.stat().st_size
    except NotFound as missing:
        raise NotFound(missing.what, why=missing.why, hint=hint) from missing
    if found != wanted.size:
        raise TrustRefused(
            f"{path}: no longer matches its pin",
            why=f"{pin.reference} was pinned with {wanted.size} bytes here, found {found}",
            hint=hint,
        )
    return path


def _refuse_unpinned(wanted: Object, index: Index, pins: Mapping[str, Pin]) -> Path:
    release = _release_with(wanted, index)
    reference = str(release.reference)
    state = f"{reference} is pinned to other content now" if reference in pins else f"{reference} is not pinned any more"
    raise NotFound(
        f"{release.name}: what it was made of is not pinned any more",
        why=f"the parts asked for hold bytes of {wanted.digest} ({wanted.size:,} bytes, once from {release.source}); {state}",
        hint="pin the same content again, under this or any other name: airlock pin NAME --from SOURCE\n"
        "then the same command; or let the site import a fresh export instead",
    )


def _release_with(wanted: Object, index: Index) -> Release:
    stated = (parse_statement(each, what=f"set {index.set_id}: statement") for each in index.statements)
    return next(each for each in stated if wanted.digest in {blob.digest for blob in each.carried})
