"""Every route of the registry's part of the API: nobody, too few rights, enough rights.

The table has a line per route, and a route without a line fails: none can be forgotten.
"""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from api.app import ROUTERS
from fleetwide.models.registry_access import AccountKind, AccountSpec, Grant
from fleetwide.providers.registry_keys import open_keys
from fleetwide.registry.accounts import hash_secret
from fleetwide.registry.scopes import Access, Caller, allowed, parse_scopes
from fleetwide.registry.tokens import issue
from fleetwide.store import registry_accounts
from fleetwide.store.registry_accounts import Deed
from fleetwide.store.session import Store
from tests.bare_api import bare_api
from tests.registry_index import image, push, upload

ROOT = "/v1/registry"
SECRET = "a secret of the tests"
A, B = image("a"), image("a", "b")
DIGEST = "sha256:" + "0" * 64
ADMIN = "*=*"
ALL_BUT_ADMIN = "*=pull,push,delete"


@dataclass(frozen=True)
class Case:
    """A request, grants that are too few for it, and grants that are enough."""

    method: str
    route: str
    path: str
    enough: str
    too_few: str | None
    """None where any account will do: what is answered depends on its grants."""
    body: Any = None

    def ask(self, http: TestClient, headers: dict[str, str]) -> Any:
        return http.request(self.method, self.path, headers=headers, json=self.body)


def case(
    method: str, route: str, enough: str, too_few: str | None, body: Any = None, **query: str
) -> Case:
    given = {
        "{name:path}/grants": "ci/grants", "accounts/{name:path}": "accounts/ci",
        "{name:path}": "apps/x", "namespaces/{name}": "namespaces/apps", "{tag}": "latest",
        "{reference}": "latest", "{run_id}": "01run", "{run}": "01run", "{kind}": "gc",
    }  # fmt: skip
    path = route
    for placeholder, value in given.items():
        path = path.replace(placeholder, value)
    if query:
        path += "?" + "&".join(f"{key}={value}" for key, value in query.items())
    return Case(method, route, path, enough, too_few, body)


