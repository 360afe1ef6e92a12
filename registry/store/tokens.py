"""Signing keys on PKCS #11 tokens: smart cards, USB tokens, HSMs.

The private key never leaves the token; the token signs SHA-384 digests with ECDSA on P-384 (``CKM_ECDSA``).  The PIN comes from a prompt or a file
and is tried once: tokens lock after a few wrong ones.  Needs ``pip install 'model-airlock[pkcs11]'``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from cryptography.hazmat.primitives.asymmetric import ec
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Key, SecretsHandler, Signature, Signer, SSlibKey

from registry.errors import FormatRefused, NotFound, Refused, StoreFailed, Usage
from registry.store.files import read_limited
from registry.store.token_uri import TokenUri, parse_token_uri
from registry.trust.keys import public_from_json
from registry.trust.spelling import spell_p384

try:
    import pkcs11
except ImportError:  # the extra is not installed; everything but open_token_signer's first lines is out of reach then
    _INSTALLED = False
else:
    _INSTALLED = True

__all__ = ["AskPin", "TokenSigner", "open_token_signer"]

AskPin = Callable[[str], str]
"""Asks for the PIN of the token with this label."""

_P384 = bytes.fromhex("06052b81040022")  # CKA_EC_PARAMS: the DER of the object identifier secp384r1
_POINT_BYTES = 97
_MAX_PIN_FILE = 4096


class TokenSigner(Signer):
    """A key pair on a token, logged in until it is closed or forgotten."""

    def __init__(self, session: pkcs11.Session, private: pkcs11.PrivateKey, public: SSlibKey, what: str) -> None:
        self._session = session
        self._private = private
        self._public = public
        self._what = what

    @property
    def public_key(self) -> SSlibKey:
        """The public half."""
        return self._public

    def sign(self, payload: bytes) -> Signature:
        """Return a signature over ``payload`` (ECDSA with SHA-384), after checking it.

        Raises:
            StoreFailed: the token is gone, or doesn't sign with the key whose public half it shows.
        """
        with _translated(self._what):
            raw: bytes = self._private.sign(hashlib.sha384(payload).digest(), mechanism=pkcs11.Mechanism.ECDSA)  # type: ignore[attr-defined]
        half = len(raw) // 2
        signature = Signature(self._public.keyid, spell_p384(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big")))
        try:
            self._public.verify_signature(signature, payload)
        except UnverifiedSignatureError:
            raise StoreFailed(
                f"{self._what}: signed wrongly",
                why="its private key does not belong to its public key, or the token is faulty",
                hint="name the key by its id as well (id=%01), or use another token",
            ) from None
        return signature

    def close(self) -> None:
        """Log out and end the session."""
        with _translated(self._what):
            self._session.close()

    @classmethod
    def from_priv_key_uri(cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None) -> NoReturn:
        """Refuse: :func:`open_token_signer` is the one way in."""
        raise NotImplementedError


def open_token_signer(uri: str, pin: AskPin) -> TokenSigner:
    """Return the key pair that ``uri`` names, ready to sign.

    Args:
        uri: see :mod:`registry.store.token_uri`; loads the module it names into this process.
        pin: called at most once, unless the URI names a file that holds the PIN.

    Raises:
        Usage: not such a URI, or support for tokens is not installed.
        NotFound: no such module, token, key or PIN file.
        Refused: the PIN is wrong or the token locked.
        FormatRefused: the key is not for ECDSA on P-384.
        StoreFailed: whatever else the token says.
    """
    wanted = parse_token_uri(uri)
    if not _INSTALLED:
        raise Usage("keys on tokens are not supported by this installation", hint="pip install 'model-airlock[pkcs11]'")
    if not wanted.module.is_file():
        raise NotFound(f"{wanted.module}: there is no such PKCS #11 module", hint="install the token's software; SoftHSM is in softhsm2")
    with _translated(str(wanted.module)):
        token = _find_token(pkcs11.lib(str(wanted.module)), wanted)
        what = f"token {token.label!r}"
    with _translated(what):
        public = _public_key(token, wanted, what)
        session = _log_in(token, _pin(wanted, pin, token.label), what)
        try:
            private = _find_key(session, pkcs11.ObjectClass.PRIVATE_KEY, wanted, what)
        except BaseException:
            session.close()
            raise
    return TokenSigner(session, private, public, what)


def _find_token(library: Any, wanted: TokenUri) -> pkcs11.Token:
    here: list[pkcs11.Token] = [token for token in library.get_tokens() if pkcs11.TokenFlag.TOKEN_INITIALIZED in token.flags]
    fit = [each for each in here if wanted.token in (None, each.label) and wanted.serial in (None, each.serial.decode("utf-8", "replace").strip())]
    if len(fit) == 1:
        return fit[0]
    names = ", ".join(f"{each.label!r} (serial {each.serial.decode('utf-8', 'replace').strip()})" for each in here) or "none"
    if fit:
        raise Usage("several tokens fit", why=f"here are {names}", hint="name one with token=LABEL or serial=NUMBER")
    raise NotFound("there is no such token", why=f"here are {names}", hint="plug it in; pkcs11-tool --module MODULE --list-slots shows what is there")


def _public_key(token: pkcs11.Token, wanted: TokenUri, what: str) -> SSlibKey:
    """Read the public key before any PIN is asked for: a wrong name must not cost a try."""
    with token.open() as session:
        found = _find_key(session, pkcs11.ObjectClass.PUBLIC_KEY, wanted, what)
        kind, curve, point = (found[name] for name in (pkcs11.Attribute.KEY_TYPE, pkcs11.Attribute.EC_PARAMS, pkcs11.Attribute.EC_POINT))
    if kind != pkcs11.KeyType.EC or bytes(curve) != _P384:
        raise FormatRefused(f"{what}: the key is not for ECDSA on P-384", hint="make one: pkcs11-tool --keypairgen --key-type EC:secp384r1 …")
    try:
        # A DER octet string (PKCS #11 3.0, 6.3.3); some tokens give the bare point.
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), bytes(point)[-_POINT_BYTES:])
    except ValueError as error:
        raise FormatRefused(f"{what}: its public key is not a point on P-384", why=str(error)) from None
    return public_from_json(SSlibKey.from_crypto(key).to_dict(), what=what)


def _find_key(session: pkcs11.Session, kind: pkcs11.ObjectClass, wanted: TokenUri, what: str) -> Any:
    half = "private" if kind == pkcs11.ObjectClass.PRIVATE_KEY else "public"
    name = " and ".join(part for part in (wanted.label and f"label {wanted.label!r}", wanted.id is not None and f"id {wanted.id.hex()}") if part)
    attributes = {pkcs11.Attribute.CLASS: kind, pkcs11.Attribute.LABEL: wanted.label, pkcs11.Attribute.ID: wanted.id}
    found = list(session.get_objects({name: value for name, value in attributes.items() if value is not None}))
    if not found:
        raise NotFound(f"{what}: holds no {half} key with {name}", hint="pkcs11-tool --module MODULE --list-objects --login shows what it holds")
    if len(found) > 1:
        raise Usage(f"{what}: holds several {half} keys with {name}", hint="name one with object=LABEL;id=%01")
    return found[0]


def _pin(wanted: TokenUri, ask: AskPin, label: str) -> str:
    if wanted.pin_file is None:
        return ask(label)
    try:
        lines = read_limited(wanted.pin_file, _MAX_PIN_FILE, what=str(wanted.pin_file)).decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise NotFound(f"{wanted.pin_file}: the PIN file can't be read", why=str(error)) from None
    if not lines or not lines[0]:
        raise Usage(f"{wanted.pin_file}: the PIN file's first line is empty")
    return lines[0]


def _log_in(token: pkcs11.Token, pin: str, what: str) -> pkcs11.Session:
    try:
        return token.open(user_pin=pin)
    except pkcs11.UserAlreadyLoggedIn:
        return token.open()  # a login counts for every session of a process (PKCS #11, C_Login)
    except (pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLenRange):
        raise Refused(
            f"{what}: the PIN is wrong",
            why="it was tried once; a token locks after a few wrong PINs, whoever types them",
            hint="make sure of the PIN and of the token, then run the same command again",
        ) from None
    except pkcs11.PinLocked:
        raise Refused(
            f"{what}: is locked", why="too many wrong PINs were typed", hint="its security officer unlocks it with the vendor's tool"
        ) from None


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Turn the library's remaining errors into ours."""
    try:
        yield
    except pkcs11.PKCS11Error as error:
        said = str(error) or type(error).__name__
        raise StoreFailed(f"{what}: the token refused", why=said, hint="is it still plugged in? run the same command again") from None
