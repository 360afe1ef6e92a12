"""Keys on a PKCS #11 token: a real SoftHSM 2, initialised by its own tools."""

import os
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pkcs11
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.signer import Signer

from registry.content.digest import digest_of
from registry.errors import FormatRefused, NotFound, Refused, Usage
from registry.store.tokens import open_token_signer
from registry.trust.envelope import INDEX_TYPE, envelop, open_envelope
from registry.trust.keys import new_signer
from registry.trust.refresh import Age, OfferedMetadata, adopt_publisher, fingerprint, refresh
from registry.trust.roles import RoleKeys, new_root, new_snapshot, new_targets, new_timestamp

MODULE = next(Path("/usr/lib").rglob("libsofthsm2.so"), Path("/usr/lib/softhsm/libsofthsm2.so"))
PIN = "2468 rose"
NOW = datetime(2026, 11, 21, 18, 9, tzinfo=UTC)


def run(*command):
    done = subprocess.run([str(each) for each in command], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def never(label):
    pytest.fail(f"the PIN of {label} was asked for")


@pytest.fixture(scope="module")
def softhsm(tmp_path_factory):
    """Tokens of this module's own: ``airlock`` with several keys, ``spare`` twice."""
    if not MODULE.exists() or not shutil.which("pkcs11-tool"):
        say = pytest.fail if os.environ.get("AIRLOCK_TEST_STRICT") == "1" else pytest.skip
        say("no SoftHSM here: apt-get install softhsm2 opensc")
    root = tmp_path_factory.mktemp("softhsm")
    (root / "tokens").mkdir()
    (root / "softhsm2.conf").write_text(f"directories.tokendir = {root}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(root / "softhsm2.conf"))
        for label in ("airlock", "spare", "spare"):
            run("softhsm2-util", "--module", MODULE, "--init-token", "--free", "--label", label, "--so-pin", "13579", "--pin", PIN)
        for label, number, kind in (
            ("release", "01", "secp384r1"),
            ("root", "02", "secp384r1"),
            ("small", "03", "prime256v1"),
            ("root", "04", "secp384r1"),
        ):
            make = ("--keypairgen", "--key-type", f"EC:{kind}", "--label", label, "--id", number, "--usage-sign")
            run("pkcs11-tool", "--module", MODULE, "--token-label", "airlock", "--login", "--pin", PIN, *make)
        yield root
        pkcs11.unload(str(MODULE))


@pytest.fixture
def uri(softhsm):
    """Return a function that names a key on the token ``airlock``."""
    return lambda rest="object=release", query="": f"pkcs11:token=airlock;{rest}?module-path={MODULE}{query}"


@pytest.fixture
def signer(uri):
    """The key ``release`` on the token."""
    asked = []

    def pin(label):
        asked.append(label)
        return PIN

    with_token = open_token_signer(uri(), pin)
    assert asked == ["airlock"]
    yield with_token
    with_token.close()


def test_metadata_signed_by_a_token_pass_the_refresh(signer):
    """A hybrid release role: the token's P-384 key and an ML-DSA key in a file, both needed."""
    root_key, station, quantum = new_signer(), new_signer(), new_signer("ml-dsa-65")
    one = RoleKeys([station.public_key])
    roles = {
        "root": RoleKeys([root_key.public_key]),
        "targets": RoleKeys([signer.public_key, quantum.public_key], 2),
        "snapshot": one,
        "timestamp": one,
    }
    root = new_root(1, roles, [root_key], NOW)
    targets = new_targets(1, {digest_of(b"statement"): 9}, [signer, quantum], NOW)
    snapshot = new_snapshot(1, targets, [station], NOW)
    offered = OfferedMetadata((root,), new_timestamp(1, snapshot, [station], NOW), snapshot, targets)
    refreshed = refresh(adopt_publisher(offered, fingerprint(root)), offered, now=NOW, floor=None)
    assert refreshed.age is Age.NEWER
    assert list(refreshed.targets.targets) == [f"{digest_of(b'statement')[7:]}.json"]


def test_the_token_signs_what_openssl_would_verify(signer, softhsm, tmp_path):
    """The public key and a signature as other programs read them."""
    (tmp_path / "key.pem").write_text(signer.public_key.keyval["public"])
    (tmp_path / "signature").write_bytes(bytes.fromhex(signer.sign(b"what is signed").signature))
    (tmp_path / "data").write_bytes(b"what is signed")
    command = ("openssl", "dgst", "-sha384", "-verify", tmp_path / "key.pem", "-signature", tmp_path / "signature", tmp_path / "data")
    assert run(*command) == "Verified OK\n"
    key = load_pem_public_key((tmp_path / "key.pem").read_bytes())
    assert isinstance(key.curve, ec.SECP384R1)


def test_every_signature_of_the_token_has_the_low_s(signer):
    """A token makes the higher s half of the time; thirty signatures that verify leave a chance of one in a billion that nobody lowers it."""
    assert isinstance(signer, Signer)
    for number in range(30):
        data = b"%d" % number
        signer.public_key.verify_signature(signer.sign(data), data)


def test_an_envelope_signed_by_a_token_opens(signer):
    data = envelop(b'{"a":1}', INDEX_TYPE, [signer])
    assert open_envelope(data, INDEX_TYPE, [signer.public_key], 1, what="index", limit=10_000).payload == b'{"a":1}'


def test_two_keys_of_one_token_at_once(signer, uri):
    """A login counts for the whole process; the second key works beside the first."""
    other = open_token_signer(uri("object=root;id=%02"), lambda label: PIN)
    assert other.public_key.keyid != signer.public_key.keyid
    other.public_key.verify_signature(other.sign(b"x"), b"x")
    other.close()
    signer.public_key.verify_signature(signer.sign(b"x"), b"x")


def test_the_pin_comes_from_a_file(uri, tmp_path):
    (tmp_path / "pin").write_text(PIN + "\n")
    signer = open_token_signer(uri(query=f"&pin-source=file:{tmp_path}/pin"), never)
    signer.public_key.verify_signature(signer.sign(b"x"), b"x")
    signer.close()


def test_a_wrong_pin_is_tried_once(uri):
    asked = []

    def wrong(label):
        asked.append(label)
        return "0000"

    with pytest.raises(Refused, match="the PIN is wrong") as refusal:
        open_token_signer(uri(), wrong)
    assert asked == ["airlock"]
    assert "once" in refusal.value.why
    assert refusal.value.hint
    open_token_signer(uri(), lambda label: PIN).close()  # the right one still opens it


@pytest.mark.parametrize(
    ("rest", "error", "says"),
    [
        ("object=nobody", NotFound, "holds no public key with label 'nobody'"),
        ("object=release;id=%09", NotFound, "holds no public key with label 'release' and id 09"),
        ("object=root", Usage, "holds several public keys with label 'root'"),
        ("object=small", FormatRefused, "not for ECDSA on P-384"),
    ],
)
def test_another_key_costs_no_pin(uri, rest, error, says):
    """What is wrong with the name is said before a PIN is asked for."""
    with pytest.raises(error, match=says):
        open_token_signer(uri(rest), never)


def test_another_token_costs_no_pin(uri, softhsm):
    with pytest.raises(NotFound, match="no such token") as refusal:
        open_token_signer(f"pkcs11:token=nobody;object=release?module-path={MODULE}", never)
    assert "'airlock' (serial " in refusal.value.why
    with pytest.raises(Usage, match="several tokens fit"):
        open_token_signer(f"pkcs11:token=spare;object=release?module-path={MODULE}", never)


def test_a_module_that_is_none(softhsm, tmp_path):
    with pytest.raises(NotFound, match="no such PKCS #11 module"):
        open_token_signer(f"pkcs11:object=release?module-path={tmp_path}/none.so", never)


def test_a_pin_file_that_is_not_there(uri, tmp_path):
    with pytest.raises(NotFound, match="the PIN file can't be read"):
        open_token_signer(uri(query=f"&pin-source=file:{tmp_path}/none"), never)
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(Usage, match="first line is empty"):
        open_token_signer(uri(query=f"&pin-source=file:{tmp_path}/empty"), never)


def test_a_person_acts_at_a_site_with_a_token(serving, uri, tmp_path):
    (tmp_path / "pin").write_text(PIN + "\n")
    key = uri(query=f"&pin-source=file:{tmp_path}/pin")
    shown = serving.airlock("--home", "anna", "key", "show", key, "--to", "anna.pub")
    assert shown.code == 0, shown.err
    serving.ok("in", "people", "add", "anna", "--key", "anna.pub")
    done = serving.airlock("--home", "in", "promote", "tiny:2b", "--actor", key)
    assert done.code == 0, done.err
    serving.ok("in", "check")