NOT_PULL, NOT_PUSH, NOT_DELETE = "apps/x=push,delete", "apps/x=pull", "apps/x=pull,push"
PULL, PUSH, DELETE = "apps/*=pull", "apps/x=pull,push", "apps/x=delete"
RELEASE = "apps/x:latest"
UNDO = {"by": "ana"}
CASES = [
    case("GET", f"{ROOT}/whoami", PULL, None),
    case("GET", f"{ROOT}/repositories", PULL, None),
    case("GET", f"{ROOT}/search", PULL, None, q="x"),
    case("GET", f"{ROOT}/usage", PULL, None),
    case("GET", f"{ROOT}/repositories/{{name:path}}/tags", PULL, NOT_PULL),
    case("GET", f"{ROOT}/repositories/{{name:path}}/tags/{{tag}}/history", PULL, NOT_PULL),
    case("GET", f"{ROOT}/repositories/{{name:path}}/tags/{{tag}}", PULL, NOT_PULL),
    case("GET", f"{ROOT}/repositories/{{name:path}}/manifests/{{reference}}", PULL, NOT_PULL),
    case("GET", f"{ROOT}/repositories/{{name:path}}/retention", PULL, NOT_PULL),
    case("GET", f"{ROOT}/resolve", PULL, NOT_PULL, reference=RELEASE),
    case("POST", f"{ROOT}/resolve", PULL, None, {"references": [RELEASE]}),
    case("GET", f"{ROOT}/namespaces/{{name}}", PULL, "base/*=pull"),
    case("POST", f"{ROOT}/repositories/{{name:path}}/tags/{{tag}}/undo", PUSH, NOT_PUSH, UNDO),
    case("DELETE", f"{ROOT}/repositories/{{name:path}}/tags/{{tag}}", DELETE, NOT_DELETE),
    case("POST", f"{ROOT}/deletions", DELETE, NOT_DELETE, {"repository": "apps/x"}),
    case("GET", f"{ROOT}/replicas", PULL, NOT_PULL, reference=RELEASE),
    case("POST", f"{ROOT}/replicas", PUSH, NOT_PUSH, {"reference": RELEASE}),
    case("POST", f"{ROOT}/preheats", PULL, NOT_PULL, {"reference": RELEASE}),
    case("PUT", f"{ROOT}/namespaces/{{name}}", ADMIN, ALL_BUT_ADMIN, {"quota": "1GiB"}),
    case("DELETE", f"{ROOT}/namespaces/{{name}}", ADMIN, ALL_BUT_ADMIN),
    case("POST", f"{ROOT}/retention", ADMIN, ALL_BUT_ADMIN, {}),
    case("GET", f"{ROOT}/retention/{{run_id}}", ADMIN, ALL_BUT_ADMIN),
    case("POST", f"{ROOT}/retention/{{run_id}}/apply", ADMIN, ALL_BUT_ADMIN, {}),
    case("POST", f"{ROOT}/gc", ADMIN, ALL_BUT_ADMIN, {}),
    case("GET", f"{ROOT}/gc", ADMIN, ALL_BUT_ADMIN),
    case("GET", f"{ROOT}/gc/{{run}}", ADMIN, ALL_BUT_ADMIN),
    case("POST", f"{ROOT}/gc/{{run}}/pause", ADMIN, ALL_BUT_ADMIN, {}),
    case("POST", f"{ROOT}/gc/{{run}}/resume", ADMIN, ALL_BUT_ADMIN, {}),
    case("POST", f"{ROOT}/gc/{{run}}/rate", ADMIN, ALL_BUT_ADMIN, {"per_second": 1}),
    case("POST", f"{ROOT}/reconcile", ADMIN, ALL_BUT_ADMIN, {}),
    case("POST", f"{ROOT}/scrub", ADMIN, ALL_BUT_ADMIN, {}),
    case("PUT", f"{ROOT}/upkeep", ADMIN, ALL_BUT_ADMIN, {}),
    case("GET", f"{ROOT}/upkeep/{{kind}}/reports", ADMIN, ALL_BUT_ADMIN),
    case("POST", f"{ROOT}/accounts", ADMIN, ALL_BUT_ADMIN, {"name": "new"}),
    case("GET", f"{ROOT}/accounts", ADMIN, ALL_BUT_ADMIN),
    case("GET", f"{ROOT}/accounts/{{name:path}}", ADMIN, ALL_BUT_ADMIN),
    case("PUT", f"{ROOT}/accounts/{{name:path}}/grants", ADMIN, ALL_BUT_ADMIN, {"grants": []}),
    case("POST", f"{ROOT}/accounts/{{name:path}}/rotate", ADMIN, ALL_BUT_ADMIN),
    case("POST", f"{ROOT}/accounts/{{name:path}}/disable", ADMIN, ALL_BUT_ADMIN),
    case("POST", f"{ROOT}/accounts/{{name:path}}/enable", ADMIN, ALL_BUT_ADMIN),
    case("DELETE", f"{ROOT}/accounts/{{name:path}}", ADMIN, ALL_BUT_ADMIN),
    case("GET", "/registry", PULL, None),
    case("GET", "/registry/repository", PULL, NOT_PULL, name="apps/x"),
    case("GET", "/registry/image", PULL, NOT_PULL, name="apps/x", reference="latest"),
    case("GET", "/registry/usage", PULL, None),
]
EVERY = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.method} {case.route}")
LIMITED = pytest.mark.parametrize(
    "case", [one for one in CASES if one.too_few], ids=lambda case: f"{case.method} {case.route}"
)


