"""The OpenSSF's own model_signing verifies what we sign, and we verify what it signs.

It is installed from PyPI into an environment of its own below AIRLOCK_TEST_CACHE, once.  ``AIRLOCK_TEST_STRICT=1`` makes its absence a failure.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from registry.content.digest import digest_of
from registry.errors import SignatureRefused
from registry.trust.keys import new_signer
from registry.trust.oms import key_of, oms_bundle, parse_pem, verify_oms

REQUIREMENTS = ("model-signing==1.1.1", "pyOpenSSL==26.4.0")
pytestmark = pytest.mark.slow  # model_signing is downloaded, once
CURVES = [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()]


@pytest.fixture(scope="session")
def model_signing():
    """Return a function that runs the real ``model_signing`` and returns what it did."""
    cache = Path(os.environ.get("AIRLOCK_TEST_CACHE") or Path.home() / ".cache" / "airlock-tests")
    home = cache / f"model-signing-{hashlib.sha256(' '.join(REQUIREMENTS).encode()).hexdigest()[:12]}"
    program = home / "bin" / "model_signing"
    if not (home / "whole").exists():
        shutil.rmtree(home, ignore_errors=True)
        try:
            subprocess.run([sys.executable, "-m", "venv", home], check=True, capture_output=True, text=True)
            subprocess.run([home / "bin" / "pip", "install", "--quiet", *REQUIREMENTS], check=True, capture_output=True, text=True)
        except (subprocess.CalledProcessError, OSError) as error:
            say = pytest.fail if os.environ.get("AIRLOCK_TEST_STRICT") == "1" else pytest.skip
            say(f"model_signing can't be had here: {getattr(error, 'stderr', error)}")
        (home / "whole").touch()

    def run(*arguments):
        return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=300)

    return run


@pytest.fixture
def model(tmp_path):
    """A directory as a model's makers publish it."""
    directory = tmp_path / "tiny-model"
    (directory / "gguf").mkdir(parents=True)
    (directory / "README.md").write_text("a model\n")
    (directory / "gguf" / "tiny.gguf").write_bytes(b"weights")
    return directory


def write_keys(directory, curve):
    private = ec.generate_private_key(curve)
    (directory / "key.pem").write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (directory / "key.pub").write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return directory / "key.pem", directory / "key.pub"


def files_of(directory, *without):
    paths = (path for path in directory.rglob("*") if path.is_file() and path.name not in without)
    return {str(path.relative_to(directory)): digest_of(path.read_bytes()) for path in paths}


def test_it_verifies_ours(model_signing, model, tmp_path):
    signer = new_signer("ecdsa-p384")
    bundle, key = tmp_path / "bundle.json", tmp_path / "key.pub"
    bundle.write_bytes(oms_bundle("tiny-model", files_of(model).items(), signer))
    key.write_bytes(key_of(signer).pem)
    command = ["verify", "key", model, "--signature", bundle, "--public_key", key]
    done = model_signing(*command)
    assert done.returncode == 0, done.stderr
    assert "succeeded" in done.stdout
    (model / "gguf" / "tiny.gguf").write_bytes(b"Weights")
    done = model_signing(*command)
    assert done.returncode != 0
    assert "Hash mismatch for 'gguf/tiny.gguf'" in done.stderr


@pytest.mark.parametrize("curve", CURVES, ids=lambda curve: curve.name)
def test_we_verify_its(model_signing, model, tmp_path, curve):
    private, public = write_keys(tmp_path, curve)
    done = model_signing("sign", "key", model, "--private_key", private, "--signature", model / "model.sig")
    assert done.returncode == 0, done.stderr
    bundle, key = (model / "model.sig").read_bytes(), parse_pem(public.read_bytes(), what="key")
    signer = verify_oms(bundle, files_of(model, "model.sig"), key, what="bundle")
    assert signer.name == "tiny-model"
    assert signer.files == files_of(model, "model.sig")
    assert signer.name_of("tiny.gguf", digest_of(b"weights")) == "gguf/tiny.gguf"
    with pytest.raises(SignatureRefused):
        verify_oms(bundle, {"gguf/tiny.gguf": digest_of(b"Weights")}, key, what="bundle")


def test_a_single_file(model_signing, model, tmp_path):
    private, public = write_keys(tmp_path, CURVES[1])
    file = model / "gguf" / "tiny.gguf"
    assert model_signing("sign", "key", file, "--private_key", private, "--signature", tmp_path / "one.sig").returncode == 0
    signer = verify_oms((tmp_path / "one.sig").read_bytes(), {}, parse_pem(public.read_bytes(), what="key"), what="bundle")
    assert signer.name == "tiny.gguf"
    assert signer.name_of("tiny.gguf", digest_of(b"weights")) == "."


def test_the_journey_of_a_signed_model(model_signing, exported, tmp_path):
    """Upstream signs, the station verifies and adds its own, the site verifies both, an auditor verifies ours with the printed command."""
    world = exported
    private, public = write_keys(tmp_path, CURVES[0])
    upstream = world.path("upstream")
    upstream.mkdir()
    world.model("upstream/tiny.gguf", 11)
    (upstream / "README.md").write_text("a model\n")
    assert model_signing("sign", "key", upstream, "--private_key", private, "--signature", upstream / "model.sig").returncode == 0
    pin = ("--from", "file:upstream/tiny.gguf", "--upstream-oms", "upstream/model.sig", "--upstream-key", public)
    done = world.ok("out", "--json", "pin", "tiny:3b", *pin).json
    assert done["upstream"]["signed_name"] == "upstream"
    assert done["upstream"]["file"] == "tiny.gguf"
    world.path("signed").mkdir()
    world.export("signed")
    world.ok("in", "trust", "add", "signed", "--fingerprint", world.fingerprint("signed"))
    world.ok("in", "import", "signed")
    world.path("audit").mkdir()
    written = world.ok("in", "--json", "evidence", "tiny:3b", "--to", "audit", "--with-model").json
    assert [each["kind"] for each in written] == ["oms", "oms-upstream"]
    assert (world.path(written[1]["bundle"])).read_bytes() == (upstream / "model.sig").read_bytes()
    verify = [str(world.path(word)) if word.startswith("audit/") else word for word in written[0]["command"].split()[1:]]
    done = model_signing(*verify)
    assert done.returncode == 0, done.stderr
    files = world.path(written[0]["model"])
    model = max(files.iterdir(), key=lambda path: path.stat().st_size)
    assert model.read_bytes() == (upstream / "tiny.gguf").read_bytes()
    (files / "notes.txt").write_text("an auditor's")
    assert model_signing(*verify).returncode == 0, "as on a node, other files may lie there"
    model.chmod(0o644)
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    assert model_signing(*verify).returncode != 0
    shown = world.ok("in", "--json", "show", "tiny:3b").json["releases"][0]["evidence"]
    assert {each["kind"]: each["signed_name"] for each in shown} == {"oms": "library/tiny:3b-r3", "oms-upstream": "upstream"}
    json.loads((world.path(written[0]["bundle"])).read_bytes())
