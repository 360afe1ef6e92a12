"""TLS for the server: what a client must speak, and whose client certificates are believed."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from registry.errors import AirlockError

__all__ = ["ServerTls", "server_tls"]


@dataclass(frozen=True, slots=True)
class ServerTls:
    """A context for TLS 1.2 and 1.3, and when the certificate that it serves ends, in Unix seconds."""

    context: ssl.SSLContext
    expires: float


def server_tls(certificate: Path, key: Path, client_ca: Path | None) -> ServerTls:
    """Return what serves ``certificate`` (PEM, with its chain).

    With ``client_ca`` a client may show a certificate that one of these authorities signed; a stock Ollama can't, and is known by its key instead.

    Raises:
        AirlockError: one of the files can't be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    # The client's order counts: every suite here is good, and it knows which of them its processor does in hardware.
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")  # TLS 1.2; 1.3 has no others
    context.set_alpn_protocols(["http/1.1"])
    used = f"{certificate} and {key}"
    try:
        context.load_cert_chain(certificate, key, password=_no_passphrase)
        if client_ca is not None:
            used = str(client_ca)
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_OPTIONAL
            used = str(certificate)
        expires = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc.timestamp()
    except (OSError, ValueError) as error:
        why = error.reason if isinstance(error, ssl.SSLError) and error.reason else getattr(error, "strerror", None) or str(error)
        hint = "PEM files are needed, the key unencrypted and readable by this user; airlock site tls-init makes a pair"
        raise AirlockError(f"{used}: can't be used for TLS", why=str(why), hint=hint) from error
    return ServerTls(context, expires)


def _no_passphrase() -> str:
    raise ValueError("the key is encrypted")
