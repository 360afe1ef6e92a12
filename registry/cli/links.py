"""Stdin and stdout as the two ends of a one-way link."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from io import FileIO
from pathlib import Path

import click

from registry.cli.settings import Settings
from registry.errors import Usage
from registry.store.links import open_link
from registry.store.streamed import STREAM, Inlet

__all__ = ["is_stream", "take_stdin", "take_stdout"]


def is_stream(media: Sequence[Path], option: str) -> bool:
    """Tell whether ``-`` stands where media are named: a stream goes alone.

    Raises:
        Usage: it doesn't stand alone.
    """
    if STREAM in media and len(media) > 1:
        raise Usage(f"{option}- goes alone", why="a stream carries the whole set", hint="run the command once for the stream, once for the media")
    return STREAM in media


def take_stdin(settings: Settings) -> Inlet:
    """Return stdin as what brings a stream.

    Raises:
        Usage: it is a terminal.
    """
    if sys.stdin.isatty():
        raise Usage("a stream is expected on stdin, which is a terminal", hint="pipe it in, or name a file: airlock import - < FILE")
    settings.stdin_taken = True
    return Inlet(_open(os.dup(sys.stdin.fileno()), "rb"))


def take_stdout() -> FileIO:
    """Return stdout as what takes a stream; whatever is printed from now on, results included, goes to stderr.

    Raises:
        Usage: it is a terminal.
    """
    if sys.stdout.isatty():
        raise Usage(
            "the stream would go to the terminal", hint="name a pipe or a file: airlock export --to - … | ssh GATEWAY airlock import -\nor: … > FILE"
        )
    sys.stdout.flush()
    outlet = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return _open(outlet, "wb")


def _open(descriptor: int, mode: str) -> FileIO:
    link = open_link(descriptor, mode)
    click.get_current_context().call_on_close(link.close)
    return link
