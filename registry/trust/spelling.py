"""One spelling of each signature, so that nobody can change a byte of signed metadata and have them accepted.

Ed25519 (RFC 8032, with the check that S is below the group order) and ML-DSA (FIPS 204, whose hints have one encoding) leave nobody but the signer a
way to another signature over the same bytes.  ECDSA does: if (r, s) is valid, so is (r, n - s) (FIPS 186-5, section 6.4.2, reads only r and s as
numbers).  The flip forges nothing, but it would give one version of the metadata two spellings, and a courier could make an honest station look as if
it had signed twice.  Hence airlock writes and accepts only the lower s, in strict DER (X.690), in lower-case hexadecimal digits.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import CryptoSigner, Signature, SSlibKey

__all__ = ["P384_SCHEME", "P384Signer", "StrictKey", "spell_p384"]

P384_SCHEME = "ecdsa-sha2-nistp384"
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973  # SP 800-186, 3.2.1.4


class StrictKey(SSlibKey):
    """A public key that accepts one spelling of each signature."""

    def verify_signature(self, signature: Signature, data: bytes) -> None:
        """Return if ``signature`` over ``data`` is by this key.

        Raises:
            UnverifiedSignatureError: it isn't, or it is not in its one spelling.
        """
        text = signature.signature
        if not text or text.strip("0123456789abcdef") or len(text) % 2 or not self._is_spelled(text):
            raise UnverifiedSignatureError(f"signature by {self.keyid} is not in its one spelling")
        super().verify_signature(signature, data)

    def _is_spelled(self, text: str) -> bool:
        if self.scheme != P384_SCHEME:
            return True
        try:
            return spell_p384(*decode_dss_signature(bytes.fromhex(text))) == text
        except (ValueError, OverflowError):
            return False


class P384Signer(CryptoSigner):
    """An ECDSA P-384 key pair in memory, whose signatures verify under a :class:`StrictKey`."""

    def sign(self, payload: bytes) -> Signature:
        """Return a signature over ``payload`` (ECDSA with SHA-384)."""
        r, s = decode_dss_signature(bytes.fromhex(super().sign(payload).signature))
        return Signature(self.public_key.keyid, spell_p384(r, s))


def spell_p384(r: int, s: int) -> str:
    """Return the one spelling of the signature (r, s) on P-384: DER with the lower of s and n - s, in hexadecimal digits."""
    return encode_dss_signature(r, min(s, _ORDER - s)).hex()
