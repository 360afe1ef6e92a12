"""How many descriptors a process needs: the usual limit of 1,024 is less than what a few dozen nodes take at once."""

from __future__ import annotations

import logging
import resource

__all__ = ["raise_descriptor_limit"]

_EACH = 3  # of one connection: its own, the blob's, and that under which its bytes are sent
_BESIDE = 64

_log = logging.getLogger(__name__)


def raise_descriptor_limit(connections: int) -> None:
    """Allow this process as many descriptors as ``connections`` may need, as far as the system lets it; say when that is not enough."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections * _EACH + _BESIDE
    if soft >= wanted:
        return
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        _log.warning("%d connections may need %d descriptors, and the system allows %d: raise LimitNOFILE", connections, wanted, allowed)
