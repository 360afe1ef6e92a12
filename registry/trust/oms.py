"""OMS bundles: a signature over a model's files that any OpenSSF Model Signing 1.0 verifier understands.

A bundle is a Sigstore bundle v0.3 (JSON) around a DSSE envelope around an in-toto statement that lists every file with its SHA-256; the statement's
subject is the SHA-256 over those digests in the order of the list.  Format: github.com/ossf/model-signing-spec and PyPI ``model-signing`` 1.1.
Its key verifier takes ECDSA on P-256, P-384 and P-521, each with its own SHA-2, and so do we (``docs/adr/0006-oms-key.md``).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key, load_pem_public_key
from securesystemslib.dsse import Envelope
from securesystemslib.signer import Signer

from registry.content import canonical
from registry.content.digest import Digest, hex_of, parse_digest
from registry.errors import FormatRefused, SignatureRefused

__all__ = ["BUNDLE_TYPE", "MAX_BUNDLE_BYTES", "OmsKey", "OmsSigner", "blob_name", "key_of", "oms_bundle", "parse_key", "parse_pem", "verify_oms"]

BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
MAX_BUNDLE_BYTES = 4 << 20
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
_PREDICATE_TYPE = "https://model_signing/signature/v1.0"
_HASHES: Mapping[str, hashes.HashAlgorithm] = {"secp256r1": hashes.SHA256(), "secp384r1": hashes.SHA384(), "secp521r1": hashes.SHA512()}
_WHOLE_MODEL = "."
"""How a bundle over a single file names that file."""


@dataclass(frozen=True, slots=True)
class OmsKey:
    """A public key that OMS verifiers take; ``der`` is its SubjectPublicKeyInfo, whose one spelling was checked."""

    der: bytes

    @property
    def text(self) -> str:
        """Base64 of ``der``: how statements and pins spell the key."""
        return base64.b64encode(self.der).decode("ascii")

    @property
    def pem(self) -> bytes:
        """The key as ``model_signing verify key --public_key`` reads it."""
        return self._public().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of ``pem`` in hexadecimal: the ``hint`` in a bundle."""
        return hashlib.sha256(self.pem).hexdigest()

    def verify(self, signature: bytes, data: bytes) -> None:
        """Return if ``signature`` (DER) is this key's over ``data``; otherwise ``InvalidSignature``."""
        public = self._public()
        public.verify(signature, data, ec.ECDSA(_HASHES[public.curve.name]))

    def _public(self) -> ec.EllipticCurvePublicKey:
        public = load_der_public_key(self.der)
        assert isinstance(public, ec.EllipticCurvePublicKey)
        return public


@dataclass(frozen=True, slots=True)
class OmsSigner:
    """Who signed a bundle and what: ``name`` is the signer's name of the model, ``files`` maps each signed file to its digest."""

    key: OmsKey
    name: str
    files: Mapping[str, Digest]

    def name_of(self, file: str, digest: Digest) -> str | None:
        """Return the signer's name of a file called ``file`` (without its directory) that has this digest, or None if it is not signed."""
        for name, signed in self.files.items():
            if signed == digest and (name.rpartition("/")[2] == file or (name == _WHOLE_MODEL and len(self.files) == 1)):
                return name
        return None


def blob_name(digest: Digest) -> str:
    """Return a blob's file name in Ollama's store (``blobs/sha256-…``), which is its name in the bundles that airlock writes."""
    return f"sha256-{hex_of(digest)}"


def parse_pem(data: bytes, *, what: str) -> OmsKey:
    """Return the public key in a PEM file.

    Raises:
        FormatRefused: not a public key, or none that OMS verifiers take.
    """
    try:
        return _taken(load_pem_public_key(data), what)
    except (ValueError, UnsupportedAlgorithm):
        raise FormatRefused(f"{what}: not a public key", why="expected a PEM file that begins with -----BEGIN PUBLIC KEY-----") from None


def parse_key(text: str, *, what: str) -> OmsKey:
    """Return the key that :attr:`OmsKey.text` spells.

    Raises:
        FormatRefused: another spelling, or none that OMS verifiers take.
    """
    try:
        key = _taken(load_der_public_key(base64.b64decode(text, validate=True)), what)
    except (ValueError, UnsupportedAlgorithm):
        raise FormatRefused(f"{what}: not a public key", why="expected base64 of a SubjectPublicKeyInfo") from None
    if key.text != text:
        raise FormatRefused(f"{what}: not in the one spelling of a public key")
    return key


