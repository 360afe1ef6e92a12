"""Parity: Reed–Solomon over the parts of a set, so that lost or rotten parts come back from the others.

Parts and parity parts are dealt into groups like cards, so that parts that lie side by side (and go bad together) belong to different groups.  Of a
group of *k* parts and *m* parity parts, any *k* bring back the rest.  Byte *x* of parity part *r* is the sum, in GF(2⁸) modulo 0x11d, of byte *x* of
each part *j* times 1/((k + r) xor j): the Cauchy matrix of ISA-L, through pyeclib.  A part that is shorter counts as if it ended in zeros.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from pyeclib.ec_iface import ECDriver

__all__ = ["MAX_SHARES", "STRIPE_BYTES", "Coder", "Group", "group_parts"]

MAX_SHARES = 32
"""Parts and parity parts of one group together: the limit of liberasurecode."""
STRIPE_BYTES = 256 << 10
"""How much of each share is coded at a time."""
_HEADER_BYTES = 80  # what liberasurecode puts in front of each fragment; the same for every content


@dataclass(frozen=True, slots=True)
class Group:
    """The numbers of the parts that belong together, and of the parity parts over them, each in order."""

    data: tuple[int, ...]
    parity: tuple[int, ...]


def group_parts(parts: int, share: Fraction) -> tuple[Group, ...]:
    """Return the groups of a set of ``parts`` parts with parity parts for ``share`` of them, rounded up; none for a share of 0.

    Parity parts are numbered from ``parts`` + 1 on.  Each group gets at least one.
    """
    wanted = -(-parts * share.numerator // share.denominator)
    if not wanted:
        return ()
    groups = -(-(parts + wanted) // MAX_SHARES)
    while -(-parts // groups) + -(-max(wanted, groups) // groups) > MAX_SHARES:
        groups += 1
    wanted = max(wanted, groups)
    return tuple(
        Group(tuple(range(first, parts + 1, groups)), tuple(range(parts + first, parts + wanted + 1, groups))) for first in range(1, groups + 1)
    )


class Coder:
    """Codes one group, :data:`STRIPE_BYTES` of each share at a time.  A *share* is counted from 0: first the parts, then the parity parts."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self._code = ECDriver(k=len(group.data), m=len(group.parity), ec_type="isa_l_rs_cauchy")
        fragments = self._code.encode(bytes(len(group.data) * STRIPE_BYTES))
        self._headers = [bytes(each[:_HEADER_BYTES]) for each in fragments]

    def parity(self, stripe: bytes) -> list[memoryview]:
        """Return the parity shares over ``stripe``: :data:`STRIPE_BYTES` of each part, one after another."""
        return [memoryview(each)[_HEADER_BYTES:] for each in self._code.encode(stripe)[len(self.group.data) :]]

    def rebuild(self, shares: Mapping[int, bytes | memoryview], wanted: Sequence[int]) -> list[memoryview]:
        """Return the ``wanted`` parts' shares, from as many others as the group has parts; each share has :data:`STRIPE_BYTES`."""
        data = memoryview(self._code.decode([b"".join((self._headers[number], share)) for number, share in shares.items()]))
        return [data[number * STRIPE_BYTES : (number + 1) * STRIPE_BYTES] for number in wanted]
