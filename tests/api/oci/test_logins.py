"""What checks of secrets cost, and what goes on while SQL is away."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from api.oci import logins
from api.oci.accounts import Accounts
from api.oci.errors import OciError
from api.oci.logins import Logins
from fleetwide.errors import InvalidInput
from fleetwide.registry.accounts import hash_secret, is_secret
from fleetwide.settings import Settings
from fleetwide.store.session import Store

NOWHERE = "postgresql+psycopg://nobody@127.0.0.1:9/none?connect_timeout=2"


@pytest.fixture
def away() -> Iterator[Store]:
    """A database that does not answer."""
    store = Store.open(NOWHERE)
    yield store
    store.engine.dispose()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    place = tmp_path / "accounts.json"
    place.touch(0o600)
    place.write_text(json.dumps({"api": {"secret": hash_secret("word")}}))
    return Settings(registry_accounts=place, database_url=SecretStr(NOWHERE))


@pytest.fixture
def scrypts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every secret that was really computed."""
    seen: list[str] = []

    def counted(secret: str, stored: str) -> bool:
        seen.append(secret)
        return is_secret(secret, stored)

    monkeypatch.setattr(logins, "is_secret", counted)
    return seen


async def refusal(checks: Logins, name: str, secret: str, address: str = "::1") -> OciError:
    with pytest.raises(OciError) as raised:
        await checks.check(name, secret, address)
    return raised.value


async def test_a_right_secret_is_computed_once_for_a_crowd(
    settings: Settings, away: Store, scrypts: list[str]
) -> None:
    checks = Logins(Accounts(settings, away))
    found = await asyncio.gather(*(checks.check("api", "word", "::1") for _ in range(40)))
    assert {account.name for account in found} == {"api"}
    assert len(scrypts) <= logins.SCRYPTS_AT_ONCE
    await checks.check("api", "word", "::1")
    assert len(scrypts) <= logins.SCRYPTS_AT_ONCE


async def test_what_was_believed_ends_with_the_hash(
    settings: Settings, away: Store, scrypts: list[str]
) -> None:
    checks = Logins(Accounts(settings, away))
    await checks.check("api", "word", "::1")
    assert settings.registry_accounts is not None
    settings.registry_accounts.write_text(json.dumps({"api": {"secret": hash_secret("other")}}))
    assert (await refusal(checks, "api", "word")).status == 401
    await checks.check("api", "other", "::1")
    assert scrypts == ["word", "word", "other"]


async def test_too_many_that_wait_are_sent_away(
    settings: Settings, away: Store, scrypts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logins, "MAX_WAITING", 4)
    checks = Logins(Accounts(settings, away))
    tries = (refusal(checks, "api", f"guess {n}", f"10.0.0.{n}") for n in range(30))
    statuses = [fault.status for fault in await asyncio.gather(*tries)]
    assert statuses.count(401) == len(scrypts) == 4
    assert statuses.count(429) == 26


async def test_one_address_does_not_take_the_places_of_others(
    settings: Settings, away: Store, scrypts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logins, "MAX_WAITING_OF_ONE", 4)
    checks = Logins(Accounts(settings, away))
    tries = [refusal(checks, "api", f"guess {n}", "10.0.0.1") for n in range(30)]
    faults, account = await asyncio.gather(
        asyncio.gather(*tries), checks.check("api", "word", "10.0.0.2")
    )
    statuses = [fault.status for fault in faults]
    assert (statuses.count(401), statuses.count(429)) == (4, 26)
    assert account.name == "api"
    assert len(scrypts) == 5
    assert (await refusal(checks, "api", "later", "10.0.0.1")).status == 401


async def test_guesses_that_come_at_once_are_no_more_than_one_after_the_other(
    settings: Settings, away: Store, scrypts: list[str]
) -> None:
    checks = Logins(Accounts(settings, away))
    count = logins.MAX_WAITING_OF_ONE
    tries = (refusal(checks, "api", f"guess {n}", "10.0.0.1") for n in range(count))
    statuses = [fault.status for fault in await asyncio.gather(*tries)]
    # Those whose turn had come before the last allowed guess was seen as wrong.
    assert len(scrypts) < logins.MAX_FAILURES + logins.SCRYPTS_AT_ONCE
    assert statuses.count(401) == len(scrypts)
    assert statuses.count(429) == count - len(scrypts)


async def test_guesses_are_counted_by_account_and_address(settings: Settings, away: Store) -> None:
    checks = Logins(Accounts(settings, away))
    for _ in range(logins.MAX_FAILURES):
        assert (await refusal(checks, "api", "guess", "10.0.0.1")).status == 401
    fault = await refusal(checks, "api", "word", "10.0.0.1")
    assert (fault.status, fault.code) == (429, "TOOMANYREQUESTS")
    await checks.check("api", "word", "10.0.0.2")


async def test_without_sql_the_platforms_own_accounts_go_on(
    settings: Settings, away: Store
) -> None:
    checks = Logins(Accounts(settings, away))
    assert (await checks.check("api", "word", "::1")).name == "api"
    fault = await refusal(checks, "ci", "word")
    assert (fault.status, fault.code) == (503, "UNAVAILABLE")
    assert dict(fault.headers)[b"retry-after"]
    with pytest.raises(OciError) as raised:
        await checks.accounts.anonymous()
    assert raised.value.status == 503


async def test_a_file_that_turned_bad_is_no_empty_file(settings: Settings, away: Store) -> None:
    accounts = Accounts(settings, away)
    assert settings.registry_accounts is not None
    settings.registry_accounts.write_text("nonsense")
    with pytest.raises(OciError) as raised:
        await accounts.find("api")
    assert raised.value.status == 503
    with pytest.raises(InvalidInput):
        Accounts(settings, away)
    settings.registry_accounts.chmod(0o644)
    with pytest.raises(InvalidInput, match="others"):
        Accounts(settings, away)


async def test_a_name_that_no_account_can_have_asks_nobody(
    settings: Settings, away: Store, scrypts: list[str]
) -> None:
    checks = Logins(Accounts(settings, away))
    for name in ("", "a\0b", "A", "x" * 300, "host/", "../etc"):
        assert (await refusal(checks, name, "word")).status == 401
    assert (await refusal(checks, "api", "w" * 513)).status == 401
    assert scrypts == []
