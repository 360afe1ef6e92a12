"""A part cut short, as by a stick pulled too early."""

import pytest


@pytest.mark.parametrize("keep", [0, 1, 39, 40, 1000, -16, -1])
def test_cut(offered, refuses, keep):
    part = offered.folder("stick") / "parts/00000001.sealed"
    part.write_bytes(part.read_bytes()[:keep])
    refuses(
        offered,
        "stick",
        code=5,
        error=r"part 1 of set \w{26}: incomplete",
        why=r"expected [\d,]+ bytes, found [\d,]+",
        hint="still being copied.*copy the medium again",
        commits_metadata=True,
    )
