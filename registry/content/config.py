"""Configs: what Ollama says about a model as a whole.

The config is the blob that a manifest's ``config`` names (``ConfigV2`` in Ollama's ``server/images.go``).  Members that airlock has no use for are
allowed, since newer clients write more of them than older ones, except those that would send prompts away from the node.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from registry.content.digest import Digest
from registry.content.gojson import encode
from registry.errors import FormatRefused, PolicyRefused

__all__ = ["MAX_CONFIG_BYTES", "ModelConfig", "parse_config"]

MAX_CONFIG_BYTES = 4 * 1024 * 1024
_REMOTE = ("remote_host", "remote_model")


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """What ``ollama show`` tells about a model, as text for people; empty where a config says nothing.

    ``kind`` is Ollama's ``model_type``, a size such as ``268.10M``; ``file_type`` a quantization such as ``Q4_K_M``.
    """

    format: str
    family: str
    families: tuple[str, ...]
    kind: str
    file_type: str

    def to_bytes(self, layers: Sequence[Digest]) -> bytes:
        """Return the bytes that ``ollama create`` 0.9.3 writes for a model with these layers."""
        return encode(
            {
                "model_format": self.format,
                "model_family": self.family,
                "model_families": self.families,
                "model_type": self.kind,
                "file_type": self.file_type,
                "architecture": "amd64",
                "os": "linux",
                "rootfs": {"type": "layers", "diff_ids": layers},
            }
        )


def parse_config(data: bytes, *, what: str = "config") -> ModelConfig:
    """Return what a config says.

    Raises:
        FormatRefused: not a JSON object, too large, or members that Go would read differently (twice, or in another letter case).
        PolicyRefused: a model that runs on another machine: the node would send its users' prompts there.
    """
    if len(data) > MAX_CONFIG_BYTES:
        raise FormatRefused(f"{what}: too large", why=f"at most {MAX_CONFIG_BYTES} bytes are allowed, found {len(data)}")
    try:
        members = json.loads(data.decode("utf-8"), object_pairs_hook=_members)
    except (ValueError, RecursionError) as error:
        raise FormatRefused(f"{what}: not readable as JSON", why=str(error)) from None
    if not isinstance(members, dict):
        raise FormatRefused(f"{what}: not a config", why="expected a JSON object")
    remote = [name for name in _REMOTE if name in members]
    if remote:
        raise PolicyRefused(
            f"{what}: a model that runs elsewhere",
            why=f"it has {' and '.join(remote)}; a node would send its users' prompts to {members[remote[0]]!r}",
        )
    texts = [members.get(name, "") for name in ("model_format", "model_family", "model_type", "file_type")]
    families = members.get("model_families") or []
    if not isinstance(families, list) or not all(isinstance(text, str) and text.isprintable() for text in (*texts, *families)):
        raise FormatRefused(f"{what}: not a config", why="model_format, model_family, model_families, model_type and file_type are lines of text")
    return ModelConfig(texts[0], texts[1], tuple(families), texts[2], texts[3])


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    # Go matches names without regard to letter case and lets the last one win, so two readers could see two configs.
    members = {name.casefold(): value for name, value in pairs}
    if len(members) < len(pairs):
        raise ValueError("a member is there twice")
    return members
