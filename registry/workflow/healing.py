"""Healing: parts that no medium gives whole come back from the others of their group, and from parity parts."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from registry.media.index import Index
from registry.media.parity import Group
from registry.workflow.incoming import Incoming
from registry.workflow.logical import LogicalStream
from registry.workflow.parity_parts import rebuild
from registry.workflow.progress import Advance

__all__ = ["Healer"]


class Healer:
    """Writes lost parts of one set into its objects on their way in; use it as a context manager, which closes what it reads from."""

    def __init__(self, index: Index, incoming: Incoming) -> None:
        """Read the parts that are here from where their objects lie now."""
        self._index = index
        self._incoming = incoming
        self._here = LogicalStream(index, {each.digest: incoming.path(each) for each in index.objects}, whole=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._here.close()

    def heal(self, group: Group, missing: Sequence[int], parts: Sequence[int], parity: Mapping[int, Path], advance: Advance) -> None:
        """Bring back the ``missing`` parts of a group, durably, from these ``parts`` and parity parts, together as many as the group has parts.

        Raises:
            StoreFailed: our disk is full or failing.
        """
        with ExitStack() as stack:
            files = {number: self._incoming.open_files(number, stack) for number in missing}
            kept = {number: stack.enter_context(path.open("rb")) for number, path in parity.items()}

            def read(number: int, offset: int, into: memoryview) -> None:
                if number in kept:
                    filled = os.preadv(kept[number].fileno(), [into], offset)
                    into[filled:] = bytes(len(into) - filled)
                else:
                    self._here.read_part(number, offset, into)

            for offset, contents in rebuild(self._index, group, missing, [*parts, *parity], read):
                for number, content in zip(missing, contents, strict=True):
                    for stretch in self._incoming.stretches(number, offset, content):
                        stretch.write(files[number])
                    advance(len(content))
            for descriptor in {each for opened in files.values() for each in opened.values()}:
                os.fsync(descriptor)
