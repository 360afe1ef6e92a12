"""Affected: which nodes were handed a release, as the server's access journal says."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from registry.content.digest import Digest
from registry.store.home import Home

__all__ = ["Affected", "nodes_with"]


@dataclass(frozen=True, slots=True)
class Affected:
    """Per manifest, the nodes that pulled it, by name or address; ``unknown`` says why the journal could not be read, else it is empty."""

    nodes: dict[Digest, tuple[str, ...]]
    unknown: str = ""


def nodes_with(home: Home, manifests: Iterable[Digest]) -> Affected:
    """Return who was handed each of these manifests by the server whose state lies in ``home``."""
    found: dict[Digest, dict[str, None]] = {digest: {} for digest in manifests}
    try:
        with (home.root / "server" / "access.jsonl").open(encoding="utf-8") as journal:
            for line in journal:
                entry = _entry(line)
                if entry.get("verb") == "manifest" and entry.get("digest") in found:
                    node, peer = str(entry.get("node")), str(entry.get("peer"))
                    found[Digest(str(entry["digest"]))][peer if node == "-" else node] = None
    except FileNotFoundError:
        pass  # nothing was ever served from here
    except (OSError, UnicodeDecodeError) as error:
        return Affected({}, f"the access journal can't be read: {error}")
    return Affected({digest: tuple(nodes) for digest, nodes in found.items()})


def _entry(line: str) -> dict[str, object]:
    try:
        entry = json.loads(line)
    except ValueError:
        return {}  # the line being written just now, or a damaged one: its chain is check's matter
    return entry if isinstance(entry, dict) else {}
