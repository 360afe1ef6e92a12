"""Pin: fix a name to what a source holds now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from registry.content.manifest import Manifest, parse_manifest
from registry.content.pins import MAX_PINS_BYTES, Pin, parse_pins, with_pin
from registry.content.reference import Reference
from registry.errors import FormatRefused
from registry.sources.pinning import Options, open_source
from registry.store.blobs import LocalBlobStore
from registry.store.files import read_limited, replace_file, storage_errors
from registry.store.home import STATION, Home

__all__ = ["Pinning", "pin", "pinned_manifest", "read_pins"]

_FILE_NAME = "pins.toml"


@dataclass(frozen=True, slots=True)
class Pinning:
    """What pinning did: the pin, the model, and the pin it replaced."""

    pin: Pin
    manifest: Manifest
    before: Pin | None

    @property
    def changed(self) -> bool:
        """Whether the name now means other bytes than before."""
        return self.before is None or self.before.manifest != self.pin.manifest


def read_pins(home: Home) -> dict[Reference, Pin]:
    """Return the station's pins, by name."""
    home.require(STATION)
    return parse_pins(_text(home), what=str(home.root / _FILE_NAME))


def pin(home: Home, reference: Reference, source: str, options: Options, *, now: datetime, advance: Callable[[int], None]) -> Pinning:
    """Read and hash everything that ``source`` names, keep its small blobs in the home, and write the pin.

    The large blobs stay where they are; export reads them there and refuses if they have changed.
    """
    home.require(STATION)
    with home.locked("pin"):
        home.sweep()
        text = _text(home)
        before = parse_pins(text, what=_FILE_NAME).get(reference)
        found = open_source(source, options=options, progress=advance)
        blobs = LocalBlobStore(home.blobs)
        with storage_errors(f"the home {home.root}"):
            for data in (*found.small.values(), found.manifest_bytes):
                digest = blobs.add(data)
            new = Pin(reference, digest, found.source, now, found.newline_dropped)
            if before is None or (before.manifest, before.source) != (new.manifest, new.source):
                replace_file(home.root / _FILE_NAME, with_pin(text, new).encode())
    return Pinning(new, parse_manifest(found.manifest_bytes), before)


def pinned_manifest(home: Home, each: Pin) -> tuple[bytes, Manifest]:
    """Return the bytes that a pin fixes, and the model they describe."""
    data = LocalBlobStore(home.blobs).read(each.manifest, limit=4 << 20)
    return data, parse_manifest(data, what=f"manifest of {each.reference}")


def _text(home: Home) -> str:
    path = home.root / _FILE_NAME
    try:
        return read_limited(path, MAX_PINS_BYTES, what=str(path)).decode("utf-8")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError:
        raise FormatRefused(f"{path}: not UTF-8 text", hint="restore the file from version control") from None