@dataclass(frozen=True)
class Api:
    http: TestClient
    folder: Path
    store: Store

    def account(self, grants: str, name: str = "") -> dict[str, str]:
        """The Authorization header of a new account."""
        name = name or f"asker-{next(NUMBERS)}"
        with self.store.write() as session:
            spec = AccountSpec(name=name, grants=parsed(grants))
            stored = "" if name == "anonymous" else HASH
            registry_accounts.create(session, spec, stored, Deed("tests", datetime.now(UTC)))
        return basic(name)

    def remove(self, name: str) -> None:
        with self.store.write() as session:
            registry_accounts.delete(session, name, Deed("tests", datetime.now(UTC)))

    def token(self, grants: str, *scopes: str) -> dict[str, str]:
        """The header of a token that the token server would give for these scopes."""
        held = allowed(parse_scopes(scopes), parsed(grants), catalog=True)
        caller = Caller("by-token", AccountKind.ROBOT)
        ring = open_keys(self.folder / "key.pem").read()
        token = issue(ring, caller, held, now=datetime.now(UTC), jti="1")
        return {"Authorization": f"Bearer {token}"}


HASH = hash_secret(SECRET)
NUMBERS = count()


def parsed(text: str) -> list[Grant]:
    pairs = [one.split("=") for one in text.split()]
    return [
        Grant.model_validate({"repositories": name, "actions": actions.split(",")})
        for name, actions in pairs
    ]


def basic(name: str, secret: str = SECRET) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("rights")
    key = folder / "key.pem"
    open_keys(key)
    with (
        pytest.MonkeyPatch.context() as patch,
        bare_api(folder, registry_auth="token", registry_token_key=key) as http,
    ):
        # Nobody answers for Temporal here, and each route would wait for it.
        patch.setattr("api.deps.CONNECT_SECONDS", 0.05)
        store = Store.open(f"sqlite:///{folder}/fleetwide.db")
        for name in ("apps/x", "apps/y", "base/os"):
            upload(store, name, "config", "a", "b")
            push(store, name, A, tags=["latest"])
            push(store, name, B, tags=["latest"])
        made = Api(http, folder, store)
        made.account("ci/*=pull", "ci")
        yield made
        store.engine.dispose()


def test_every_route_has_its_line() -> None:
    found = {
        (method, route.path)
        for module in ROUTERS
        for route in module.router.routes
        if isinstance(route, APIRoute) and route.path.startswith((ROOT, "/registry"))
        for method in route.methods or ()
    }
    assert found == {(one.method, one.route) for one in CASES}


@EVERY
def test_nobody_gets_in_without_an_account(api: Api, case: Case) -> None:
    for headers in ({}, basic(f"nobody-{next(NUMBERS)}"), {"Authorization": "Bearer e30.e30.x"}):
        refused = case.ask(api.http, headers)
        assert refused.status_code == 401, refused.text
        assert refused.headers["WWW-Authenticate"].startswith("Basic realm=")
        problem = refused.json()
        assert problem["code"] == "Unauthenticated"
        assert problem["hint"] == "fleetwide registry login"


@LIMITED
def test_too_few_rights_are_told_as_such(api: Api, case: Case) -> None:
    assert case.too_few is not None
    for headers in (api.account(case.too_few), api.token(case.too_few, "repository:*:*")):
        refused = case.ask(api.http, headers)
        assert refused.status_code == 403, refused.text
        problem = refused.json()
        assert (problem["code"], "may not" in problem["detail"]) == ("Denied", True)
        assert problem["hint"] == "fleetwide registry whoami"


@EVERY
def test_enough_rights_let_in(api: Api, case: Case) -> None:
    answer = case.ask(api.http, api.account(case.enough))
    # Neither Temporal nor the registry answers here, and others were here before.
    assert answer.status_code in {200, 201, 204, 404, 409, 422, 503}, answer.text


@EVERY
def test_a_token_that_was_asked_for_lets_in(api: Api, case: Case) -> None:
    repository = "repository:apps/x:pull,push,delete"
    headers = api.token(case.enough, repository, "registry:admin:*", "registry:catalog:*")
    assert case.ask(api.http, headers).status_code not in {401, 403}


