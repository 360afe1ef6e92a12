"""A metadata file changed on the way, unsigned, or signed by somebody else."""

import json

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata

from registry.trust.keys import new_signer
from registry.trust.roles import serialise

FILES = ("1.root.json", "timestamp.json", "snapshot.json", "targets.json")


def change_letter(data):
    return data.replace(b'"expires":"20', b'"expires":"21', 1)


def change_signature(data):
    document = json.loads(data)
    [signature] = document["signatures"]
    signature["sig"] = ("0" if signature["sig"][0] != "0" else "1") + signature["sig"][1:]
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()


def unsigned(data):
    metadata = Metadata.from_bytes(data)
    metadata.signatures.clear()
    return serialise(metadata)


def sign_by(data, *keys):
    metadata = Metadata.from_bytes(data)
    for key in keys:
        metadata.sign(key, append=True)
    return serialise(metadata)


def by_a_stranger(data):
    metadata = Metadata.from_bytes(data)
    metadata.signatures.clear()
    return sign_by(serialise(metadata), CryptoSigner.generate_ed25519())


CHANGES = {
    "edited": change_letter,
    "signature edited": change_signature,
    "unsigned": unsigned,
    "signed by a stranger": by_a_stranger,
    "signed by a stranger too": lambda data: sign_by(data, new_signer()),
    "white space": lambda data: data.replace(b",", b", ", 1),
    "newline": lambda data: data + b"\n",
    "upper case": lambda data: data[:-80] + data[-80:].upper() if b'"sig"' in data else data,
    "duplicate member": lambda data: data.replace(b'"spec_version"', b'"spec_version":"9","spec_version"', 1),
    "unknown member of a signature": lambda data: data.replace(b'{"keyid"', b'{"a":1,"keyid"', 1),
    "unknown member": lambda data: data.replace(b'{"signatures"', b'{"a":1,"signatures"', 1),
    "cut": lambda data: data[:-1],
    "empty": lambda data: b"",
    "an array": lambda data: b"[]",
    "deep": lambda data: b"[" * 60_000,
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_edited(offered, refuses, name, change):
    path = offered.folder("stick") / "metadata" / name
    data = path.read_bytes()
    path.write_bytes(change(data))
    assert path.read_bytes() != data
    refuses(offered, "stick", code=3, error="metadata|json|publisher")


@pytest.mark.parametrize("name", FILES)
def test_missing(offered, refuses, name):
    (offered.folder("stick") / "metadata" / name).unlink()
    refuses(offered, "stick", code=3, error=f"metadata/{name} is missing", hint="copy the medium again")


def test_new_first_root(exported):
    """Whoever brings a root of their own is another publisher, whom nobody trusts."""
    path = exported.folder() / "metadata/1.root.json"
    path.write_bytes(by_a_stranger(path.read_bytes()))
    done = exported.airlock("inspect", "usb")
    assert done.code == 3
    assert "1.root.json" in done.lines["error"] or "root.json" in done.lines["error"]
    assert done.lines["unchanged"] == "inspect changes nothing"
