"""Registry accounts over HTTP: made, shown without their secret, changed, removed."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.routers.registry_accounts import EXAMPLES
from fleetwide.client import Client
from fleetwide.errors import Conflict, InvalidInput, NotFound
from fleetwide.models.registry_access import AccountKind, AccountSpec, Action, Grant
from fleetwide.registry.accounts import is_secret
from fleetwide.store import registry_accounts
from fleetwide.store.session import Store
from tests.bare_api import bare_api

PATH = "/v1/registry/accounts"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[TestClient]:
    with bare_api(tmp_path) as client:
        yield client


@pytest.fixture
def client(api: TestClient) -> Client:
    return Client("http://testserver", http=api)


def stored_hash(folder: Path, name: str) -> str:
    store = Store.open(f"sqlite:///{folder}/fleetwide.db")
    with store.read() as session:
        found = registry_accounts.require(session, name).secret_hash
    store.engine.dispose()
    return found


def test_the_secret_is_in_the_first_answer_alone(api: TestClient, tmp_path: Path) -> None:
    made = api.post(
        PATH, json={"name": "ci", "grants": [{"repositories": "apps/*", "actions": ["pull"]}]}
    )
    assert made.status_code == 201, made.text
    secret = made.json()["secret"]
    assert len(secret) >= 43
    stored = stored_hash(tmp_path, "ci")
    assert is_secret(secret, stored)
    for path in (PATH, f"{PATH}/ci", "/v1/events"):
        text = api.get(path).text
        assert "ci" in text
        assert secret not in text
        assert stored not in text


@pytest.mark.parametrize("name", list(EXAMPLES))
def test_the_examples_are_accepted(api: TestClient, name: str) -> None:
    made = api.post(PATH, json=EXAMPLES[name]["value"])
    assert made.status_code == 201, made.text
    assert (made.json()["secret"] == "") == (name == "anonymous")


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "CI"}, {"name": "a/b"}, {"name": "host/"}, {"name": "x" * 64}, {},
        {"name": "x", "grants": [{"repositories": "a**", "actions": ["pull"]}]},
        {"name": "x", "grants": [{"repositories": "a", "actions": ["read"]}]},
        {"name": "x", "grants": [{"repositories": "a", "actions": []}]},
        {"name": "x", "grants": [{"repositories": "a", "actions": ["pull"]}] * 101},
        {"name": "host/h", "grants": [{"repositories": "a", "actions": ["pull"]}]},
        {"name": "x", "expires_at": "2020-01-01T00:00:00Z"},
        {"name": "x", "expires_at": "2999-01-01T00:00:00"},
        {"name": "x", "secret": "mine"},
    ],
)  # fmt: skip
def test_what_makes_no_account_is_refused(api: TestClient, spec: dict[str, Any]) -> None:
    assert api.post(PATH, json=spec).status_code == 422
    assert api.get(PATH).json()["items"] == []


def test_an_account_lives_its_life(client: Client, tmp_path: Path) -> None:
    expires = datetime.now(UTC) + timedelta(days=1)
    made = client.accounts.create(AccountSpec(name="host/h1", expires_at=expires, owner="ana"))
    assert made.account.kind is AccountKind.HOST
    assert (made.account.created_by, made.account.expires_at) == ("ana", expires)
    with pytest.raises(Conflict, match="already"):
        client.accounts.create(AccountSpec(name="host/h1"))
    rotated = client.accounts.rotate("host/h1")
    stored = stored_hash(tmp_path, "host/h1")
    assert is_secret(rotated.secret, stored)
    assert not is_secret(made.secret, stored)
    assert client.accounts.disable("host/h1").disabled_at is not None
    assert client.accounts.enable("host/h1").disabled_at is None
    assert client.accounts.get("host/h1").links["self"] == f"{PATH}/host%2Fh1"
    client.accounts.delete("host/h1")
    for ask in (client.accounts.get, client.accounts.rotate, client.accounts.delete):
        with pytest.raises(NotFound, match="host/h1"):
            ask("host/h1")


def test_grants_are_replaced(client: Client) -> None:
    client.accounts.create(AccountSpec(name="ci"))
    grants = [Grant(repositories="base/*", actions=[Action.PULL, Action.DELETE])]
    assert client.accounts.set_grants("ci", grants).grants == grants
    assert client.accounts.set_grants("ci", []).grants == []


def test_anonymous_has_no_secret_to_rotate(client: Client) -> None:
    client.accounts.create(AccountSpec(name="anonymous"))
    with pytest.raises(InvalidInput, match="no secret"):
        client.accounts.rotate("anonymous")


def test_accounts_are_listed_in_pages(client: Client) -> None:
    for name in ("c", "host/b", "a"):
        client.accounts.create(AccountSpec(name=name))
    first = client.accounts.list(limit=2)
    second = client.accounts.list(limit=2, cursor=first.next)
    assert [one.name for one in (*first.items, *second.items)] == ["a", "c", "host/b"]
    assert second.next is None


def test_every_change_is_an_event(client: Client) -> None:
    client.accounts.create(AccountSpec(name="ci"))
    for change in (client.accounts.rotate, client.accounts.disable, client.accounts.delete):
        change("ci")
    kinds = [event.kind for event in client.events(subject="registry-account/ci").items]
    assert kinds == ["account-created", "account-rotated", "account-disabled", "account-deleted"]
