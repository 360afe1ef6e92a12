"""The names of this server: a request for any other host gets neither a challenge nor a token, so that nobody can relay a node's signature."""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass

from aiohttp import web

__all__ = ["Hosts", "host_of", "name_of", "port_of"]

_HOST = re.compile(r"(?P<name>[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?P<port>:[0-9]{1,5})?\Z")
_LOCAL = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True, slots=True)
class Hosts:
    """``names`` in lower case, without port: whoever forwards ports may choose others."""

    names: frozenset[str]

    def accept(self, request: web.BaseRequest) -> bool:
        """Tell whether the request was meant for us, by one of our names or by the address at which it arrived."""
        match = _HOST.match(request.headers.get("Host", ""))
        if match is None:
            return False
        name = match["name"].lower()
        return name in self.names or (not self.names and name in (*_LOCAL, socket.gethostname().lower(), _arrived_at(request)[0]))


def host_of(request: web.BaseRequest) -> str:
    """Return ``Host`` as sent when it is one, else the address the request came in by."""
    host = request.headers.get("Host", "")
    return host if _HOST.match(host) else "".join(_arrived_at(request)) or "localhost"


def name_of(request: web.BaseRequest) -> str:
    """Return the host as the client spells it, without its port."""
    match = _HOST.match(host_of(request))
    return match["name"] if match else "localhost"


def port_of(request: web.BaseRequest) -> str:
    """Return ``:PORT`` as the client spells it, or nothing."""
    match = _HOST.match(host_of(request))
    return (match["port"] or "") if match else ""


def _arrived_at(request: web.BaseRequest) -> tuple[str, str]:
    address = request.transport.get_extra_info("sockname") if request.transport else None
    if not address:
        return "", ""
    try:
        host = ipaddress.ip_address(address[0])
    except ValueError:
        return "", ""
    return f"[{host}]" if host.version == 6 else str(host), f":{address[1]}"
