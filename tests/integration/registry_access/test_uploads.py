"""Uploads behind nginx: each of their requests shows a token, or nothing of it happens."""

from collections.abc import Iterator

import httpx2
import pytest

from tests.api.oci.access_parts import Account, Visitor, challenge_of, grants, make
from tests.oci_objects import digest_of
from tests.registry_stack import Stack, StackOptions, registry_stack

pytestmark = pytest.mark.integration
DATA = b"of the test"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    options = StackOptions(plane="nginx", auth="token")
    with registry_stack(tmp_path_factory.mktemp("uploads"), options) as running:
        yield running


@pytest.fixture(scope="module")
def visitor(stack: Stack) -> Iterator[Visitor]:
    with httpx2.Client(base_url=stack.url, trust_env=False) as http:
        yield Visitor(http)


@pytest.fixture(scope="module")
def owner(stack: Stack, visitor: Visitor) -> str:
    account = make(stack, "owner", grants(apps="pull,push"))
    return visitor.token(account, "repository:apps/a:pull,push")


@pytest.fixture
def place(visitor: Visitor, owner: str) -> str:
    """Where an upload goes on."""
    begun = visitor.ask("POST", "/v2/apps/a/blobs/uploads/", owner)
    assert begun.status_code == 202, begun.text
    location: str = begun.headers["Location"]
    return location


@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
def test_an_uploads_address_is_no_permission(
    visitor: Visitor, stack: Stack, owner: str, place: str, method: str
) -> None:
    reader = make(stack, f"reader-{method.lower()}", grants(apps="pull"))
    weak = visitor.token(reader, "repository:apps/a:pull,push")
    query = {"digest": digest_of(DATA)} if method == "PUT" else {}
    url = str(httpx2.URL(place).copy_merge_params(query))
    for token, error in (("", None), (weak, "insufficient_scope"), (owner + "x", "invalid_token")):
        refused = visitor.ask(method, url, token, content=DATA)
        challenge = challenge_of(refused)
        assert challenge["scope"] == "repository:apps/a:pull,push"
        assert challenge.get("error") == error
        assert challenge["realm"] == f"{stack.url}/auth/token"
        assert refused.json()["errors"][0]["code"] == "UNAUTHORIZED"
    begun = visitor.ask("GET", place, owner)
    assert (begun.status_code, begun.headers["Range"]) == (204, "0-0")  # nothing arrived


def test_the_owner_ends_the_upload(visitor: Visitor, owner: str, place: str) -> None:
    url = str(httpx2.URL(place).copy_add_param("digest", digest_of(DATA)))
    done = visitor.ask("PUT", url, owner, content=DATA)
    assert done.status_code == 201, done.text
    blob = f"/v2/apps/a/blobs/{digest_of(DATA)}"
    challenge_of(visitor.ask("GET", blob))
    assert visitor.ask("GET", blob, owner).content == DATA


def test_guessing_is_told_apart_by_the_clients_address(visitor: Visitor, stack: Stack) -> None:
    """Nginx adds the address itself: what a client writes into the header counts for nothing."""
    account = make(stack, "victim")
    wrong = Account(account.name, "guess").basic
    statuses = [
        visitor.http.get(
            "/auth/token", headers=wrong | {"X-Forwarded-For": f"10.0.0.{number}"}
        ).status_code
        for number in range(12)
    ]
    assert statuses == [401] * 10 + [429] * 2
