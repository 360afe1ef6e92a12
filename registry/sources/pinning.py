"""Pinning: which source a text names, and what it gives."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from registry.content.digest import Digest
from registry.errors import Usage
from registry.sources import files, ollama_store
from registry.sources.pinned import Options, Pinned, Progress

__all__ = ["Options", "Pinned", "Progress", "locate", "open_source"]

_HINT = "write --from file:PATH.gguf, or --from ollama-store:NAME"


def _silent(_bytes_done: int) -> None:
    pass


def open_source(text: str, *, options: Options | None = None, progress: Progress = _silent) -> Pinned:
    """Return the model that ``text`` names, after reading and hashing everything it is made of.

    Args:
        text: ``file:PATH`` or ``ollama-store:[host/][namespace/]model[:tag]``.
        options: texts that go with a file; a store's model has its own.
        progress: called with the number of bytes read since the call before.

    Raises:
        Usage: no such kind of source, options that it can't use, or something that this user can't read.
        NotFound: it isn't there.
        Refused: it is not what it claims to be.
    """
    scheme, _, rest = text.partition(":")
    if scheme == "file":
        return files.pin(rest, options or Options(), progress)
    if scheme != "ollama-store":
        raise Usage(f"{text!r}: no such source", why="a source begins with file: or ollama-store:", hint=_HINT)
    if options not in (None, Options()):
        raise Usage(
            f"{text}: takes no template, system text, parameters or licences",
            why="a model in Ollama's store has its own",
            hint="change the model with ollama create, then pin it",
        )
    return ollama_store.pin(rest, progress)


def locate(source: str, digests: Collection[Digest]) -> dict[Digest, Path]:
    """Return where the large blobs of a pinned model lie now.

    Nothing is hashed here: whoever reads them compares their digests while reading.

    Args:
        source: :attr:`Pinned.source` as it was recorded.
        digests: the blobs looked for.

    Raises:
        NotFound: one of them isn't there any more.
        Usage: no such kind of source, or it can't be read.
    """
    scheme, _, rest = source.partition(":")
    if scheme == "file":
        return files.locate(rest, digests)
    if scheme == "ollama-store":
        return ollama_store.locate(rest, digests)
    raise Usage(f"{source!r}: no such source", why="a source begins with file: or ollama-store:", hint=_HINT)
