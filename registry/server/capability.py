"""Capability URLs: a decision to hand out one blob, carried by the client itself.

Ollama fetches the parts of a blob without its token, up to sixteen at once, from the ``Location`` it was given, and asks for that ``Location``
once per blob and pull.  The URL therefore carries the decision: what, of which release in which state, to whom, until when, and a MAC by which only
this server can have made it::

    /capability/library/gemma3/270m-r2/promoted/sha256:<64 hex>/<caller>/<expiry, Unix seconds>/<64 hex of HMAC-SHA256>
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from registry.content.digest import Digest
from registry.content.view import ServedState
from registry.server.secret import Secrets

__all__ = ["LIFETIME", "PREFIX", "Capability", "read_capability", "write_capability"]

PREFIX = "/capability/"
LIFETIME = 6 * 3600
"""Seconds; one URL must last for all retries of the largest blob over the slowest link."""

_CONTEXT = b"airlock blob capability v2\n"  # one key, one meaning: nothing else may ever be taken for a capability
_FORM = re.compile(
    r"/capability/(?P<repository>[a-z0-9_-]{1,80}/[a-z0-9_.-]{1,80})/(?P<release>[a-z0-9_.-]{1,80})/(?P<state>approved|promoted)"
    r"/(?P<digest>sha256:[0-9a-f]{64})/(?P<caller>[a-z0-9_.-]{1,90})/(?P<expires>[1-9][0-9]{0,11})/(?P<mac>[0-9a-f]{64})\Z"
)


@dataclass(frozen=True, slots=True)
class Capability:
    """``caller`` may fetch the blob ``digest`` until ``expires`` (Unix seconds).

    It is part of the ``release`` (``TAG-rN``) of ``repository``, which was in ``state`` when it was handed out.
    """

    repository: str
    release: str
    state: ServedState
    digest: Digest
    caller: str
    expires: int


def write_capability(secrets: Secrets, capability: Capability) -> str:
    """Return the URL path that stands for ``capability``; nothing in it needs escaping."""
    each = capability
    fields = f"{each.repository}/{each.release}/{each.state}/{each.digest}/{each.caller}/{each.expires}"
    return f"{PREFIX}{fields}/{secrets.mac(_CONTEXT, fields)}"


def read_capability(secrets: Secrets, target: str, *, now: float) -> Capability | None:
    """Return the capability that the request target ``target`` is, or None when it isn't one of ours or has expired.

    The whole text counts, not its parsed parts: a target with a bent character, an escape or a query is another text.
    """
    match = _FORM.match(target)
    if match is None or not secrets.made(_CONTEXT, target[len(PREFIX) : match.start("mac") - 1], match["mac"]):
        return None
    state = ServedState(match["state"])
    capability = Capability(match["repository"], match["release"], state, Digest(match["digest"]), match["caller"], int(match["expires"]))
    return capability if now < capability.expires else None
