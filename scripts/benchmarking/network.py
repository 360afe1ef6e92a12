"""A network of the benchmark's own, in which TCP is set as Linux ships it: what a machine's owner tuned would be measured otherwise, not the servers.

BBR, for example, paces what is sent by a timer, loopback included, and how often that timer fires says nothing about who sends.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from pathlib import Path

_SETTINGS = Path("/proc/sys/net/ipv4")
AS_SHIPPED = {"tcp_congestion_control": "cubic", "tcp_rmem": "4096 131072 6291456", "tcp_wmem": "4096 16384 4194304"}  # tcp(7), and Debian's kernel
_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000  # sched.h; Python has os.unshare from 3.12 on
_SET_FLAGS, _UP = 0x8914, 0x1  # SIOCSIFFLAGS, IFF_UP (netdevice(7))


def enter_own_network() -> bool:
    """Move this process, and what it starts, into a network namespace with nothing but loopback; tell whether that worked.

    Without privileges it needs a user namespace, too, which some systems forbid.  Where it doesn't work everything stays as it is.
    """
    user, group, privileged = os.geteuid(), os.getegid(), os.geteuid() == 0
    if ctypes.CDLL(None, use_errno=True).unshare(_NEW_NETWORK | (0 if privileged else _NEW_USER)):
        return False
    if not privileged:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sH14x", b"lo", _UP))
    for name, value in AS_SHIPPED.items():
        try:
            (_SETTINGS / name).write_text(value)
        except OSError:  # read-only, as in many containers; what holds is reported
            return False
    return True


def settings() -> dict[str, str]:
    """Return how TCP is set where this process runs."""
    return {name: " ".join((_SETTINGS / name).read_text().split()) for name in AS_SHIPPED}
