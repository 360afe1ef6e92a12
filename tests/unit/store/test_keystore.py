"""The keystore: one passphrase, one file, and no half of it can be exchanged."""

import json

import pytest

from registry.content import canonical
from registry.errors import FormatRefused, NotFound, Refused
from registry.store.keystore import FILE_NAME, Keystore, create_keystore, open_keystore, read_public

KEYS = Keystore({"root": "secret text"}, {"keys": {"root": {"keyval": "public"}}, "recipient": "AAAA"})


@pytest.fixture
def home(tmp_path):
    create_keystore(tmp_path, "correct horse", KEYS)
    return tmp_path


def edit(home, **changes):
    document = json.loads((home / FILE_NAME).read_bytes())
    (home / FILE_NAME).write_bytes(canonical.dump({**document, **changes}))


def test_opens_with_the_passphrase(home):
    opened = open_keystore(home, "correct horse")
    assert (dict(opened.private), dict(opened.public)) == (dict(KEYS.private), dict(KEYS.public))
    assert dict(read_public(home)) == dict(KEYS.public)


def test_on_disk(home):
    data = (home / FILE_NAME).read_bytes()
    assert b"secret text" not in data
    assert (home / FILE_NAME).stat().st_mode & 0o777 == 0o600
    assert json.loads(data)["kdf"] | {"salt": ""} == {"name": "argon2id", "memory_kib": 65536, "passes": 3, "lanes": 4, "salt": ""}


@pytest.mark.parametrize("passphrase", ["", "correct", "correct horse ", "Correct horse"])
def test_wrong_passphrase(home, passphrase):
    with pytest.raises(Refused, match="the passphrase is wrong, or the file was changed"):
        open_keystore(home, passphrase)


def test_public_half_edited(home):
    """It stands in clear; whoever swaps a public key there would make the home sign for, or seal to, somebody else."""
    edit(home, public={**KEYS.public, "recipient": "BBBB"})
    assert read_public(home)["recipient"] == "BBBB"
    with pytest.raises(Refused, match="can't be opened"):
        open_keystore(home, "correct horse")


@pytest.mark.parametrize("changes", [{"sealed": "AAAA"}, {"nonce": "AAAAAAAAAAAAAAAA"}])
def test_private_half_edited(home, changes):
    edit(home, **changes)
    with pytest.raises(Refused):
        open_keystore(home, "correct horse")


@pytest.mark.parametrize("cost", [{"memory_kib": 8}, {"passes": 1}, {"lanes": 1}, {"memory_kib": 2**40}, {"name": "pbkdf2"}])
def test_another_cost(home, cost):
    """Neither a cheaper one, which an attacker would like, nor one that eats the machine."""
    document = json.loads((home / FILE_NAME).read_bytes())
    edit(home, kdf={**document["kdf"], **cost})
    with pytest.raises(FormatRefused, match="not a keystore of this version"):
        open_keystore(home, "correct horse")


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"v":1}', b"x" * (2 << 20)])
def test_not_a_keystore(home, data):
    (home / FILE_NAME).write_bytes(data)
    with pytest.raises(Exception, match="keystore.json") as refusal:
        read_public(home)
    assert refusal.value.exit_code in (3, 5)


def test_no_keystore(tmp_path):
    with pytest.raises(NotFound, match="there is no keystore"):
        open_keystore(tmp_path, "x")
