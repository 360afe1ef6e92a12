"""What anybody can check with sha256sum, jq and openssl, as the note on the medium says."""

import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess

import pytest

needs = [program for program in ("openssl", "jq", "sha256sum") if shutil.which(program) is None]
pytestmark = pytest.mark.skipif(bool(needs), reason=f"not installed: {', '.join(needs)}")


def shell(script, cwd):
    return subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=cwd, capture_output=True, text=True, check=False)


def test_sha256sums(exported):
    folder = exported.folder()
    done = shell("sha256sum -c SHA256SUMS", folder)
    assert done.returncode == 0, done.stderr
    assert sorted(line.partition(":")[0] for line in done.stdout.splitlines()) == ["index.sealed", "parts/00000001.sealed", "set.json"]
    part = folder / "parts/00000001.sealed"
    data = bytearray(part.read_bytes())
    data[99] ^= 1
    part.write_bytes(data)
    done = shell("sha256sum -c SHA256SUMS", folder)
    assert done.returncode == 1
    assert "parts/00000001.sealed: FAILED" in done.stdout


# Ed25519 public keys travel as 32 raw bytes; openssl wants the fixed prefix of a SubjectPublicKeyInfo before them (RFC 8410).
VERIFY = """
for role in root timestamp snapshot targets; do
    file=$role.json; [ $role = root ] && file=1.root.json
    keyid=$(jq -r ".signed.roles.$role.keyids[0]" 1.root.json)
    public=$(jq -r ".signed.keys[\\"$keyid\\"].keyval.public" 1.root.json)
    { printf '\\x30\\x2a\\x30\\x05\\x06\\x03\\x2b\\x65\\x70\\x03\\x21\\x00'; printf "$(sed 's/../\\\\x&/g' <<<"$public")"; } >"$OUT/key.der"
    printf "$(jq -r ".signatures[] | select(.keyid == \\"$keyid\\").sig" $file | sed 's/../\\\\x&/g')" >"$OUT/signature"
    jq -cSj .signed $file >"$OUT/signed"
    openssl pkeyutl -verify -pubin -keyform DER -inkey "$OUT/key.der" -rawin -in "$OUT/signed" -sigfile "$OUT/signature"
done
"""


def verify(folder, out):
    out.mkdir(exist_ok=True)
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", VERIFY],
        cwd=folder / "metadata",
        env={**os.environ, "OUT": str(out)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_metadata_signatures(exported, tmp_path):
    """Canonical JSON in TUF's sense is what ``jq -cSj`` prints for our metadata."""
    done = verify(exported.folder(), tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Signature Verified Successfully") == 4


def test_metadata_signatures_notice_a_change(exported, tmp_path):
    path = exported.folder() / "metadata/targets.json"
    path.write_bytes(path.read_bytes().replace(b'"version":1', b'"version":2'))
    done = verify(exported.folder(), tmp_path / "out")
    assert done.returncode != 0
    assert done.stdout.count("Signature Verified Successfully") == 3


def test_hashes_and_fingerprint(exported):
    """The timestamp names the snapshot's hash, the snapshot the targets', and the fingerprint is the root file's."""
    script = """
    [ "$(jq -r '.signed.meta["snapshot.json"].hashes.sha256' timestamp.json)" = "$(sha256sum snapshot.json | cut -c-64)" ]
    [ "$(jq -r '.signed.meta["targets.json"].hashes.sha256' snapshot.json)" = "$(sha256sum targets.json | cut -c-64)" ]
    sha256sum 1.root.json | cut -c-64
    """
    done = shell(script, exported.folder() / "metadata")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == exported.fingerprint()


def test_metadata_name_no_model(exported):
    """They travel in clear: nothing in them says which models a site uses, not even to somebody who guesses."""
    for path in (exported.folder() / "metadata").iterdir():
        text = path.read_text()
        assert "tiny" not in text
        assert "library" not in text
        for release in exported.ok("out", "pins", "--json").json:
            assert release["manifest"].removeprefix("sha256:") not in text
    targets = json.loads((exported.folder() / "metadata/targets.json").read_bytes())["signed"]["targets"]
    assert len(targets) == 2
    assert all(len(path) == 69 for path in targets)


def test_log_without_airlock(imported):
    """The log is SQLite and JSON: each event names the digest of the one before."""
    with contextlib.closing(sqlite3.connect(imported.path("in/airlock.db"))) as database:
        documents = [bytes(row[0]) for row in database.execute("SELECT document FROM events ORDER BY seq")]
    assert len(documents) == len(imported.events()) >= 5
    previous = None
    for document in documents:
        event = json.loads(document)
        assert event["prev"] == previous
        previous = f"sha256:{hashlib.sha256(document).hexdigest()}"
