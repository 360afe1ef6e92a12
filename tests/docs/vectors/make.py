"""Write the test vectors of docs/reference/format.md from fixed inputs: python tests/docs/vectors/make.py

Streams are made here from the description alone, not by registry.media.  HPKE draws its own randomness: wrapped keys that are here already are kept.
"""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from securesystemslib.signer import CryptoSigner

from registry.content import canonical
from registry.content.digest import digest_of
from registry.content.manifest import CONFIG_TYPE, MANIFEST_TYPE, Descriptor, Manifest
from registry.content.reference import parse_reference
from registry.content.view import PublishedRelease, ServedState, View
from registry.media.index import Index, Object
from registry.media.recipients import Identity, wrap
from registry.media.sets import Header, new_set_id
from registry.media.stream import associated_data
from registry.trust.envelope import EVENT_TYPE, INDEX_TYPE, envelop, sign_detached
from registry.trust.refresh import fingerprint
from registry.trust.roles import RoleKeys, format_time, new_root, new_snapshot, new_targets, new_timestamp
from registry.trust.statement import Release
from registry.workflow.site_card import write_site_card

HERE = Path(__file__).parent
NOW = datetime(2026, 11, 21, 18, 9, 0, tzinfo=UTC)
SET_ID = new_set_id(int(NOW.timestamp() * 1000), bytes(range(10)))
SET_KEY = bytes(range(32))
SIGNERS = {name: hashlib.sha256(f"airlock test vector: {name}".encode()).digest() for name in ("root", "release", "station", "receipt", "actor")}
IDENTITY = hashlib.sha256(b"airlock test vector: identity").digest()
SALT, PREFIX = bytes(range(100, 132)), bytes(range(200, 207))


def main() -> None:
    """Write every file."""
    write("canonical", canonical_vectors())
    write("streams", stream_vectors())
    wrapped = wrapped_vectors()
    write("wrapped", wrapped)
    write("documents", document_vectors(base64.b64decode(wrapped["wrapped"])))


def write(name: str, document: object) -> None:
    """Write one file, for people to read and compare."""
    (HERE / f"{name}.json").write_text(json.dumps(document, indent=2, ensure_ascii=True) + "\n", encoding="ascii")


def signer(name: str) -> CryptoSigner:
    """Return the key pair of this name."""
    return CryptoSigner(Ed25519PrivateKey.from_private_bytes(SIGNERS[name]))


def b64(data: bytes) -> str:
    """Return ``data`` as base64."""
    return base64.b64encode(data).decode("ascii")


def canonical_vectors() -> list[dict[str, object]]:
    """Return texts and whether they are canonical."""
    accepted = ['{"a":1,"b":[true,false,null,"\u00e9"]}', "[]", "{}", '"\\u0000\\n"', "9007199254740991", '{"A":1,"a":2}', "[" * 16 + "]" * 16]
    refused = {
        '{"b":1,"a":2}': "keys not sorted",
        '{"a":1,"a":1}': "a key twice",
        '{"a": 1}': "white space",
        "1.0": "not an integer",
        "1e2": "not an integer",
        "9007199254740992": "beyond 2^53 - 1",
        '"\\u00e9"': "a needless escape",
        '"\\ud800"': "a lone surrogate",
        "NaN": "not JSON",
        "[1,]": "not JSON",
        "{}\n": "something after the value",
        "-0": "a second spelling of 0",
        "[" * 17 + "]" * 17: "nested deeper than 16",
    }
    return [{"text": text, "expect": "accepted"} for text in accepted] + [
        {"text": text, "expect": "refused", "why": why} for text, why in refused.items()
    ]


