"""The source ``file:PATH``: a GGUF file, with texts beside it."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import NoReturn

from registry.content.digest import Digest
from registry.content.gguf import parse_gguf
from registry.content.manifest import Descriptor
from registry.content.modelfile import MODEL_TYPE, compose
from registry.content.parameters import parse_parameters
from registry.content.text import MAX_TEXT_BYTES
from registry.errors import MediumDamaged, NotFound, Usage
from registry.sources.pinned import Options, Pinned, Progress, hash_stream, open_regular

__all__ = ["locate", "pin"]


def pin(path_text: str, options: Options, progress: Progress) -> Pinned:
    """Return the model that ``ollama create`` would make of the GGUF file at ``path_text`` and the files in ``options``.

    Raises:
        FormatRefused: not a GGUF file, no model of its own, or a text that can't be what it is given for.
        NotFound: one of the files isn't there.
        Usage: one of them can't be read.
        MediumDamaged: the GGUF file was written to while it was read.
    """
    path = _absolute(path_text)
    template, system = _text(options.template, "template"), _text(options.system, "system")
    parameters = _text(options.parameters, "parameters")
    licenses = [_read(license_, "license") for license_ in options.licenses]
    source = f"file:{path}"
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            header = parse_gguf(file, size, what=source)
            digest, found = hash_stream(file, progress)
    except OSError as error:
        _refuse(source, path, error)
    if found != size:
        raise MediumDamaged(
            f"{source}: changed while it was read", why=f"it had {size} bytes, {found} could be read", hint="pin it when it is complete"
        )
    composed = compose(
        Descriptor(MODEL_TYPE, digest, size),
        header,
        template=template,
        system=system,
        parameters=None if parameters is None else parse_parameters(parameters, what=str(options.parameters)),
        licenses=licenses,
    )
    return Pinned(composed.manifest.to_bytes(), newline_dropped=False, small=composed.small, blobs={digest: path}, source=source)


def locate(path_text: str, digests: Collection[Digest]) -> dict[Digest, Path]:
    """Return where the large blobs of a model pinned from ``path_text`` lie: the one digest there can be, at that path.

    Raises:
        NotFound: the file isn't there, or more than one blob is looked for.
        Usage: it can't be read.
    """
    path = _absolute(path_text)
    if len(set(digests)) > 1:
        raise NotFound(f"file:{path}: holds one blob only", why=f"looked for {len(set(digests))} blobs")
    try:
        open_regular(path).close()
    except OSError as error:
        _refuse(f"file:{path}", path, error)
    return dict.fromkeys(digests, path)


def _absolute(text: str) -> Path:
    if not text or not text.isprintable():
        raise Usage(f"file:{text!r}: not a path", why="a path of printable characters is expected", hint="write --from file:PATH.gguf")
    return Path(os.path.abspath(Path(text).expanduser()))  # noqa: PTH100  # resolve() would follow links, absolute() keep ".."


def _text(path: Path | None, what: str) -> bytes | None:
    return None if path is None else _read(path, what)


def _read(path: Path, what: str) -> bytes:
    try:
        with open_regular(path) as file:
            return file.read(MAX_TEXT_BYTES + 1)  # one more than parse_text() allows
    except OSError as error:
        _refuse(f"{what} {path}", path, error)


def _refuse(what: str, path: Path, error: OSError) -> NoReturn:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        raise NotFound(f"{what}: no such file", why=f"looked for {path}") from None
    raise Usage(f"{what}: can't be read", why=str(error.strerror)) from None
