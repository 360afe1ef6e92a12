"""The source ``ollama-store:NAME``: a model in the store of a local Ollama.

The store is ``$OLLAMA_MODELS``; without that, the user's own (``~/.ollama/models``), then that of the Linux service for names which the first
one hasn't got.  Ollama never hashes a blob again once it lies there, so every blob is hashed here.
"""

from __future__ import annotations

import os
import pwd
import re
import shlex
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from registry.content.config import MAX_CONFIG_BYTES, parse_config
from registry.content.digest import Digest, digest_of, hex_of
from registry.content.gguf import parse_gguf
from registry.content.manifest import CONFIG_TYPE, MAX_MANIFEST_BYTES, Descriptor, Manifest, parse_manifest
from registry.errors import AirlockError, FormatRefused, NotFound, Usage
from registry.sources.pinned import Pinned, Progress, hash_stream, open_regular

__all__ = ["SERVICE_STORE", "StoredName", "locate", "parse_stored_name", "pin"]

SERVICE_STORE = Path("/usr/share/ollama/.ollama/models")

_MAX_SMALL_BYTES = 4 * 1024 * 1024
_GGUF_KINDS = frozenset("application/vnd.ollama.image." + kind for kind in ("model", "adapter", "projector"))
_WEIGHTS = _GGUF_KINDS | {"application/vnd.ollama.image.draft", "application/vnd.ollama.image.tensor", "application/vnd.ollama.image.embed"}

# isValidPart in types/model/name.go
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}\Z")
_NAMESPACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}\Z")
_MODEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}\Z")


@dataclass(frozen=True, slots=True)
class StoredName:
    """The name of a model in a store: the four steps of the path to its manifest."""

    host: str
    namespace: str
    model: str
    tag: str

    def __str__(self) -> str:
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"


def parse_stored_name(text: str) -> StoredName:
    """Return the name that ``[host/][namespace/]model[:tag]`` stands for, with Ollama's defaults.

    Raises:
        FormatRefused: not a name that Ollama would accept.
    """
    path, tag = text, "latest"
    if text.rfind(":") > text.rfind("/"):  # the colon of a host's port stands before a slash
        path, _, tag = text.rpartition(":")
    parts = path.rsplit("/", 2)
    host, namespace, model = [*("registry.ollama.ai", "library")[: 3 - len(parts)], *parts]
    name = StoredName(host, namespace, model, tag)
    forms = ((_HOST, host), (_NAMESPACE, namespace), (_MODEL, model), (_MODEL, tag))
    if not all(form.match(part) for form, part in forms):
        raise FormatRefused(
            f"{text!r}: not a name in Ollama's store", why=f"read as {str(name)!r}", hint="names look like gemma3:270m; see ollama list"
        )
    return name


def pin(name_text: str, progress: Progress) -> Pinned:
    """Return the model that a local Ollama knows by this name, after reading and hashing all its blobs.

    Raises:
        FormatRefused: not a name, not a canonical manifest, a blob with another size or digest, a model layer that is no GGUF file.
        PolicyRefused: a model that runs on another machine.
        NotFound: no store has the name, or a blob is missing.
        Usage: a store can't be read; the hint is the command that mends it.
    """
    store, name, data = _find(parse_stored_name(name_text))
    body = data.removesuffix(b"\n")
    manifest = parse_manifest(body, what=f"the manifest of {name}")
    small: dict[Digest, bytes] = {}
    blobs: dict[Digest, Path] = {}
    for blob in manifest.blobs:
        if _is_small(blob):
            small[blob.digest] = _read_small(store, name, blob, progress)
        else:
            blobs[blob.digest] = _hash_large(store, name, manifest, blob, progress)
    parse_config(small[manifest.config.digest], what=f"the config of {name}")
    return Pinned(body, newline_dropped=body != data, small=small, blobs=blobs, source=f"ollama-store:{name}")


def locate(name_text: str, digests: Collection[Digest]) -> dict[Digest, Path]:
    """Return where the blobs of a pinned model lie now; the name may be gone as long as the blobs are there.

    Raises:
        NotFound: a blob is in none of the stores.
        Usage: a store can't be read.
    """
    name = parse_stored_name(name_text)
    return {digest: _locate(name, digest) for digest in digests}


def _stores() -> tuple[Path, ...]:
    chosen = os.environ.get("OLLAMA_MODELS", "").strip().strip("\"'")  # as envconfig.Var does
    return (Path(chosen).absolute(),) if chosen else (Path.home() / ".ollama" / "models", SERVICE_STORE)


def _find(wanted: StoredName) -> tuple[Path, StoredName, bytes]:
    """Return the store that has the name, the name as it is written there, and the manifest file's bytes."""
    for store in _stores():
        try:
            path = _manifest_path(store, wanted)
            if path is None:
                continue
            with open_regular(path) as file:
                return store, StoredName(*path.parts[-4:]), file.read(MAX_MANIFEST_BYTES + 2)
        except OSError as error:
            raise _unreadable(store, error) from None
    raise NotFound(
        f"{wanted}: not in Ollama's store",
        why="looked in " + " and ".join(map(str, _stores())),
        hint="ollama list shows the names; OLLAMA_MODELS says where another store lies",
    )


