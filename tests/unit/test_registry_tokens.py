"""Tokens of the registry: what is accepted, what is not, and whose keys."""

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from fleetwide.errors import InvalidInput, PlatformError
from fleetwide.models.registry_access import AccountKind
from fleetwide.providers.registry_keys import open_keys
from fleetwide.registry.scopes import Access, Caller
from fleetwide.registry.token_keys import KeyRing, new_key, parse_keys
from fleetwide.registry.tokens import (
    LEEWAY,
    LIFETIME,
    REFRESH_LIFETIME,
    SERVICE,
    InvalidToken,
    issue,
    issue_refresh,
    verify,
    verify_refresh,
)

NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
CALLER = Caller("ci", AccountKind.ROBOT)
ACCESS = [Access.repository("apps/hello", "pull", "push")]


@pytest.fixture(scope="module")
def ring() -> KeyRing:
    return parse_keys(new_key(), "here")


@pytest.fixture(scope="module")
def token(ring: KeyRing) -> str:
    return issue(ring, CALLER, ACCESS, now=NOW, jti="1")


def public_pem(ring: KeyRing) -> bytes:
    key = ring.signing.public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def signed(ring: KeyRing, **changed: object) -> str:
    moment = int(NOW.timestamp())
    claims: dict[str, object] = {
        "iss": SERVICE, "aud": SERVICE, "sub": "ci", "kind": "robot", "use": "access",
        "iat": moment, "nbf": moment, "exp": moment + 60, "jti": "1", "access": [],
    }  # fmt: skip
    claims |= changed
    kept = {key: value for key, value in claims.items() if value is not None}
    return jwt.encode(kept, ring.signing, "ES256", headers={"kid": ring.kid})


def test_a_token_says_who_may_do_what(ring: KeyRing, token: str) -> None:
    claims = verify(ring, token, now=NOW)
    assert claims.caller == CALLER
    assert list(claims.access) == ACCESS
    assert claims.expires_at == NOW.timestamp() + LIFETIME


def test_a_token_ends_within_five_minutes_of_anybodys_clock(ring: KeyRing, token: str) -> None:
    assert LIFETIME + LEEWAY <= 300
    verify(ring, token, now=NOW + timedelta(seconds=LIFETIME + LEEWAY - 1))
    with pytest.raises(InvalidToken, match="expired"):
        verify(ring, token, now=NOW + timedelta(seconds=LIFETIME + LEEWAY))


def test_a_clock_may_be_behind_by_the_leeway(ring: KeyRing, token: str) -> None:
    verify(ring, token, now=NOW - timedelta(seconds=LEEWAY))
    with pytest.raises(InvalidToken, match="clocks"):
        verify(ring, token, now=NOW - timedelta(seconds=LEEWAY + 1))


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "another"}, {"aud": "another"}, {"iss": None}, {"aud": None}, {"sub": None},
        {"exp": None}, {"nbf": None}, {"iat": None}, {"jti": None}, {"use": None},
        {"use": "refresh"}, {"kind": "root"}, {"access": [{"type": "repository"}]},
        {"access": 7}, {"exp": "soon"},
    ],
)  # fmt: skip
def test_a_token_with_other_claims_is_refused(ring: KeyRing, changed: dict[str, object]) -> None:
    verify(ring, signed(ring), now=NOW)
    with pytest.raises(InvalidToken):
        verify(ring, signed(ring, **changed), now=NOW)


def test_a_token_that_outlives_all_that_are_given_out_is_refused(ring: KeyRing) -> None:
    ends = int(NOW.timestamp()) + LIFETIME
    assert verify(ring, signed(ring, exp=ends), now=NOW).expires_at == ends
    with pytest.raises(InvalidToken, match="lives longer"):
        verify(ring, signed(ring, exp=ends + 1), now=NOW)


def test_a_changed_token_is_refused(ring: KeyRing, token: str) -> None:
    head, body, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    claims["access"][0]["actions"].append("delete")
    forged = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    for wrong in (f"{head}.{forged}.{signature}", f"{head}.{body}.", token[:-4], "", "a.b.c"):
        with pytest.raises(InvalidToken):
            verify(ring, wrong, now=NOW)


