"""The answers of the OCI distribution specification 1.1, pull side: errors, headers, paths."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from aiohttp import web

__all__ = ["BLOB", "COMMON_HEADERS", "MANIFEST", "answer", "error"]

_NAME = r"(?P<repository>[A-Za-z0-9_][A-Za-z0-9_-]{0,79}/[A-Za-z0-9_][A-Za-z0-9_.-]{0,79})"
# Nothing is ever decoded: no name that Ollama accepts needs an escape, so a path that holds one names nothing.
MANIFEST = re.compile(rf"/v2/{_NAME}/manifests/(?P<reference>[A-Za-z0-9_][A-Za-z0-9_.:-]{{0,127}})\Z")
BLOB = re.compile(rf"/v2/{_NAME}/blobs/(?P<digest>[A-Za-z0-9_.:+-]{{1,200}})\Z")

COMMON_HEADERS: Mapping[str, str] = {
    "Server": "airlock",
    "Docker-Distribution-Api-Version": "registry/2.0",
    "X-Content-Type-Options": "nosniff",
}


def answer(data: bytes = b"", *, content_type: str = "application/json", status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return a whole small response; for HEAD aiohttp sends its headers alone."""
    return web.Response(body=data, status=status, headers={**COMMON_HEADERS, "Content-Type": content_type, **(headers or {})})


def error(status: int, code: str, message: str, *, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return an error response (distribution-spec, "Error Codes"); ``message`` is one sentence, which Ollama shows to its user."""
    body = json.dumps({"errors": [{"code": code, "message": message}]}, ensure_ascii=False, separators=(",", ":")).encode()
    return answer(body, status=status, headers=headers)