def key_of(signer: Signer) -> OmsKey:
    """Return the public key of a signer whose algorithm OMS verifiers take."""
    return parse_pem(signer.public_key.keyval["public"].encode("ascii"), what="OMS key")


def oms_bundle(name: str, files: Iterable[tuple[str, Digest]], signer: Signer) -> bytes:
    """Return a bundle over ``files`` (file name, digest) of the model ``name``, signed by an ECDSA key."""
    listed = sorted(files)  # "in alphabetical order"; names without "/" sort the same whether as text or as paths
    payload = canonical.dump(
        {
            "_type": _STATEMENT_TYPE,
            "subject": [{"name": name, "digest": {"sha256": _root_digest(digest for _, digest in listed)}}],
            "predicateType": _PREDICATE_TYPE,
            "predicate": {
                "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False},
                "resources": [{"name": file, "algorithm": "sha256", "digest": hex_of(digest)} for file, digest in listed],
            },
        }
    )
    signature = bytes.fromhex(signer.sign(Envelope(payload, _PAYLOAD_TYPE, {}).pae()).signature)
    return canonical.dump(
        {
            "mediaType": BUNDLE_TYPE,
            "verificationMaterial": {"publicKey": {"hint": key_of(signer).fingerprint}, "tlogEntries": []},
            "dsseEnvelope": {
                "payload": base64.b64encode(payload).decode("ascii"),
                "payloadType": _PAYLOAD_TYPE,
                "signatures": [{"keyid": "", "sig": base64.b64encode(signature).decode("ascii")}],
            },
        }
    )


def verify_oms(bundle: bytes, files: Mapping[str, Digest], key: OmsKey, *, what: str) -> OmsSigner:
    """Return what ``bundle`` says, once ``key`` has signed it and it lists all of ``files``; it may list more.

    Args:
        bundle: untrusted bytes, in any JSON spelling: other tools write other white space.
        files: the signer's file names, with the digests they must have.
        key: the only key whose signature counts.
        what: the bundle's name in an error.

    Raises:
        FormatRefused: not an OMS 1.0 bundle over files with SHA-256, or one that needs a certificate or a transparency log.
        SignatureRefused: by another key, not valid, or one of ``files`` is missing or has another digest.
    """
    payload = _signed_payload(_json(bundle, what), key, what)
    signer = _listing(_json(payload, what), key, what)
    for name, digest in files.items():
        found = signer.files.get(name)
        if found != digest:
            raise SignatureRefused(f"{what}: does not cover {name}", why=f"expected {digest}\nfound    {found or 'no file of that name'}")
    return signer


