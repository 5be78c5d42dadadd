"""The registry's tokens: JWTs signed with ECDSA (ES256), and the keys that they name.

A token says who its holder is and what it may do for a few minutes; whoever checks it asks
nobody. A refresh token only stands for an account's secret: it is exchanged, and dies with it.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import jwt
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
from fleetwide.models.registry_access import AccountKind
from fleetwide.registry.scopes import Access, Caller

SERVICE = "fleetwide-registry"
"""Issuer and audience, and the ``service`` of the challenge."""
LIFETIME = 240
LEEWAY = 60
"""Seconds that the clocks of two gateways may differ; with it a token lives for 5 minutes."""
REFRESH_LIFETIME = 30 * 24 * 3600
MAX_TOKEN = 16 * 1024
_ALGORITHM = "ES256"
_ACCESS, _REFRESH = "access", "refresh"
_NEEDED = ["iss", "aud", "sub", "exp", "nbf", "iat", "jti", "use"]
_PEM = re.compile(rb"-----BEGIN ([A-Z ]+)-----.+?-----END \1-----\s*", re.DOTALL)


class InvalidToken(Exception):
    """The token is not ours, was changed, or is not valid at this moment."""


@dataclass(frozen=True)
class KeyRing:
    """The key that signs, and all that are accepted; it never shows a private one."""

    kid: str
    signing: EllipticCurvePrivateKey = field(repr=False)
    accepted: Mapping[str, EllipticCurvePublicKey] = field(repr=False)


@dataclass(frozen=True)
class Claims:
    """What a token says."""

    caller: Caller
    access: tuple[Access, ...]
    expires_at: float
    """Unix seconds, without the leeway."""
    generation: str = ""
    """Of a refresh token: which secret of the account it stands for."""


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


def issue(
    ring: KeyRing, caller: Caller, access: Sequence[Access], *, now: datetime, jti: str
) -> str:
    """A token for what is allowed; valid from now on for ``LIFETIME`` seconds."""
    items = [{"type": one.type, "name": one.name, "actions": sorted(one.actions)} for one in access]
    claims = _claims(caller, now, LIFETIME, jti) | {"use": _ACCESS, "access": items}
    return jwt.encode(claims, ring.signing, _ALGORITHM, headers={"kid": ring.kid})


def issue_refresh(
    ring: KeyRing, caller: Caller, generation: str, *, now: datetime, jti: str
) -> str:
    """A token that stands for the account's present secret."""
    claims = _claims(caller, now, REFRESH_LIFETIME, jti)
    claims |= {"use": _REFRESH, "generation": generation}
    return jwt.encode(claims, ring.signing, _ALGORITHM, headers={"kid": ring.kid})


def _claims(caller: Caller, now: datetime, lifetime: int, jti: str) -> dict[str, Any]:
    moment = int(now.timestamp())
    return {
        "iss": SERVICE,
        "aud": SERVICE,
        "sub": caller.name,
        "kind": caller.kind.value,
        "iat": moment,
        "nbf": moment,
        "exp": moment + lifetime,
        "jti": jti,
    }


def verify(ring: KeyRing, token: str, *, now: datetime) -> Claims:
    """What a token says.

    Raises:
        InvalidToken: it is not one of ours, or not valid now.
    """
    return _read(ring, token, _ACCESS, now)


def verify_refresh(ring: KeyRing, token: str, *, now: datetime) -> Claims:
    """What a refresh token says; whether the account's secret is still the same is not checked.

    Raises:
        InvalidToken: it is not one of ours, or not valid now.
    """
    return _read(ring, token, _REFRESH, now)


def _read(ring: KeyRing, token: str, use: str, now: datetime) -> Claims:
    found = _decoded(ring, token)
    try:
        claims = _parsed(found)
        begins = max(float(found["nbf"]), float(found["iat"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidToken("the token's claims are malformed") from error
    if found["use"] != use:
        raise InvalidToken(f"the token is no {use} token")
    _check_times(begins, claims.expires_at, now.timestamp())
    return claims


def _decoded(ring: KeyRing, token: str) -> dict[str, Any]:
    if len(token) > MAX_TOKEN:
        raise InvalidToken("the token is too long")
    try:
        key = ring.accepted[jwt.get_unverified_header(token)["kid"]]
        found: dict[str, Any] = jwt.decode(
            token, key, [_ALGORITHM], _options(), audience=SERVICE, issuer=SERVICE
        )
    except (jwt.PyJWTError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise InvalidToken("the token is not one of this registry") from error
    return found


def _options() -> Any:
    # The times are checked here, against the caller's clock and with one leeway for all of them.
    return {"require": _NEEDED, "verify_exp": False, "verify_nbf": False, "verify_iat": False}


def _parsed(found: dict[str, Any]) -> Claims:
    access = tuple(
        Access(str(one["type"]), str(one["name"]), frozenset(map(str, one["actions"])))
        for one in found.get("access", ())
    )
    caller = Caller(str(found["sub"]), AccountKind(found["kind"]))
    return Claims(caller, access, float(found["exp"]), str(found.get("generation", "")))


def _check_times(begins: float, ends: float, moment: float) -> None:
    if moment >= ends + LEEWAY:
        raise InvalidToken("the token has expired")
    if moment < begins - LEEWAY:
        raise InvalidToken("the token is from the future: compare the clocks of the gateways")
