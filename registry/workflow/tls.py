"""A site's own certificate authority, for sites without one: it signs the server's certificate and is what nodes install."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from registry.errors import Usage
from registry.store.files import replace_file, storage_errors
from registry.store.home import SITE, Home
from registry.store.keystore import Keystore, create_keystore, open_keystore
from registry.workflow.station import Passphrase

__all__ = ["Certificates", "tls_init"]

_CA_LIFE = timedelta(days=3653)
_EARLIER = timedelta(days=1)  # nodes behind the gap have no time server
_DNS = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*\Z")


@dataclass(frozen=True, slots=True)
class Certificates:
    """What lies in ``tls/`` of a home: the authority's certificate, the server's certificate and key, for which names and until when it is good.

    ``fingerprint`` is the SHA-256 of the authority's certificate; ``new_authority`` is False when the one that was there signed again.
    """

    authority: Path
    certificate: Path
    key: Path
    names: tuple[str, ...]
    until: datetime
    fingerprint: str
    new_authority: bool


def tls_init(home: Home, names: Sequence[str], days: int, passphrase: Passphrase, *, now: datetime) -> Certificates:
    """Make a certificate for the server, and the authority that signs it if there is none yet.

    The authority's key is sealed by the site's passphrase; the server's is not, since the server starts without a person.

    Args:
        home: the site's.
        names: DNS names and addresses by which nodes reach the server, at least one.
        days: how long the server's certificate is good.
        passphrase: the site's.
        now: the time.

    Raises:
        Usage: no name, or one that isn't a name.
        Refused: wrong passphrase.
    """
    home.require(SITE)
    spelled = [_general_name(name) for name in names]
    directory = home.root / "tls"
    paths = {name: directory / name for name in ("ca.pem", "server.pem", "server.key")}
    secret = passphrase()
    with home.locked("site tls-init"), storage_errors(f"the directory {directory}"):
        open_keystore(home.root, secret)  # so that both open with one passphrase
        directory.mkdir(mode=0o755, exist_ok=True)
        new = not paths["ca.pem"].exists()
        if new:
            key, authority = _make_authority(now)
            create_keystore(directory, secret, Keystore({"ca": _pem(key).decode("ascii")}, {}))
            replace_file(paths["ca.pem"], authority.public_bytes(serialization.Encoding.PEM))
        else:
            authority = x509.load_pem_x509_certificate(paths["ca.pem"].read_bytes())
            loaded = serialization.load_pem_private_key(open_keystore(directory, secret).private["ca"].encode("ascii"), None)
            assert isinstance(loaded, ec.EllipticCurvePrivateKey)
            key = loaded
        server_key = ec.generate_private_key(ec.SECP256R1())
        until = min(now + timedelta(days=days), authority.not_valid_after_utc)
        certificate = _make_certificate(server_key.public_key(), spelled, (key, authority), now, until)
        replace_file(paths["server.key"], _pem(server_key), mode=0o600)
        replace_file(paths["server.pem"], certificate.public_bytes(serialization.Encoding.PEM))
    fingerprint = authority.fingerprint(hashes.SHA256()).hex()
    return Certificates(paths["ca.pem"], paths["server.pem"], paths["server.key"], tuple(names), until, fingerprint, new)


def _make_authority(now: datetime) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP384R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "airlock site CA")])
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    builder = _builder(name, name, key.public_key(), now, now + _CA_LIFE)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True).add_extension(usage, critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return key, builder.sign(key, hashes.SHA384())


def _make_certificate(
    public: ec.EllipticCurvePublicKey,
    names: Sequence[x509.GeneralName],
    signer: tuple[ec.EllipticCurvePrivateKey, x509.Certificate],
    now: datetime,
    until: datetime,
) -> x509.Certificate:
    key, authority = signer
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "airlock site registry")])
    builder = _builder(subject, authority.subject, public, now, until)
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    identifier = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
    return builder.sign(key, hashes.SHA384())


def _builder(subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, now: datetime, until: datetime) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public)
    return builder.serial_number(x509.random_serial_number()).not_valid_before(now - _EARLIER).not_valid_after(until)


def _general_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        pass
    if len(text) > 253 or not _DNS.match(text):
        raise Usage(f"{text!r}: not a host name or an address", hint="for example --name registry.site.internal --name 10.0.0.5")
    return x509.DNSName(text)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
