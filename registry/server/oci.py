"""The answers of the OCI distribution specification 1.1, pull side: errors, headers, pages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from urllib.parse import urlencode

from aiohttp import web

__all__ = ["COMMON_HEADERS", "answer", "error", "page"]

_COUNT = re.compile(r"[0-9]{1,6}\Z")

COMMON_HEADERS: Mapping[str, str] = {
    "Server": "airlock",
    "Docker-Distribution-Api-Version": "registry/2.0",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}


def page(request: web.BaseRequest, path: str, member: str, names: Iterable[str], rest: Mapping[str, object]) -> web.Response:
    """Return a page of ``names``, in lexical order, as ``member`` of the answer ("Listing Tags": ``n``, ``last`` and ``Link``)."""
    found, last, count = sorted(set(names)), request.query.get("last", ""), request.query.get("n")
    if count is not None and not _COUNT.match(count):
        return error(400, "PAGINATION_NUMBER_INVALID", "n is a number of names, at most 999,999")
    after = [name for name in found if name > last] if last else found
    shown = after if count is None else after[: int(count)]
    headers = {}
    if shown and len(shown) < len(after):
        headers["Link"] = f'<{path}?{urlencode({"n": count, "last": shown[-1]})}>; rel="next"'
    return answer(json.dumps({**rest, member: shown}, separators=(",", ":")).encode(), headers=headers)


def answer(data: bytes = b"", *, content_type: str = "application/json", status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return a whole small response; for HEAD aiohttp sends its headers alone."""
    return web.Response(body=data, status=status, headers={**COMMON_HEADERS, "Content-Type": content_type, **(headers or {})})


def error(status: int, code: str, message: str, *, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return an error response (distribution-spec, "Error Codes"); ``message`` is one sentence, which Ollama shows to its user."""
    body = json.dumps({"errors": [{"code": code, "message": message}]}, ensure_ascii=False, separators=(",", ":")).encode()
    return answer(body, status=status, headers=headers)
