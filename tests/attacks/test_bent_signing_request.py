"""The stick between station and signer is bent: garbage, a link, a giant or a missing statement must not be signed."""

import pytest


def bend_garbage(draft):
    draft.write_bytes(b"garbage")


def bend_link(draft):
    draft.unlink()
    draft.symlink_to("/etc/hostname")


def bend_giant(draft):
    with draft.open("wb") as stream:
        stream.truncate(40_000_000)


def bend_statements(draft):
    for statement in (draft.parent / "statements").iterdir():
        statement.unlink()


@pytest.mark.parametrize(
    ("bend", "code", "error"),
    [
        (bend_garbage, 3, "the draft is not TUF metadata"),
        (bend_link, 5, "can't be used"),
        (bend_giant, 5, "larger than any airlock writes"),
        (bend_statements, 3, "names a statement that is not here"),
    ],
)
def test_nothing_is_signed(exported, tree, bend, code, error):
    exported.path("stick").mkdir()
    exported.ok("out", "release", "prepare", "stick")
    bend(exported.path("stick/airlock-signing/targets/draft.json"))
    before = tree(exported.path("stick"))
    done = exported.outside("sign", "stick", "--key", "release")
    assert done.code == code
    assert error in done.lines["error"]
    assert done.lines["unchanged"] == "nothing was signed"
    assert tree(exported.path("stick")) == before
    assert not exported.path("out/signed").exists()
