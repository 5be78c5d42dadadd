"""Tokens that were verified are not verified again, and end with their key all the same."""

import time
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

import pytest

from api.oci import auth
from api.oci.auth import Authority
from api.oci.errors import OciError
from api.oci.requests import Request
from api.oci.routes import route_of
from fleetwide.models.registry_access import AccountKind
from fleetwide.registry.scopes import Access, Caller
from fleetwide.registry.token_keys import new_key
from fleetwide.registry.tokens import LEEWAY, LIFETIME, Claims, issue, verify
from fleetwide.settings import Settings
from fleetwide.store.session import Store

PULL = Access.repository("apps/x", "pull")


async def nothing() -> dict[str, Any]:
    return {"type": "http.request"}


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return tmp_path / "key.pem"


@pytest.fixture
def authority(key: Path, tmp_path: Path) -> Authority:
    store = Store.open(f"sqlite:///{tmp_path}/index.db")
    store.engine.dispose()
    return Authority(Settings(registry_auth="token", registry_token_key=key), store)


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every token whose signature was really looked at."""
    seen: list[str] = []

    def counted(ring: Any, token: str, *, now: datetime) -> Claims:
        seen.append(token)
        return verify(ring, token, now=now)

    monkeypatch.setattr(auth, "verify", counted)
    return seen


def token(authority: Authority, now: datetime | None = None, jti: str = "1") -> str:
    caller = Caller("ci", AccountKind.ROBOT)
    return issue(authority.keys(), caller, [PULL], now=now or datetime.now(UTC), jti=jti)


def admit(authority: Authority, shown: str) -> str:
    path = b"/v2/apps/x/manifests/1"
    headers = [(b"authorization", f"Bearer {shown}".encode()), (b"host", b"registry.example")]
    scope = {"method": "GET", "raw_path": path, "query_string": b"", "headers": headers}
    request = Request(scope, nothing, route_of(path))
    authority.admit(request)
    return request.by


def put_key(path: Path, data: bytes) -> None:
    fresh = path.with_suffix(".new")
    fresh.touch(0o600)
    fresh.write_bytes(data)
    fresh.replace(path)


def test_a_token_is_verified_once(authority: Authority, verified: list[str]) -> None:
    first, second = token(authority), token(authority, jti="2")
    for shown in (first, first, second, first, second):
        assert admit(authority, shown) == "ci"
    assert verified == [first, second]


def test_a_token_ends_with_its_key_also_when_it_was_verified_before(
    authority: Authority, key: Path, verified: list[str]
) -> None:
    old = token(authority)
    admit(authority, old)
    put_key(key, new_key())
    with pytest.raises(OciError, match="not one of this registry"):
        admit(authority, old)
    assert admit(authority, token(authority)) == "ci"


def test_a_key_that_only_signs_no_more_is_accepted_without_another_look(
    authority: Authority, key: Path, verified: list[str]
) -> None:
    old, before = token(authority), key.read_bytes()
    admit(authority, old)
    put_key(key, new_key() + before)
    admit(authority, old)
    assert verified == [old]


def test_a_file_that_cannot_be_read_takes_no_token_back(
    authority: Authority, key: Path, verified: list[str]
) -> None:
    old, fresh = token(authority), token(authority, jti="2")
    admit(authority, old)
    key.chmod(0o644)
    assert admit(authority, old) == "ci"
    with pytest.raises(OciError) as raised:
        admit(authority, fresh)
    assert raised.value.status == 503


def test_a_verified_token_still_expires(
    authority: Authority, verified: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    old = token(authority)
    admit(authority, old)

    class Later(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Later":
            return cls.fromtimestamp(time.time() + LIFETIME + LEEWAY, tz)

    monkeypatch.setattr(auth, "datetime", Later)
    with pytest.raises(OciError, match="expired"):
        admit(authority, old)