def test_no_other_algorithm_is_accepted(ring: KeyRing) -> None:
    body = jwt.decode(signed(ring), options={"verify_signature": False})
    unsigned = jwt.encode(body, "", "none", headers={"kid": ring.kid})
    shared = jwt.encode(body, "s" * 64, "HS256", headers={"kid": ring.kid})
    for wrong in (unsigned, shared):
        with pytest.raises(InvalidToken):
            verify(ring, wrong, now=NOW)


def test_another_registrys_key_is_not_accepted(ring: KeyRing, token: str) -> None:
    with pytest.raises(InvalidToken):
        verify(parse_keys(new_key(), "there"), token, now=NOW)
    stranger = parse_keys(new_key(), "there")
    posing = jwt.encode({"sub": "ci"}, stranger.signing, "ES256", headers={"kid": ring.kid})
    with pytest.raises(InvalidToken):
        verify(ring, posing, now=NOW)


def test_keys_change_without_a_token_being_refused(ring: KeyRing, token: str) -> None:
    """First every gateway accepts the new key, then it signs, then the old one goes."""
    fresh_pem = new_key()
    fresh = parse_keys(fresh_pem, "new")
    old_pem = ring.signing.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    both = parse_keys(old_pem + public_pem(fresh), "first")
    turned = parse_keys(fresh_pem + public_pem(ring), "second")
    assert (both.kid, turned.kid) == (ring.kid, fresh.kid)
    newer = issue(turned, CALLER, ACCESS, now=NOW, jti="2")
    for gateway in (both, turned):
        assert verify(gateway, token, now=NOW) == verify(ring, token, now=NOW)
        verify(gateway, newer, now=NOW)
    with pytest.raises(InvalidToken):
        verify(fresh, token, now=NOW)


def test_a_key_does_not_show_itself(ring: KeyRing) -> None:
    assert "PRIVATE" not in repr(ring)
    assert "object at" not in repr(ring)


def test_a_refresh_token_is_no_access_token(ring: KeyRing, token: str) -> None:
    refresh = issue_refresh(ring, CALLER, "g1", now=NOW, jti="3")
    claims = verify_refresh(ring, refresh, now=NOW + timedelta(seconds=REFRESH_LIFETIME))
    assert (claims.caller, claims.generation, claims.access) == (CALLER, "g1", ())
    with pytest.raises(InvalidToken, match="no access token"):
        verify(ring, refresh, now=NOW)
    with pytest.raises(InvalidToken, match="no refresh token"):
        verify_refresh(ring, token, now=NOW)


def test_the_key_file_is_made_for_its_owner_alone_and_stays(tmp_path: Path) -> None:
    place = tmp_path / "keys" / "token.pem"
    made = open_keys(place).read()
    assert place.stat().st_mode & 0o777 == 0o600
    assert open_keys(place).read().kid == made.kid


def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "token.pem"
    open_keys(place)
    place.chmod(0o640)
    with pytest.raises(InvalidInput, match="others"):
        open_keys(place)


def test_a_changed_key_file_is_read_again(tmp_path: Path) -> None:
    place = tmp_path / "token.pem"
    keys = open_keys(place)
    before = keys.read()
    fresh = tmp_path / "fresh.pem"
    fresh.touch(0o600)
    fresh.write_bytes(new_key() + public_pem(before))
    fresh.replace(place)
    assert keys.read().kid != before.kid
    assert before.kid in keys.read().accepted
    place.unlink()
    with pytest.raises(PlatformError, match="cannot be read"):
        keys.read()


@pytest.mark.parametrize(
    "content", [b"", b"no key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_file_without_a_key_is_refused_without_its_content(content: bytes) -> None:
    with pytest.raises(InvalidInput) as raised:
        parse_keys(content, "place.pem")
    assert "place.pem" in raised.value.message
    assert "AAAA" not in raised.value.message


def test_a_key_of_another_curve_is_refused(ring: KeyRing) -> None:
    other = generate_private_key(SECP384R1())
    pem = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for wrong in (pem, new_key() + public):
        with pytest.raises(InvalidInput, match="P-256"):
            parse_keys(wrong, "here")