def test_listings_show_what_may_be_pulled(api: Api) -> None:
    for headers in (api.account("apps/y=pull base/os=push"), api.token(PULL, SCOPE)):
        for path in ("/repositories", "/search?q=Y"):
            items = api.http.get(ROOT + path, headers=headers).json()["items"]
            assert [one["name"] for one in items] == ["apps/y"]
        report = api.http.get(f"{ROOT}/usage", headers=headers).json()
        assert [one["name"] for one in report["items"]] == ["apps"]
        assert (report["size"], report.get("stored")) == (report["items"][0]["size"], None)
        page = api.http.get("/registry", headers=headers).text
        assert ("apps/y" in page, "base/os" in page) == (True, False)
        body = {"references": ["apps/y:latest", "base/os:latest"]}
        mine, other = api.http.post(f"{ROOT}/resolve", headers=headers, json=body).json()["items"]
        assert (mine["digest"], other["code"]) == (B.digest, "Denied")


SCOPE = "repository:apps/y:pull"


def test_who_may_pull_everything_sees_what_lies_in_storage(api: Api) -> None:
    report = api.http.get(f"{ROOT}/usage", headers=api.account("*=pull")).json()
    assert [one["name"] for one in report["items"]] == ["apps", "base"]
    assert report["size"] > report["stored"] > 0


def test_a_token_gives_no_more_than_it_was_issued_for(api: Api) -> None:
    api.account(ADMIN, "by-token")
    for scopes in ((), ("repository:apps/x:pull",), ("registry:catalog:*",)):
        headers = api.token(ADMIN, *scopes)
        assert api.http.get(f"{ROOT}/accounts", headers=headers).status_code == 403
    listed = api.http.get(f"{ROOT}/repositories", headers=api.token(ADMIN, "registry:catalog:*"))
    assert [one["name"] for one in listed.json()["items"]] == ["apps/x", "apps/y", "base/os"]
    assert api.http.get(f"{ROOT}/repositories", headers=api.token(ADMIN)).json()["items"] == []


def test_nobody_is_given_administration_by_a_token_who_has_not_it() -> None:
    asked = parse_scopes(["registry:admin:*"])
    assert allowed(asked, parsed(ALL_BUT_ADMIN), catalog=True) == []
    assert allowed(asked, parsed(ADMIN), catalog=False) == [
        Access("registry", "admin", frozenset("*"))
    ]


def test_anonymous_may_do_what_it_was_granted_and_is_asked_to_log_in_for_the_rest(api: Api) -> None:
    api.account("*=*", "anonymous")
    seen = api.http.get(f"{ROOT}/repositories/apps/y/tags")
    refused = api.http.get(f"{ROOT}/accounts")
    told = api.http.get(f"{ROOT}/whoami").json()
    api.remove("anonymous")
    assert (seen.status_code, refused.status_code) == (200, 401)
    assert (told["account"], told["administers"]) == ("anonymous", False)


def test_a_host_administers_nothing(api: Api) -> None:
    headers = api.account("", "host/h1")
    told = api.http.get(f"{ROOT}/whoami", headers=headers).json()
    assert (told["kind"], told["grants"], told["administers"]) == ("host", [], False)
    assert api.http.get(f"{ROOT}/repositories", headers=headers).json()["items"] == []


def test_guessing_is_bounded(api: Api) -> None:
    answers = [api.http.get(f"{ROOT}/whoami", headers=basic("guess", f"{n}")) for n in range(11)]
    assert [one.status_code for one in answers] == [401] * 10 + [429]
    assert int(answers[-1].headers["Retry-After"]) > 0


def test_a_disabled_account_is_out_at_once(api: Api) -> None:
    admin, leaver = api.account(ADMIN), api.account(PULL, "leaver")
    assert api.http.get(f"{ROOT}/whoami", headers=leaver).status_code == 200
    assert api.http.post(f"{ROOT}/accounts/leaver/disable", headers=admin).status_code == 200
    refused = api.http.get(f"{ROOT}/whoami", headers=leaver)
    assert (refused.status_code, "is disabled" in refused.json()["detail"]) == (401, True)


