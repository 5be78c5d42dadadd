"""The registry's tokens: JWTs signed with ECDSA (ES256).

A token says who its holder is and what it may do for a few minutes; whoever checks it asks
nobody. A refresh token only stands for an account's secret: it is exchanged, and dies with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import jwt

from fleetwide.models.registry_access import AccountKind
from fleetwide.registry.scopes import Access, Caller
from fleetwide.registry.token_keys import KeyRing

SERVICE = "fleetwide-registry"
"""Issuer and audience, and the ``service`` of the challenge."""
LIFETIME = 240
LEEWAY = 60
"""Seconds that the clocks of two gateways may differ; with it a token lives for 5 minutes."""
REFRESH_LIFETIME = 30 * 24 * 3600
MAX_TOKEN = 16 * 1024
_ALGORITHM = "ES256"
_ACCESS, _REFRESH = "access", "refresh"
_LIFETIMES = {_ACCESS: LIFETIME, _REFRESH: REFRESH_LIFETIME}
_NEEDED = ["iss", "aud", "sub", "exp", "nbf", "iat", "jti", "use"]


class InvalidToken(Exception):
    """The token is not ours, was changed, or is not valid at this moment."""


@dataclass(frozen=True)
class Claims:
    """What a token says."""

    caller: Caller
    access: tuple[Access, ...]
    expires_at: float
    """Unix seconds, without the leeway."""
    kid: str
    """The key that signed it."""
    generation: str = ""
    """Of a refresh token: which secret of the account it stands for."""


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
    found, kid = _decoded(ring, token)
    try:
        claims = _parsed(found, kid)
        begins = max(float(found["nbf"]), float(found["iat"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidToken("the token's claims are malformed") from error
    if found["use"] != use:
        raise InvalidToken(f"the token is no {use} token")
    # Who has stolen a key makes no token that outlives the key's removal.
    if claims.expires_at - begins > _LIFETIMES[use]:
        raise InvalidToken("the token lives longer than this registry lets any live")
    _check_times(begins, claims.expires_at, now.timestamp())
    return claims


def _decoded(ring: KeyRing, token: str) -> tuple[dict[str, Any], str]:
    if len(token) > MAX_TOKEN:
        raise InvalidToken("the token is too long")
    try:
        kid = jwt.get_unverified_header(token)["kid"]
        found: dict[str, Any] = jwt.decode(
            token, ring.accepted[kid], [_ALGORITHM], _options(), audience=SERVICE, issuer=SERVICE
        )
    except (jwt.PyJWTError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise InvalidToken("the token is not one of this registry") from error
    return found, kid


def _options() -> Any:
    # The times are checked here, against the caller's clock and with one leeway for all of them.
    return {"require": _NEEDED, "verify_exp": False, "verify_nbf": False, "verify_iat": False}


def _parsed(found: dict[str, Any], kid: str) -> Claims:
    access = tuple(
        Access(str(one["type"]), str(one["name"]), frozenset(map(str, one["actions"])))
        for one in found.get("access", ())
    )
    caller = Caller(str(found["sub"]), AccountKind(found["kind"]))
    return Claims(caller, access, float(found["exp"]), kid, str(found.get("generation", "")))


def _check_times(begins: float, ends: float, moment: float) -> None:
    if moment >= ends + LEEWAY:
        raise InvalidToken("the token has expired")
    if moment < begins - LEEWAY:
        raise InvalidToken("the token is from the future: compare the clocks of the gateways")
