"""Signatures over documents: DSSE envelopes with Ed25519, and the key file of the platform.

Source: https://github.com/secure-systems-lab/dsse (envelope and protocol, version 1).
"""

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from fleetwide.errors import ArtifactRejected, InvalidInput, PlatformError
from fleetwide.providers.private_files import create_private, read_private
from fleetwide.registry.digests import canonical_json

ENVELOPE_TYPE = "application/vnd.dsse.envelope.v1+json"
FIELD = "signing_key"


@dataclass(frozen=True)
class VerifyingKey:
    """A public key, with the id that signatures name it by."""

    public: Ed25519PublicKey

    @property
    def keyid(self) -> str:
        """SHA-256 of the public key's SubjectPublicKeyInfo, in hexadecimal."""
        spki = self.public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(spki).hexdigest()

    def pem(self) -> bytes:
        """The public key as people hand it on."""
        return self.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@dataclass(frozen=True)
class SigningKey:
    """A private key; it never shows itself in a message or a representation."""

    private: Ed25519PrivateKey = field(repr=False)

    @property
    def verifying(self) -> VerifyingKey:
        return VerifyingKey(self.private.public_key())


def load_or_create_key(path: Path) -> SigningKey:
    """The Ed25519 key in ``path`` (PEM, PKCS8); a new one, readable by us alone, when missing.

    Processes that create it at the same time all end up with the same one.

    Raises:
        InvalidInput: the file holds something else, or others may read it.
        PlatformError: the file can be neither read nor written.
    """
    try:
        if not path.exists():
            _create(path)
        return _load(path)
    except OSError as error:
        raise PlatformError(
            f"the signing key {path} can be neither read nor made: {error.strerror}",
            hint=f"ls -ld {path.parent} {path}",
        ) from error


def _create(path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    create_private(path, pem)


def _load(path: Path) -> SigningKey:
    pem = read_private(path, FIELD)
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _not_a_key(path) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _not_a_key(path)
    return SigningKey(key)


def _not_a_key(path: Path) -> InvalidInput:
    return InvalidInput.for_field(
        FIELD,
        "holds no unencrypted Ed25519 private key in PEM",
        given=str(path),
        hint=f"openssl genpkey -algorithm ed25519 -out {path} && chmod 600 {path}",
    )


def load_public_key(pem: bytes) -> VerifyingKey:
    """The public key in ``pem``; ``InvalidInput`` when there is no Ed25519 key in it."""
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidInput.for_field("public_key", "is no public key in PEM") from error
    if not isinstance(key, Ed25519PublicKey):
        raise InvalidInput.for_field("public_key", "is no Ed25519 key")
    return VerifyingKey(key)


def sign(key: SigningKey, payload: bytes, payload_type: str) -> bytes:
    """The DSSE envelope of ``payload``; the same key and payload give the same bytes."""
    signature = key.private.sign(_authenticated(payload_type, payload))
    return canonical_json(
        {
            "payloadType": payload_type,
            "payload": base64.b64encode(payload).decode(),
            "signatures": [
                {"keyid": key.verifying.keyid, "sig": base64.b64encode(signature).decode()}
            ],
        }
    )


def verify(envelope: bytes, key: VerifyingKey, payload_type: str) -> bytes:
    """The payload, when ``key`` has signed it as ``payload_type``.

    Raises:
        ArtifactRejected: it is no envelope, of another type, by another key, or was changed.
    """
    try:
        document = json.loads(envelope)
        payload = _decoded(document["payload"])
        signatures = [
            (one.get("keyid") or "", _decoded(one["sig"])) for one in document["signatures"]
        ]
        given_type = document["payloadType"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactRejected("the signature is no DSSE envelope") from error
    if given_type != payload_type:
        raise ArtifactRejected(f"the envelope holds {given_type!r}, not {payload_type!r}")
    ours = [signature for keyid, signature in signatures if keyid in ("", key.keyid)]
    if not ours:
        signers = ", ".join(sorted({str(keyid)[:16] for keyid, _ in signatures})) or "nobody"
        raise ArtifactRejected(f"the envelope was signed by {signers}, not by {key.keyid[:16]}")
    if not any(_is_good(key, signature, payload_type, payload) for signature in ours):
        raise ArtifactRejected("the signature does not fit the document: one of them was changed")
    return payload


def _is_good(key: VerifyingKey, signature: bytes, payload_type: str, payload: bytes) -> bool:
    try:
        key.public.verify(signature, _authenticated(payload_type, payload))
    except InvalidSignature:
        return False
    return True


def _authenticated(payload_type: str, payload: bytes) -> bytes:
    """What is really signed: type and payload with their lengths in bytes, so none can shift."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def _decoded(text: Any) -> bytes:
    """Base64 in either of its alphabets, as DSSE asks of those who read it."""
    if not isinstance(text, str):
        raise TypeError("base64 must be a text")
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except binascii.Error as error:
        raise ValueError("no base64") from error
