"""Hosts while SQL is away: what was known lately holds for a bounded time, and never longer."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from api.oci.accounts import Accounts
from api.oci.errors import OciError
from api.oci.logins import Logins
from fleetwide.models.registry_access import AccountSpec
from fleetwide.registry.accounts import hash_secret
from fleetwide.settings import Settings
from fleetwide.store import registry_accounts, registry_preheats
from fleetwide.store.migrate import upgrade
from fleetwide.store.registry_accounts import Deed
from fleetwide.store.session import Store

NOWHERE = "postgresql+psycopg://nobody@127.0.0.1:9/none?connect_timeout=2"
HOST, SECRET = "host/h1", "the secret of a host"
SECONDS = 600
DEED = Deed("tests", datetime.now(UTC))


@dataclass
class Clock:
    """How much later it is than it is."""

    later: float = 0.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made, real = Clock(), time.monotonic
    monkeypatch.setattr("api.oci.host_memory.time.monotonic", lambda: real() + made.later)
    return made


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(f"sqlite:///{tmp_path}/index.db")
    upgrade(store.engine)
    with store.write() as session:
        registry_accounts.create(session, AccountSpec(name=HOST), hash_secret(SECRET), DEED)
        registry_accounts.create(session, AccountSpec(name="ci"), hash_secret(SECRET), DEED)
    yield store
    store.engine.dispose()


@pytest.fixture
def away() -> Iterator[Store]:
    store = Store.open(NOWHERE)
    yield store
    store.engine.dispose()


@pytest.fixture
def accounts(here: Store, monkeypatch: pytest.MonkeyPatch) -> Accounts:
    monkeypatch.setattr(registry_preheats, "repositories", lambda *_, **__: {"apps/x"})
    return Accounts(Settings(registry_stale_seconds=SECONDS), here)


async def pulls(accounts: Accounts, name: str = HOST, secret: str = SECRET) -> list[str]:
    """Log in as a host does, and ask for what it may pull."""
    account = await Logins(accounts).check(name, secret, "::1")
    return [grant.repositories for grant in await accounts.grants(account)]


async def refused(accounts: Accounts, name: str = HOST, secret: str = SECRET) -> int:
    with pytest.raises(OciError) as raised:
        await pulls(accounts, name, secret)
    return raised.value.status


async def test_a_host_goes_on_pulling_while_sql_is_away_but_not_for_ever(
    accounts: Accounts, away: Store, clock: Clock
) -> None:
    assert await pulls(accounts) == ["apps/x"]
    accounts._store = away
    assert await pulls(accounts) == ["apps/x"]
    assert await refused(accounts, secret="wrong") == 401
    clock.later = SECONDS - 60
    assert await pulls(accounts) == ["apps/x"]
    clock.later = SECONDS
    assert await refused(accounts) == 503


async def test_who_is_no_host_or_was_never_here_is_not_remembered(
    accounts: Accounts, away: Store, clock: Clock
) -> None:
    assert await pulls(accounts, "ci") == []
    accounts._store = away
    for name in ("ci", HOST):
        assert await refused(accounts, name) == 503


async def test_what_was_taken_from_a_host_before_stays_taken(
    accounts: Accounts, here: Store, away: Store, clock: Clock
) -> None:
    assert await pulls(accounts) == ["apps/x"]
    with here.write() as session:
        registry_accounts.disable(session, HOST, DEED)
    assert await refused(accounts) == 401
    accounts._store = away
    assert await refused(accounts) == 401
    accounts._store = here
    with here.write() as session:
        registry_accounts.delete(session, HOST, DEED)
    assert await refused(accounts) == 401
    accounts._store = away
    assert await refused(accounts) == 503


async def test_a_revocation_while_sql_was_away_holds_as_soon_as_it_answers(
    accounts: Accounts, here: Store, away: Store, clock: Clock
) -> None:
    await pulls(accounts)
    accounts._store = away
    with here.write() as session:
        registry_accounts.rotate(session, HOST, hash_secret("another"), DEED)
    assert await pulls(accounts) == ["apps/x"]
    accounts._store = here
    assert await refused(accounts) == 401


async def test_nothing_is_remembered_where_the_setting_says_so(here: Store, away: Store) -> None:
    accounts = Accounts(Settings(registry_stale_seconds=0), here)
    await pulls(accounts)
    accounts._store = away
    assert await refused(accounts) == 503