def test_who_did_it_and_why_stand_in_the_events(api: Api) -> None:
    boss = api.account(ADMIN, "boss")
    path = f"{ROOT}/repositories/base/os/tags/latest"
    undone = api.http.post(
        f"{path}/undo", headers=boss, json={"by": "ana", "reason": "it\ncrashes"}
    )
    assert (undone.status_code, undone.json()["by"]) == (200, "boss (ana)")
    gone = api.http.delete(f"{path}?by=boss&reason=old", headers=boss)
    assert gone.status_code == 204
    events = api.http.get("/v1/events?subject=registry/base/os", headers=boss).json()["items"]
    told = [(one["kind"], one["data"].get("by"), one["data"].get("reason")) for one in events][-2:]
    assert told == [("tag-moved", "boss (ana)", "it\ncrashes"), ("tag-deleted", "boss", "old")]
    assert events[-2]["message"].endswith(": it crashes")
    api.http.put(f"{ROOT}/namespaces/apps", headers=boss, json={"quota": "1GiB"})
    api.account(PULL, "another")
    api.http.post(f"{ROOT}/accounts/another/disable", headers=boss)
    for subject in ("registry-namespace/apps", "registry-account/another"):
        newest = api.http.get(f"/v1/events?subject={subject}", headers=boss).json()["items"][-1]
        assert newest["data"]["by"] == "boss"


def newest(api: Api, headers: dict[str, str]) -> list[dict[str, Any]]:
    """The last page of the events that may be seen."""
    page, path = list[dict[str, Any]](), "/v1/events?limit=200"
    while items := api.http.get(f"{path}&cursor={seq(page)}", headers=headers).json()["items"]:
        page = items
    return page


def seq(page: list[dict[str, Any]]) -> int:
    return page[-1]["seq"] if page else 0


def test_only_administrators_are_told_the_registrys_events(api: Api) -> None:
    boss, reader = api.account(ADMIN), api.account(PULL)
    api.http.put(f"{ROOT}/namespaces/apps", headers=boss, json={"quota": "1GiB"})
    told = {
        who: {one["product"] for one in newest(api, headers)}
        for who, headers in {"boss": boss, "reader": reader, "nobody": {}}.items()
    }
    assert "registry-namespace" in told["boss"]
    assert not any(one.startswith("registry") for one in told["reader"] | told["nobody"])
    assert api.http.get("/v1/events", headers=basic("nobody-known", "wrong")).status_code == 401


@pytest.mark.parametrize(
    ("workflow_id", "nobody", "few", "enough"),
    [
        ("registry-delete/apps/a", 401, 403, "delete"),
        ("replicate/eu/apps/a@sha256:0", 401, 200, "pull"),
        ("registry-gc/scheduled", 401, 403, "admin"),
        ("preheat/x", 401, 200, "pull"),
        ("task/x", 200, 200, "pull"),
    ],
)
def test_an_operation_of_the_registry_is_told_to_who_may_ask_for_it(
    api: Api, workflow_id: str, nobody: int, few: int, enough: str
) -> None:
    grants = {"delete": "apps/*=pull,push,delete", "pull": PULL, "admin": ADMIN}
    reader, doer = api.account(PULL), api.account(grants[enough])
    path = f"/v1/operations/{workflow_id}"
    passed = api.http.get(path, headers=doer).status_code
    assert passed not in {401, 403}  # whether there is such a workflow is another question
    for headers, expected in (({}, nobody), (reader, few)):
        status = api.http.get(path, headers=headers).status_code
        assert status == (passed if expected == 200 else expected)


def test_where_the_registry_asks_nobody_the_api_asks_nobody(tmp_path: Path) -> None:
    with bare_api(tmp_path) as http:
        told = http.get(f"{ROOT}/whoami").json()
        assert (told["account"], told["administers"]) == ("", True)
        assert http.get(f"{ROOT}/accounts").status_code == 200


def test_without_the_key_tokens_are_of_no_use_and_none_is_made(tmp_path: Path) -> None:
    key = tmp_path / "elsewhere.pem"
    with bare_api(tmp_path, registry_auth="token", registry_token_key=key) as http:
        refused = http.get(f"{ROOT}/whoami", headers={"Authorization": "Bearer x"})
    assert (refused.status_code, "FLEETWIDE_REGISTRY_TOKEN_KEY" in refused.json()["hint"]) == (
        401,
        True,
    )
    assert not key.exists()