def plaintext(length: int) -> bytes:
    """Return bytes that anybody can make again: byte i is i mod 251."""
    return (bytes(range(251)) * (length // 251 + 1))[:length]


def seal(data: bytes, associated: bytes) -> bytes:
    """Seal ``data`` as docs/reference/format.md describes it, with the fixed salt and prefix."""
    key = AESGCM(HKDF(SHA256(), 32, SALT, associated).derive(SET_KEY))
    first, rest = data[: 1048576 - 40 - 16], data[1048576 - 40 - 16 :]
    segments = [first] + [rest[at : at + 1048576 - 16] for at in range(0, len(rest), 1048576 - 16)]
    out = bytes([40]) + SALT + PREFIX
    for number, segment in enumerate(segments):
        last = number == len(segments) - 1
        out += key.encrypt(PREFIX + number.to_bytes(4, "big") + bytes([last]), segment, None)
    return out


def stream_vectors() -> dict[str, object]:
    """Return sealed streams of lengths around the ends of segments."""
    vectors = []
    for length in (0, 1, 1000, 1048519, 1048520, 1048521, 2097080, 2097081):
        associated = associated_data(SET_ID, "part", length % 9 + 1)
        sealed = seal(plaintext(length), associated)
        vector = {"plain_bytes": length, "associated_data": associated.decode(), "sealed_bytes": len(sealed)}
        vector["sealed_sha256"] = hashlib.sha256(sealed).hexdigest()
        if length <= 1000:
            vector["sealed"] = b64(sealed)
        vectors.append(vector)
    return {
        "about": "plaintext byte i is i mod 251; longer streams are given by their SHA-256",
        "set_key": SET_KEY.hex(),
        "salt": SALT.hex(),
        "nonce_prefix": PREFIX.hex(),
        "streams": vectors,
    }


def wrapped_vectors() -> dict[str, str]:
    """Return a set key wrapped for the fixed identity: the one that is here already, if its inputs are the same."""
    identity = Identity(IDENTITY)
    inputs = {
        "set": SET_ID,
        "identity_seed": IDENTITY.hex(),
        "recipient": b64(identity.recipient.public),
        "key_id": identity.recipient.key_id,
        "info": canonical.dump({"format": "airlock-set-v1", "recipient": identity.recipient.key_id, "set": SET_ID}).decode(),
        "set_key": SET_KEY.hex(),
    }
    path = HERE / "wrapped.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    same = all(before.get(name) == value for name, value in inputs.items())
    return inputs | {"wrapped": before["wrapped"] if same else b64(wrap(SET_KEY, identity.recipient, set_id=SET_ID))}


def document_vectors(wrapped: bytes) -> dict[str, object]:
    """Return one document of each kind, as one small set and one site hold them."""
    identity = Identity(IDENTITY)
    keys = {name: signer(name) for name in SIGNERS}
    station = RoleKeys([keys["station"].public_key])
    roles = {
        "root": RoleKeys([keys["root"].public_key]),
        "targets": RoleKeys([keys["release"].public_key]),
        "snapshot": station,
        "timestamp": station,
    }
    root = new_root(1, roles, [keys["root"]], NOW)
    publisher = fingerprint(root)
    reference = parse_reference("library/tiny:1b", pinnable=True)
    model = Descriptor("application/vnd.ollama.image.model", digest_of(plaintext(2000)), 2000)
    config = Descriptor(CONFIG_TYPE, digest_of(b"{}"), 2)
    manifest = Manifest(config, (model,)).to_bytes()
    first = Descriptor(MANIFEST_TYPE, digest_of(manifest), len(manifest))
    statement = Release(
        publisher, reference, 1, "ab" * 32, (first, model, config), "file:tiny.gguf", {"family": "llama", "format": "gguf"}
    ).to_bytes()
    targets = new_targets(1, {digest_of(statement): len(statement)}, [keys["release"]], NOW)
    snapshot = new_snapshot(1, targets, [keys["station"]], NOW)
    timestamp = new_timestamp(1, snapshot, [keys["station"]], NOW)
    header = Header(SET_ID, {identity.recipient.key_id: wrapped}).to_bytes()
    site = keys["receipt"].public_key.keyid
    objects = (Object(first.digest, 0, first.size), Object(config.digest, first.size, 2), Object(model.digest, first.size + 2, 2000))
    index = Index(
        SET_ID, digest_of(header), format_time(NOW), publisher, 1, (site,), (statement,), objects, 1 << 30, (4, digest_of(b"event 4"))
    ).to_bytes()
    envelope = envelop(index, INDEX_TYPE, [keys["station"]])
    event = canonical.dump(
        {
            "v": 1,
            "seq": 1,
            "time": format_time(NOW),
            "actor": keys["actor"].public_key.keyid,
            "verb": "station.init",
            "subject": {"actor": keys["actor"].public_key.to_dict(), "publisher": publisher},
            "prev": None,
        }
    )
    view = View(site, 8, (PublishedRelease(publisher, "library/tiny", "1b", 1, ServedState.PROMOTED, first.digest, digest_of(statement)),)).to_bytes()
    documents = {
        "1.root.json": root,
        "timestamp.json": timestamp,
        "snapshot.json": snapshot,
        "targets.json": targets,
        "manifest": manifest,
        "statement": statement,
        "set.json": header,
        "index payload": index,
        "index envelope": envelope,
        "index.sealed": seal(envelope, associated_data(SET_ID, "index", 0)),
        "site.pub": write_site_card(identity.recipient, keys["receipt"]),
        "event": event,
        "published view": view,
    }
    return {
        "about": "every document in base64; Ed25519 keys are made from these seeds; the set key, salt and prefix are those of streams.json",
        "now": format_time(NOW),
        "set": SET_ID,
        "seeds": {name: seed.hex() for name, seed in SIGNERS.items()},
        "key_ids": {name: key.public_key.keyid for name, key in keys.items()},
        "event_signature": sign_detached(event, EVENT_TYPE, keys["actor"]),
        "documents": {name: b64(data) for name, data in documents.items()},
    }


if __name__ == "__main__":
    main()