def _taken(public: object, what: str) -> OmsKey:
    if not isinstance(public, ec.EllipticCurvePublicKey) or public.curve.name not in _HASHES:
        raise FormatRefused(f"{what}: not a key that OMS verifiers take", why="expected an elliptic curve key on P-256, P-384 or P-521")
    return OmsKey(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _signed_payload(document: Any, key: OmsKey, what: str) -> bytes:
    """Return the payload of the envelope in a bundle, once its one signature is valid."""
    _members(document, {"mediaType", "verificationMaterial", "dsseEnvelope"}, f"{what}: bundle")
    if document["mediaType"] != BUNDLE_TYPE:
        raise FormatRefused(f"{what}: not a bundle of a known version", why=f"expected {BUNDLE_TYPE}, found {str(document['mediaType'])[:80]!r}")
    material = document["verificationMaterial"]
    if not isinstance(material, dict) or "publicKey" not in material:
        raise FormatRefused(
            f"{what}: not signed with a bare key",
            why="airlock verifies OMS signatures by public key; certificates and keyless signatures need services that an air gap lacks",
            hint="verify it with model_signing where it can be verified, and pin without it",
        )
    _members(material, {"publicKey"}, f"{what}: verification material", optional={"tlogEntries"})
    if material.get("tlogEntries", []) != []:
        raise FormatRefused(f"{what}: has transparency log entries, which airlock can't verify")
    hint = _members(material["publicKey"], set(), f"{what}: public key", optional={"hint"}).get("hint")
    if hint not in (None, key.fingerprint):
        raise SignatureRefused(f"{what}: signed by another key", why=f"expected key {key.fingerprint}\nfound key    {str(hint)[:64]}")
    envelope = _members(document["dsseEnvelope"], {"payload", "payloadType", "signatures"}, f"{what}: envelope")
    if envelope["payloadType"] != _PAYLOAD_TYPE or not isinstance(envelope["signatures"], list) or len(envelope["signatures"]) != 1:
        raise FormatRefused(f"{what}: not an in-toto envelope with one signature")
    signature = _members(envelope["signatures"][0], {"sig"}, f"{what}: signature", optional={"keyid"})
    payload = _base64(envelope["payload"], what)
    try:
        key.verify(_base64(signature["sig"], what), Envelope(payload, _PAYLOAD_TYPE, {}).pae())
    except InvalidSignature:
        raise SignatureRefused(f"{what}: its signature is not valid", why=f"key {key.fingerprint[:8]} did not sign these bytes") from None
    return payload


def _listing(document: Any, key: OmsKey, what: str) -> OmsSigner:
    """Return what a signed statement lists; its predicate may have members of later versions, which verifiers of 1.0 ignore."""
    try:
        kind = (document["_type"], document["predicateType"])
        [subject] = document["subject"]
        name, root = subject["name"], subject["digest"]["sha256"]
        serialization = document["predicate"]["serialization"]
        method = (serialization["method"], serialization["hash_type"])
        listed = [(each["name"], each["algorithm"], each["digest"]) for each in document["predicate"]["resources"]]
    except (KeyError, TypeError, ValueError):
        raise FormatRefused(f"{what}: not an OMS statement", why="a member is missing or has another type") from None
    if kind != (_STATEMENT_TYPE, _PREDICATE_TYPE):
        raise FormatRefused(f"{what}: not an OMS 1.0 statement", why=f"expected {_PREDICATE_TYPE}, found {str(kind[1])[:80]!r}")
    if method != ("files", "sha256") or any(algorithm != "sha256" for _, algorithm, _ in listed):
        raise FormatRefused(
            f"{what}: doesn't list whole files by SHA-256",
            why=f"found method {str(method[0])[:20]!r} with {str(method[1])[:20]!r}",
            hint="ask the signer for a signature by files with sha256, which is the default of model_signing",
        )
    if not all(isinstance(text, str) and text and text.isprintable() and len(text) <= 4096 for text in (name, *(each[0] for each in listed))):
        raise FormatRefused(f"{what}: a name in it is not 1 to 4,096 printable characters")
    files = {file: parse_digest(f"sha256:{digest}", what=what) for file, _, digest in listed}
    if not files or len(files) != len(listed):
        raise FormatRefused(f"{what}: lists no file, or one file twice")
    if root != _root_digest(files.values()):
        raise FormatRefused(f"{what}: its subject is not the digest of the files it lists")
    return OmsSigner(key, name, files)


def _root_digest(digests: Iterable[Digest]) -> str:
    return hashlib.sha256(b"".join(bytes.fromhex(hex_of(each)) for each in digests)).hexdigest()


def _json(data: bytes, what: str) -> Any:
    if len(data) > MAX_BUNDLE_BYTES:
        raise FormatRefused(f"{what}: too large", why=f"at most {MAX_BUNDLE_BYTES} bytes are allowed, found {len(data)}")
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_no_twins)
    except (ValueError, RecursionError) as error:
        raise FormatRefused(f"{what}: not readable as JSON", why=str(error)) from None


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member stands there twice")
    return members


def _members(value: Any, required: set[str], what: str, *, optional: frozenset[str] | set[str] = frozenset()) -> dict[str, Any]:
    if not isinstance(value, dict) or not required <= value.keys() <= required | optional:
        raise FormatRefused(f"{what}: has other members", why=f"expected {', '.join(sorted(required | optional))}")
    return value


def _base64(value: Any, what: str) -> bytes:
    try:
        data = base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise FormatRefused(f"{what}: expected base64") from None
    if base64.b64encode(data) != value.encode("ascii"):
        raise FormatRefused(f"{what}: not in the one spelling of base64")
    return data
