"""Capability URLs: a decision to hand out one blob, carried by the client itself.

Ollama fetches the parts of a blob without its token, up to sixteen at once, from the ``Location`` it was given, and asks for that ``Location``
once per blob and pull.  The URL therefore carries the decision: who, what, until when, and a MAC by which only this server can have made it::

    /capability/library/gemma3/sha256:<64 hex>/<node>/<expiry, Unix seconds>/<64 hex of HMAC-SHA256>
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass

from registry.content.digest import Digest

__all__ = ["LIFETIME", "PREFIX", "Capability", "read_capability", "write_capability"]

PREFIX = "/capability/"
LIFETIME = 6 * 3600
"""Seconds; one URL must last for all retries of the largest blob over the slowest link."""

_CONTEXT = b"airlock blob capability v1\n"  # one key, one meaning: nothing else may ever be taken for a capability
_FORM = re.compile(
    r"/capability/(?P<repository>[a-z0-9_-]{1,80}/[a-z0-9_.-]{1,80})/(?P<digest>sha256:[0-9a-f]{64})/(?P<node>[A-Za-z0-9_.-]{1,80})"
    r"/(?P<expires>[1-9][0-9]{0,11})/(?P<mac>[0-9a-f]{64})\Z"
)


@dataclass(frozen=True, slots=True)
class Capability:
    """``node`` may fetch the blob ``digest`` of ``repository`` until ``expires`` (Unix seconds)."""

    repository: str
    digest: Digest
    node: str
    expires: int


def write_capability(secret: bytes, capability: Capability) -> str:
    """Return the URL path that stands for ``capability``; nothing in it needs escaping."""
    fields = f"{capability.repository}/{capability.digest}/{capability.node}/{capability.expires}"
    return f"{PREFIX}{fields}/{hmac.new(secret, _CONTEXT + fields.encode('ascii'), hashlib.sha256).hexdigest()}"


def read_capability(secret: bytes, target: str, *, now: float) -> Capability | None:
    """Return the capability that the request target ``target`` is, or None when it isn't one of ours or has expired.

    The whole text is compared, not its parsed parts: a target with a bent character, an escape or a query is another text.
    """
    match = _FORM.match(target)
    if match is None:
        return None
    capability = Capability(match["repository"], Digest(match["digest"]), match["node"], int(match["expires"]))
    if not hmac.compare_digest(write_capability(secret, capability).encode("ascii"), target.encode("ascii")):
        return None
    return capability if now < capability.expires else None
