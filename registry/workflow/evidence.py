"""Evidence: OMS bundles beside a release, made or taken over outside, verified again inside."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from securesystemslib.signer import Signer

from registry.content.digest import Digest
from registry.content.manifest import Descriptor
from registry.content.modelfile import MODEL_TYPE
from registry.content.pins import Pin
from registry.errors import NotFound, Refused, SignatureRefused, Usage
from registry.sources.pinned import open_regular
from registry.store.blobs import LocalBlobStore
from registry.store.files import replace_file, storage_errors
from registry.trust.oms import BUNDLE_TYPE, MAX_BUNDLE_BYTES, OmsKey, OmsSigner, blob_name, key_of, oms_bundle, parse_key, parse_pem, verify_oms
from registry.trust.statement import OMS, OMS_UPSTREAM, Evidence, Release
from registry.workflow.station import OMS_KEY

__all__ = ["Upstream", "Written", "check_evidence", "make_evidence", "read_upstream", "write_evidence"]

_MAX_PEM_BYTES = 16 << 10


@dataclass(frozen=True, slots=True)
class Upstream:
    """An OMS bundle of whoever made the model, verified: its bytes, who signed, and the signer's name of the pinned file."""

    bundle: bytes
    signer: OmsSigner
    file: str


@dataclass(frozen=True, slots=True)
class Written:
    """One piece of evidence as files: the bundle, the key it was verified with, and the model's files if they were asked for."""

    release: Release
    evidence: Evidence
    bundle: Path
    key: Path
    model: Path | None

    @property
    def command(self) -> str:
        """What an auditor types to verify the station's bundle, on a node unless the model was written too; empty for upstream's.

        Upstream signed a directory as it was there, of which this release is usually one file.
        """
        if self.evidence.kind != OMS:
            return ""
        model = shlex.quote(str(self.model)) if self.model else "~/.ollama/models/blobs"
        files = f"--signature {shlex.quote(str(self.bundle))} --public_key {shlex.quote(str(self.key))}"
        return f"model_signing verify key {model} {files} --ignore_unsigned_files"


def read_upstream(bundle: Path, key: Path, file: Path, digest: Digest) -> Upstream:
    """Return the bundle that covers ``file``, whose content has ``digest``.

    Raises:
        NotFound: one of the files isn't there.
        Refused: not an OMS bundle, not signed by ``key``, or it doesn't cover this file.
    """
    public = parse_pem(_read(key, _MAX_PEM_BYTES), what=str(key))
    return _upstream(_read(bundle, MAX_BUNDLE_BYTES), public, file.name, digest, what=str(bundle))


def make_evidence(blobs: LocalBlobStore, name: str, pin: Pin, files: Sequence[Descriptor], keys: Mapping[str, Signer]) -> tuple[Evidence, ...]:
    """Return the evidence of a release that is about to be stated; the bundles lie in ``blobs`` then.

    Args:
        blobs: the station's.
        name: the release's.
        pin: what it is made from; its upstream bundle is verified once more.
        files: every blob of the model.
        keys: the station's keys, the OMS key among them.

    Raises:
        Refused: the station has no OMS key, or the upstream bundle no longer covers the model.
    """
    signer = keys.get(OMS_KEY)
    if signer is None:
        raise Refused(f"{name}: can't be signed for OMS", why="this station has no OMS key", hint=f"airlock key new {OMS_KEY} --algorithm ecdsa-p384")
    named = {blob_name(each.digest): each.digest for each in files}
    found = [Evidence(OMS, _kept(blobs, oms_bundle(name, named.items(), signer)), key_of(signer), name, named)]
    if pin.upstream_oms is not None:
        what = f"upstream signature of {pin.reference}"
        model = next((each for each in files if each.media_type == MODEL_TYPE), files[0])
        data = blobs.read(pin.upstream_oms, limit=MAX_BUNDLE_BYTES)
        upstream = _upstream(data, parse_key(pin.upstream_key, what=what), pin.source.rpartition("/")[2], model.digest, what=what)
        found.append(Evidence(OMS_UPSTREAM, _kept(blobs, data), upstream.signer.key, upstream.signer.name, {upstream.file: model.digest}))
    return tuple(found)


def check_evidence(blobs: LocalBlobStore, release: Release) -> None:
    """Verify every bundle that a release carries, with the key that its statement records (step 7 of the order of verification).

    Raises:
        FormatRefused: one of them is not an OMS bundle.
        SignatureRefused: not signed by that key, for other files, or for another model than it is said to be.
    """
    for each in release.evidence:
        what = f"{release.name}: {each.kind} signature"
        signer = verify_oms(blobs.read(each.bundle.digest, limit=each.bundle.size), each.files, each.key, what=what)
        if signer.name != each.name:
            raise SignatureRefused(f"{what}: for another model", why=f"expected {each.name!r}, found {signer.name!r}")
        whole = {blob_name(item.digest): item.digest for item in release.objects[1:]}
        if each.kind == OMS and not (each.name == release.name and dict(signer.files) == dict(each.files) == whole):
            raise SignatureRefused(f"{what}: not over exactly the files of this release")


def write_evidence(blobs: LocalBlobStore, release: Release, directory: Path, *, with_model: bool) -> list[Written]:
    """Write a release's bundles and their keys to ``directory``, and with ``with_model`` the files that the station's bundle lists.

    Raises:
        NotFound: no such directory.
        StoreFailed: a blob is missing or damaged.
    """
    if not directory.is_dir():
        raise NotFound(f"{directory}: not a directory", hint="name a directory that exists")
    check_evidence(blobs, release)
    stem = release.name.replace("/", "-").replace(":", "-")
    written = []
    with storage_errors(f"the directory {directory}"):
        for each in release.evidence:
            bundle, key, model = (directory / f"{stem}.{each.kind}.{end}" for end in ("json", "pem", "files"))
            replace_file(bundle, blobs.read(each.bundle.digest, limit=each.bundle.size))
            replace_file(key, each.key.pem)
            copied = with_model and each.kind == OMS
            if copied:
                model.mkdir(exist_ok=True)
                for name, digest in each.files.items():
                    shutil.copyfile(blobs.path(digest), model / name)
            written.append(Written(release, each, bundle, key, model if copied else None))
    return written


def _upstream(bundle: bytes, key: OmsKey, file: str, digest: Digest, *, what: str) -> Upstream:
    signer = verify_oms(bundle, {}, key, what=what)
    name = signer.name_of(file, digest)
    if name is None:
        meant = [f"{other}  {signed}" for other, signed in signer.files.items() if signed == digest or other.rpartition("/")[2] == file]
        raise SignatureRefused(
            f"{what}: does not cover {file}",
            why="\n".join([f"expected {file}  {digest}", *(f"found    {each}" for each in meant or ["neither that name nor that content"])]),
            hint="use the file as it was signed, under the name it was signed with, or the bundle that belongs to it",
        )
    return Upstream(bundle, signer, name)


def _kept(blobs: LocalBlobStore, bundle: bytes) -> Descriptor:
    return Descriptor(BUNDLE_TYPE, blobs.add(bundle), len(bundle))


def _read(path: Path, limit: int) -> bytes:
    try:
        with open_regular(path) as file:
            return file.read(limit + 1)  # one more than the parsers allow
    except FileNotFoundError:
        raise NotFound(f"{path}: no such file") from None
    except OSError as error:
        raise Usage(f"{path}: can't be read", why=str(error.strerror)) from None
