"""Nodes, rules and tokens of the published view: what the writer writes is what the parser accepts, and nothing else."""

import base64
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.content.callers import AccessRule, KnownNode, KnownToken, key_bytes, key_fingerprint, parse_node_key
from registry.content.canonical import dump
from registry.content.digest import digest_of
from registry.content.view import View, parse_view
from registry.errors import FormatRefused

RAW = bytes(range(32))
WIRE = base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + RAW).decode()
KEY = f"ssh-ed25519 {WIRE}"
NODE = KnownNode("gpu-01", KEY, "", ("test",))
VIEW = View(
    "s",
    1,
    (),
    (),
    (NODE, KnownNode("gpu-02", "", "gpu-02.site.internal", ())),
    (AccessRule("clinic", "clinical/*"), AccessRule("everyone", "library/*")),
    (KnownToken("ci", digest_of(b"t"), ("library/*",), 1_900_000_000, ()),),
)


def test_written_and_read_back():
    assert parse_view(VIEW.to_bytes()) == VIEW


def test_a_key_as_it_stands_in_the_file():
    for text in (KEY, f"{KEY} user@host", f"  ssh-ed25519\t{WIRE} a comment\n"):
        assert parse_node_key(text, what="node") == KEY
    assert key_bytes(KEY) == RAW


def test_the_fingerprint_is_that_of_ssh_keygen():
    """Made with: ssh-keygen -lf on the same key."""
    assert key_fingerprint(KEY) == "SHA256:" + "ZkAslGjFiUHdGf/WUL8rQvkib4PTvQatUV0OUQSncCA"


@pytest.mark.parametrize(
    "text",
    [
        "",
        WIRE,
        f"ssh-rsa {WIRE}",
        f"ssh-ed25519 {WIRE[:-4]}",
        f"ssh-ed25519 {WIRE}AAAA",
        f"ssh-ed25519 {WIRE[:-1]}=",
        "ssh-ed25519 " + base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x1f" + RAW).decode(),
        "ssh-ed25519 " + base64.b64encode(b"\0\0\0\x0bssh-ed25518\0\0\0\x20" + RAW).decode(),
        f"SSH-ED25519 {WIRE}",
        None,
        7,
    ],
)
def test_what_is_no_key_is_refused(text):
    with pytest.raises(FormatRefused):
        parse_node_key(text, what="node")


@given(st.text(max_size=120))
def test_any_text_is_a_key_or_refused(text):
    with contextlib.suppress(FormatRefused):
        assert parse_node_key(text, what="node").startswith("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI")


@pytest.mark.parametrize(
    ("member", "change"),
    [
        ("nodes", {"name": "GPU"}),
        ("nodes", {"name": "-a"}),
        ("nodes", {"name": "a" * 61}),
        ("nodes", {"name": "a b"}),
        ("nodes", {"key": KEY + " comment"}),
        ("nodes", {"key": ""}),
        ("nodes", {"key": None}),
        ("nodes", {"certificate": "UPPER"}),
        ("nodes", {"certificate": "a..b"}),
        ("nodes", {"groups": ["b", "a"]}),
        ("nodes", {"groups": ["a", "a"]}),
        ("nodes", {"groups": "test"}),
        ("nodes", {"extra": 1}),
        ("rules", {"group": ""}),
        ("rules", {"pattern": "library"}),
        ("rules", {"pattern": "Library/*"}),
        ("rules", {"pattern": "a/[b]"}),
        ("rules", {"pattern": None}),
        ("tokens", {"patterns": []}),
        ("tokens", {"patterns": "library/*"}),
        ("tokens", {"expires": 0}),
        ("tokens", {"expires": True}),
        ("tokens", {"digest": "sha256:x"}),
        ("tokens", {"name": 3}),
    ],
)
def test_entries_that_are_not_ones_are_refused(member, change):
    document = json.loads(VIEW.to_bytes())
    document[member][0] |= change
    with pytest.raises(FormatRefused):
        parse_view(dump(document))


@pytest.mark.parametrize("member", ["nodes", "rules", "tokens"])
def test_lists_that_are_missing_unsorted_or_doubled_are_refused(member):
    document = json.loads(VIEW.to_bytes())
    for entries in (None, {}, [1], document[member][:1] * 2, [*document[member][::-1], document[member][0]]):
        with pytest.raises(FormatRefused):
            parse_view(dump(document | {member: entries}))


def test_one_key_is_one_node():
    with pytest.raises(ValueError, match="keys of nodes"):
        View("s", 1, (), (), (NODE, KnownNode("gpu-03", KEY, "", ()))).to_bytes()
