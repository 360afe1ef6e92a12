"""What a path asks for.

Nothing is ever decoded: no name that Ollama accepts needs an escape, so a path that holds one names nothing.
"""

from __future__ import annotations

import re
from enum import StrEnum

from registry.server.capability import PREFIX

__all__ = ["Route", "parse_target"]

_NAME = r"(?P<repository>[A-Za-z0-9_][A-Za-z0-9_-]{0,79}/[A-Za-z0-9_][A-Za-z0-9_.-]{0,79})"
_DIGEST = r"(?P<digest>[A-Za-z0-9_.:+-]{1,200})"


class Route(StrEnum):
    """The endpoints (distribution-spec, "Endpoints"), and ours beside them."""

    MANIFEST = "manifest"
    BLOB = "blob"
    TAGS = "tags"
    REFERRERS = "referrers"
    CATALOG = "catalog"
    BASE = "base"
    LINK = "link"
    TOKEN = "token"  # noqa: S105 - no secret
    HEALTH = "health"
    OTHER = "other"


_NAMED = (
    (Route.MANIFEST, re.compile(rf"/v2/{_NAME}/manifests/(?P<reference>[A-Za-z0-9_][A-Za-z0-9_.:-]{{0,127}})\Z")),
    (Route.BLOB, re.compile(rf"/v2/{_NAME}/blobs/{_DIGEST}\Z")),
    (Route.TAGS, re.compile(rf"/v2/{_NAME}/tags/list\Z")),
    (Route.REFERRERS, re.compile(rf"/v2/{_NAME}/referrers/{_DIGEST}\Z")),
)
_EXACT = {"/v2": Route.BASE, "/v2/": Route.BASE, "/v2/_catalog": Route.CATALOG, "/token": Route.TOKEN, "/healthz": Route.HEALTH}


def parse_target(target: str) -> tuple[Route, dict[str, str]]:
    """Return what a request target asks for, and the ``repository`` (lower case), ``reference`` or ``digest`` (as sent) that it names."""
    if target.startswith(PREFIX):
        return Route.LINK, {}
    path = target.partition("?")[0]
    if route := _EXACT.get(path):
        return route, {}
    for route, form in _NAMED:
        if match := form.match(path):
            return route, {**match.groupdict(), "repository": match["repository"].lower()}
    return Route.OTHER, {}
