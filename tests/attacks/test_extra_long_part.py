"""Bytes behind the end of a part: something would travel that nobody signed."""


def test_longer(offered, refuses):
    part = offered.folder("stick") / "parts/00000001.sealed"
    part.write_bytes(part.read_bytes() + b"\0")
    refuses(
        offered, "stick", code=5, error="part 1 of set .*: too long", why="expected .* found", hint="copy the medium again", commits_metadata=True
    )
