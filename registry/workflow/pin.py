"""Pin: fix a name to what a source holds now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from registry.content.digest import digest_of
from registry.content.manifest import Manifest, parse_manifest
from registry.content.pins import MAX_PINS_BYTES, Pin, parse_pins, with_pin
from registry.content.reference import Reference
from registry.errors import FormatRefused, PolicyRefused, Usage
from registry.sources.pinning import Options, Pinned, open_source
from registry.store.blobs import LocalBlobStore
from registry.store.files import read_limited, replace_file, storage_errors
from registry.store.home import STATION, Home
from registry.trust.statement import OMS_UPSTREAM, parse_statement
from registry.workflow.evidence import Upstream, read_upstream
from registry.workflow.station import read_station

__all__ = ["Pinning", "pin", "pinned_manifest", "read_pins"]

_FILE_NAME = "pins.toml"


@dataclass(frozen=True, slots=True)
class Pinning:
    """What pinning did: the pin, the model, the pin it replaced, and the upstream signature that was verified."""

    pin: Pin
    manifest: Manifest
    before: Pin | None
    upstream: Upstream | None = None

    @property
    def changed(self) -> bool:
        """Whether the name now means other bytes than before."""
        return self.before is None or self.before.manifest != self.pin.manifest


def read_pins(home: Home) -> dict[Reference, Pin]:
    """Return the station's pins, by name."""
    home.require(STATION)
    return parse_pins(_text(home), what=str(home.root / _FILE_NAME))


def pin(
    home: Home,
    reference: Reference,
    source: str,
    options: Options,
    *,
    now: datetime,
    advance: Callable[[int], None],
    signed: tuple[Path, Path] | None = None,
) -> Pinning:
    """Read and hash everything that ``source`` names, keep its small blobs in the home, and write the pin.

    The large blobs stay where they are; export reads them there and refuses if they have changed.  ``signed`` names upstream's OMS bundle and the
    public key it must be signed with.

    Raises:
        SignatureRefused: the bundle isn't signed with that key, or doesn't cover the pinned file.
        PolicyRefused: this model is a release already, and was stated without the bundle.
    """
    home.require(STATION)
    with home.locked("pin"):
        home.sweep()
        text = _text(home)
        before = parse_pins(text, what=_FILE_NAME).get(reference)
        found = open_source(source, options=options, progress=advance)
        upstream = _upstream(home, reference, found, signed) if signed else None
        blobs = LocalBlobStore(home.blobs)
        with storage_errors(f"the home {home.root}"):
            for data in (*found.small.values(), found.manifest_bytes):
                digest = blobs.add(data)
            new = Pin(reference, digest, found.source, now, found.newline_dropped)
            if upstream is not None:
                new = replace(new, upstream_oms=blobs.add(upstream.bundle), upstream_key=upstream.signer.key.text)
            if before is None or replace(before, pinned=now) != new:
                replace_file(home.root / _FILE_NAME, with_pin(text, new).encode())
    return Pinning(new, parse_manifest(found.manifest_bytes), before, upstream)


def pinned_manifest(home: Home, each: Pin) -> tuple[bytes, Manifest]:
    """Return the bytes that a pin fixes, and the model they describe."""
    data = LocalBlobStore(home.blobs).read(each.manifest, limit=4 << 20)
    return data, parse_manifest(data, what=f"manifest of {each.reference}")


def _upstream(home: Home, reference: Reference, found: Pinned, signed: tuple[Path, Path]) -> Upstream:
    if not found.source.startswith("file:"):
        raise Usage(f"{found.source}: takes no upstream signature", why="OMS signs files by name, and Ollama's store keeps no names")
    [(digest, path)] = found.blobs.items()
    upstream = read_upstream(*signed, path, digest)
    manifest = digest_of(found.manifest_bytes)
    with read_station(home) as log:
        release = log.release_of(reference, manifest)
        stated = parse_statement(log.document(release.statement), what=f"statement of {reference}") if release else None
    bundle = digest_of(upstream.bundle)
    if stated and (OMS_UPSTREAM, bundle) not in {(each.kind, each.bundle.digest) for each in stated.evidence}:
        raise PolicyRefused(
            f"{stated.name}: was released without this upstream signature",
            why="a release never changes",
            hint=f"pin it under another tag: airlock pin {reference.repository}:NEWTAG --from … --upstream-oms … --upstream-key …",
        )
    return upstream


def _text(home: Home) -> str:
    path = home.root / _FILE_NAME
    try:
        return read_limited(path, MAX_PINS_BYTES, what=str(path)).decode("utf-8")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError:
        raise FormatRefused(f"{path}: not UTF-8 text", hint="restore the file from version control") from None