def _manifest_path(store: Path, wanted: StoredName) -> Path | None:
    """Return the manifest's path, found without regard to letter case, as Ollama finds it."""
    path = store / "manifests"
    for part in (wanted.host, wanted.namespace, wanted.model, wanted.tag):
        try:
            names = os.listdir(path)  # noqa: PTH208  # the names, not paths
        except (FileNotFoundError, NotADirectoryError):
            return None
        same = [part] if part in names else [name for name in names if name.casefold() == part.casefold()]
        if len(same) > 1:
            raise FormatRefused(
                f"{wanted}: more than one model has this name", why=f"{path} has {', '.join(sorted(same))}", hint="write the exact case"
            )
        if not same:
            return None
        path /= same[0]
    return path


def _is_small(blob: Descriptor) -> bool:
    return blob.media_type == CONFIG_TYPE or (blob.media_type not in _WEIGHTS and blob.size <= _MAX_SMALL_BYTES)


def _blob_path(store: Path, digest: Digest) -> Path:
    return store / "blobs" / f"sha256-{hex_of(digest)}"


def _read_small(store: Path, name: StoredName, blob: Descriptor, progress: Progress) -> bytes:
    if blob.size > MAX_CONFIG_BYTES:
        raise FormatRefused(f"the config of {name}: too large", why=f"at most {MAX_CONFIG_BYTES} bytes are allowed, found {blob.size}")
    try:
        with open_regular(_blob_path(store, blob.digest)) as file:
            data = file.read(blob.size + 1)
    except OSError as error:
        raise _blob_error(store, name, blob.digest, error) from None
    progress(len(data))
    _check(name, blob, digest_of(data), len(data))
    return data


def _hash_large(store: Path, name: StoredName, manifest: Manifest, blob: Descriptor, progress: Progress) -> Path:
    path = _blob_path(store, blob.digest)
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size == blob.size:
                _check(name, blob, *hash_stream(file, progress))
                if any(layer.digest == blob.digest and layer.media_type in _GGUF_KINDS for layer in manifest.layers):
                    parse_gguf(file, size, what=f"blob {blob.digest} of {name}")
            else:
                _check(name, blob, None, size)
    except OSError as error:
        raise _blob_error(store, name, blob.digest, error) from None
    return path


def _check(name: StoredName, blob: Descriptor, digest: Digest | None, size: int) -> None:
    if size != blob.size:
        why = f"the manifest says {blob.size} bytes, found {size}"
    elif digest != blob.digest:
        why = f"its bytes have the digest {digest}"
    else:
        return
    raise FormatRefused(
        f"blob {blob.digest} of {name}: damaged in Ollama's store",
        why=why,
        hint=f"Ollama does not notice; remove and fetch or make the model again: ollama rm {_short(name)} && ollama pull {_short(name)}",
    )


def _locate(name: StoredName, digest: Digest) -> Path:
    for store in _stores():
        path = _blob_path(store, digest)
        try:
            open_regular(path).close()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise _unreadable(store, error) from None
        return path
    raise NotFound(
        f"blob {digest} of {name}: no longer in Ollama's store",
        why="looked in " + " and ".join(map(str, _stores())),
        hint=f"fetch it again with ollama pull {_short(name)}; OLLAMA_MODELS says where another store lies",
    )


def _blob_error(store: Path, name: StoredName, digest: Digest, error: OSError) -> AirlockError:
    if isinstance(error, FileNotFoundError):
        return NotFound(f"blob {digest} of {name}: missing in Ollama's store", why=f"looked in {store}", hint=f"ollama pull {_short(name)}")
    return _unreadable(store, error)


def _short(name: StoredName) -> str:
    """Return the name as ``ollama list`` shows it."""
    text = str(name)
    for default in ("registry.ollama.ai/", "library/"):
        if not text.startswith(default):
            break
        text = text.removeprefix(default)
    return text


def _unreadable(store: Path, error: OSError) -> Usage:
    what = f"{store}: Ollama's store can't be read"
    if isinstance(error, PermissionError):
        return Usage(what, why=f"{error.filename or store}: {error.strerror}", hint=_mending_command(store))
    return Usage(what, why=f"{error.filename or store}: {error.strerror}")


def _mending_command(store: Path) -> str:
    """Return the command that lets this user read the models.

    Only the models: the folders above them may be passed through but not listed, so that Ollama's private key, which lies beside the
    models, stays what it is.  Ollama makes new files readable for all, so the command holds for later models too.
    """
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        user = str(os.geteuid())
    above = [*reversed(store.parents)]
    closed = next((number for number, folder in enumerate(above) if not os.access(folder, os.X_OK, effective_ids=True)), len(above))
    commands = [f"sudo setfacl -R -m u:{user}:rX {shlex.quote(str(store))}"]
    if closed < len(above):
        commands.insert(0, f"sudo setfacl -m u:{user}:x {shlex.join(map(str, above[closed:]))}")
    return " && ".join(commands) + "\n(setfacl is in Debian's package acl; your user may then read the models, not Ollama's key)"
