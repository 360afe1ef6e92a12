"""Parity parts: written from the logical stream, and parts brought back by them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from registry.media.index import Index
from registry.media.parity import STRIPE_BYTES, Coder, Group
from registry.media.seal import PartWriter, Seal
from registry.media.stream import SEGMENT_BYTES
from registry.store.files import new_file
from registry.workflow.progress import Advance

__all__ = ["ReadShare", "rebuild", "send_parity", "write_parity"]

ReadShare = Callable[[int, int, memoryview], None]
"""Fills a view from a part, or a parity part, by number and offset, with zeros beyond its end."""


def write_parity(index: Index, seal: Seal, read: ReadShare, files: Mapping[int, Path], advance: Advance) -> None:
    """Write the parity parts whose numbers and paths are ``files``, those of one group side by side; ``read`` reads the parts they are over."""
    for group in index.parity:
        numbers = [number for number in group.parity if number in files]
        if numbers:
            with ExitStack() as stack:
                sinks = {number: stack.enter_context(new_file(files[number])) for number in numbers}
                _seal_parity(index, seal, read, group, sinks, advance=advance)


def send_parity(index: Index, seal: Seal, read: ReadShare, number: int, sink: IO[bytes], *, advance: Advance) -> None:
    """Write one parity part into ``sink``.  Where parts leave one after another, its group is read again for each: nothing is kept meanwhile."""
    group = index.group_of(number)
    assert group is not None
    _seal_parity(index, seal, read, group, {number: sink}, advance=advance)


def _seal_parity(index: Index, seal: Seal, read: ReadShare, group: Group, sinks: Mapping[int, IO[bytes]], *, advance: Advance) -> None:
    length = index.part_length(group.data[0])
    writers = {group.parity.index(number): _Segments(seal.part_writer(sink, length, number)) for number, sink in sinks.items()}
    for parity, used in _parity_stripes(group, length, read):
        for share, writer in writers.items():
            writer.write(parity[share][:used])
        advance(used * len(writers))


def rebuild(index: Index, group: Group, missing: Sequence[int], here: Sequence[int], read: ReadShare) -> Iterator[tuple[int, list[memoryview]]]:
    """Yield offset and content of the ``missing`` parts of a group, stripe by stripe, from as many others as it has parts.

    Args:
        index: what is in the set.
        group: the group.
        missing: numbers of parts that are not here, in order.
        here: numbers of the parts and parity parts to use, exactly as many as the group has parts.
        read: reads them.
    """
    coder = Coder(group)
    shares = [*group.data, *group.parity]
    buffers = {number: memoryview(bytearray(STRIPE_BYTES)) for number in here}
    length = index.part_length(group.data[0])
    for offset in range(0, length, STRIPE_BYTES):
        for number, buffer in buffers.items():
            read(number, offset, buffer)
        rebuilt = coder.rebuild({shares.index(number): buffer for number, buffer in buffers.items()}, [shares.index(each) for each in missing])
        yield offset, [each[: max(0, index.part_length(number) - offset)] for number, each in zip(missing, rebuilt, strict=True)]


def _parity_stripes(group: Group, length: int, read: ReadShare) -> Iterator[tuple[list[memoryview], int]]:
    coder = Coder(group)
    stripe = bytearray(len(group.data) * STRIPE_BYTES)
    for offset in range(0, length, STRIPE_BYTES):
        for place, number in enumerate(group.data):
            read(number, offset, memoryview(stripe)[place * STRIPE_BYTES : (place + 1) * STRIPE_BYTES])
        yield coder.parity(bytes(stripe)), min(STRIPE_BYTES, length - offset)


class _Segments:
    """Gathers bytes into the segments that a part's writer takes."""

    def __init__(self, writer: PartWriter) -> None:
        self._writer = writer
        self._buffer = memoryview(bytearray(SEGMENT_BYTES))
        self._filled = 0

    def write(self, data: memoryview) -> None:
        while data:
            wants = self._writer.wants
            count = min(wants - self._filled, len(data))
            self._buffer[self._filled : self._filled + count] = data[:count]
            self._filled += count
            data = data[count:]
            if self._filled == wants:
                self._writer.seal(self._buffer[:wants])
                self._filled = 0
