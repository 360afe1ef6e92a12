"""Check: does everything in a home agree with its log, and do the blobs still have their digests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from registry.content.digest import Digest, hex_of
from registry.errors import AirlockError
from registry.store.blobs import LocalBlobStore
from registry.store.home import SITE, Home
from registry.store.log import Log
from registry.store.site import Site
from registry.trust.statement import MAX_STATEMENT_BYTES, parse_statement
from registry.workflow.pin import pinned_manifest, read_pins
from registry.workflow.progress import Advance, Progress
from registry.workflow.site import published_view, read_site, site_id
from registry.workflow.station import read_station

__all__ = ["Checked", "check"]

_CHUNK = 4 << 20


@dataclass(frozen=True, slots=True)
class Checked:
    """What was checked, and every problem found, as sentences."""

    events: int
    releases: int
    blobs: int
    size: int
    problems: tuple[str, ...]


def check(home: Home, *, progress: Progress, contents: bool) -> Checked:
    """Rebuild the catalog from the log and compare; check signatures, documents, the published view, and every blob that is needed.

    Args:
        home: a site's or a station's.
        progress: shows the blobs being read.
        contents: also hash every blob; without it only its presence and size are checked.
    """
    needed: dict[Digest, int] = {}
    if home.kind() == SITE:
        with read_site(home) as log:
            problems = [*log.problems(), *_view_problems(home, log), *_copy_problems(home, log)]
            for record in log.releases():
                try:
                    statement = parse_statement(log.document(record.statement), what=f"statement of {record.name}")
                    needed |= {each.digest: each.size for each in statement.carried}
                except AirlockError as problem:
                    problems.append(str(problem))
            events, releases = _events(log), len(log.releases())
    else:
        with read_station(home) as station:
            problems = list(station.problems())
            events, releases = _events(station), len(station.releases())
            for numbered in station.releases():
                try:
                    statement = parse_statement(station.document(numbered.statement), what=f"statement of {numbered.reference}")
                    needed |= {each.bundle.digest: each.bundle.size for each in statement.evidence}
                except AirlockError as problem:
                    problems.append(str(problem))
        for pin in read_pins(home).values():
            try:
                needed[pin.manifest] = len(pinned_manifest(home, pin)[0])
            except AirlockError as problem:
                problems.append(str(problem))
    blobs = LocalBlobStore(home.blobs)
    with progress.task("checking blobs", sum(needed.values())) as advance:
        for digest, size in needed.items():
            problems += _blob_problems(blobs.path(digest), digest, size, advance, contents=contents)
    return Checked(events, releases, len(needed), sum(needed.values()), tuple(problems))


def _events(log: Log) -> int:
    head = log.head()
    return head.seq if head else 0


def _view_problems(home: Home, log: Site) -> Iterator[str]:
    expected = published_view(log, site_id(home)).to_bytes()
    try:
        found = home.view.read_bytes()
    except OSError as error:
        yield f"the published view can't be read: {error.strerror}; the next command that writes publishes it again"
        return
    if found != expected:
        yield "the published view is not what the log says; the next command that writes publishes it again"


def _copy_problems(home: Home, log: Site) -> Iterator[str]:
    """Statements of what is served are copied from the log into the store, where the server finds them."""
    store = LocalBlobStore(home.blobs)
    for release in published_view(log, site_id(home)).releases:
        try:
            store.read(release.statement, limit=MAX_STATEMENT_BYTES)
        except (AirlockError, OSError) as problem:
            what = f"statement of {release.repository}:{release.tag}-r{release.number}"
            yield f"{what}: {problem}; once {store.path(release.statement)} is removed, the next command that writes copies it again"


def _blob_problems(path: Path, digest: Digest, size: int, advance: Advance, *, contents: bool) -> Iterator[str]:
    try:
        found = path.lstat().st_size
        if found != size:
            yield f"blob {digest} has {found} bytes instead of {size}"
        elif contents:
            sha256 = hashlib.sha256()
            buffer = memoryview(bytearray(_CHUNK))
            with path.open("rb", buffering=0) as stream:
                while count := stream.readinto(buffer):
                    sha256.update(buffer[:count])
                    advance(count)
            if sha256.hexdigest() != hex_of(digest):
                yield f"blob {digest} is damaged: its content has the digest sha256:{sha256.hexdigest()}"
    except OSError as error:
        yield f"blob {digest} can't be read: {error.strerror}"
