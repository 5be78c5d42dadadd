"""The keys of the registry's tokens: one signs, several may be accepted while they change."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from fleetwide.errors import InvalidInput

_PEM = re.compile(rb"-----BEGIN ([A-Z ]+)-----.+?-----END \1-----\s*", re.DOTALL)


@dataclass(frozen=True)
class KeyRing:
    """The key that signs, and all that are accepted; it never shows a private one."""

    kid: str
    signing: EllipticCurvePrivateKey = field(repr=False)
    accepted: Mapping[str, EllipticCurvePublicKey] = field(repr=False)


def new_key() -> bytes:
    """A private key as PEM."""
    key = generate_private_key(SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def parse_keys(pem: bytes, place: str) -> KeyRing:
    """The keys of a file: its first private key signs, every key in it is accepted.

    Raises:
        InvalidInput: no private key is in it, or something that is no P-256 key.
    """
    private = [_private(block[0], place) for block in _PEM.finditer(pem) if b"PRIV" in block[1]]
    public = [_public(block[0], place) for block in _PEM.finditer(pem) if b"PRIV" not in block[1]]
    if not private:
        raise _no_key(place)
    every = [key.public_key() for key in private] + public
    accepted = {key_id(key): key for key in every}
    return KeyRing(key_id(private[0].public_key()), private[0], accepted)


def key_id(key: EllipticCurvePublicKey) -> str:
    """The first half of the SHA-256 of the key's SubjectPublicKeyInfo."""
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()[:32]


def _private(pem: bytes, place: str) -> EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _no_key(place) from error
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
        raise _no_key(place)
    return key


def _public(pem: bytes, place: str) -> EllipticCurvePublicKey:
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _no_key(place) from error
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise _no_key(place)
    return key


def _no_key(place: str) -> InvalidInput:
    return InvalidInput.for_field(
        "registry_token_key",
        "must hold an unencrypted ECDSA P-256 private key in PEM, and only keys of that kind",
        given=place,
        hint="openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256",
    )
