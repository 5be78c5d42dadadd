"""Who may do what in the registry, over HTTP: challenges, tokens, grants, hosts."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest

from fleetwide.models.registry_access import AccountKind
from fleetwide.registry.accounts import hash_secret, new_secret
from fleetwide.registry.scopes import Access, Caller
from fleetwide.registry.token_keys import new_key, parse_keys
from fleetwide.registry.tokens import issue
from fleetwide.store import registry_accounts
from fleetwide.store.registry_accounts import Deed
from fleetwide.store.tables import AttemptRow, JobRow
from tests.api.oci.access_parts import Account, Visitor, challenge_of, grants, make
from tests.registry_stack import Stack, StackOptions, registry_stack

DIGEST = f"sha256:{'0' * 64}"
PLATFORM = Account("builder", "a secret of the platform's own")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("access")
    accounts = folder / "own-accounts.json"
    accounts.touch(0o600)
    everything = {"repositories": "*", "actions": ["*"]}
    entry = {"secret": hash_secret(PLATFORM.secret), "grants": [everything]}
    accounts.write_text(json.dumps({PLATFORM.name: entry}))
    options = StackOptions(
        plane="redirect", auth="token", environment={"FLEETWIDE_REGISTRY_ACCOUNTS": str(accounts)}
    )
    with registry_stack(folder, options) as running:
        yield running


@pytest.fixture
def visitor(stack: Stack) -> Iterator[Visitor]:
    with httpx2.Client(base_url=stack.url, trust_env=False) as http:
        yield Visitor(http)


@pytest.fixture(scope="module")
def ci(stack: Stack) -> Account:
    return make(stack, "ci", grants(apps="pull,push", base="pull"))


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/v2/", None),
        ("HEAD", "/v2/", None),
        ("GET", "/v2/_catalog", "registry:catalog:*"),
        ("GET", "/v2/apps/a/tags/list", "repository:apps/a:pull"),
        ("HEAD", "/v2/apps/a/manifests/1", "repository:apps/a:pull"),
        ("PUT", "/v2/apps/a/manifests/1", "repository:apps/a:pull,push"),
        ("DELETE", "/v2/apps/a/manifests/1", "repository:apps/a:delete"),
        ("GET", f"/v2/apps/a/blobs/{DIGEST}", "repository:apps/a:pull"),
        ("DELETE", f"/v2/apps/a/blobs/{DIGEST}", "repository:apps/a:delete"),
        ("GET", f"/v2/apps/a/referrers/{DIGEST}", "repository:apps/a:pull"),
        ("POST", "/v2/apps/a/blobs/uploads/", "repository:apps/a:pull,push"),
        ("POST", f"/v2/apps/a/blobs/uploads/?mount={DIGEST}&from=base/b",
         "repository:apps/a:pull,push repository:base/b:pull"),
        ("PATCH", "/v2/apps/a/blobs/uploads/1", "repository:apps/a:pull,push"),
        ("DELETE", "/v2/apps/a/blobs/uploads/1", "repository:apps/a:pull,push"),
    ],
)  # fmt: skip
def test_without_a_token_every_route_says_what_it_needs(
    stack: Stack, visitor: Visitor, method: str, path: str, scope: str | None
) -> None:
    response = visitor.ask(method, path)
    challenge = challenge_of(response)
    assert challenge.pop("realm") == f"{stack.url}/auth/token"
    assert challenge == {"service": "fleetwide-registry"} | ({"scope": scope} if scope else {})
    assert response.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    if method != "HEAD":
        assert response.json()["errors"][0]["code"] == "UNAUTHORIZED"


def test_the_realm_follows_the_front_door_and_repeats_no_nonsense(
    stack: Stack, visitor: Visitor
) -> None:
    def realm(**headers: str) -> str:
        return challenge_of(visitor.ask("GET", "/v2/", headers=headers))["realm"]

    assert realm(Host="images.example") == "http://images.example/auth/token"
    secure = {"Host": "images.example:5000", "X-Forwarded-Proto": "https"}
    assert realm(**secure) == "https://images.example:5000/auth/token"
    assert realm(Host='x",scope="y') == f"{stack.url}/auth/token"


def test_an_image_is_pushed_and_pulled_with_one_token(visitor: Visitor, ci: Account) -> None:
    token = visitor.token(ci, "repository:apps/a:pull,push")
    visitor.push("apps/a", token)
    assert visitor.ask("GET", "/v2/apps/a/manifests/1", token).status_code == 200
    assert visitor.ask("GET", "/v2/", visitor.token(ci)).status_code == 200


def test_a_token_says_what_it_is(visitor: Visitor, ci: Account) -> None:
    params = {"service": "fleetwide-registry", "scope": "repository:apps/a:pull,push,delete"}
    response = visitor.http.get("/auth/token", params=params, headers=ci.basic)
    document = response.json()
    assert document["scope"] == "repository:apps/a:pull,push"
    assert 60 <= document["expires_in"] <= 300
    issued = datetime.fromisoformat(document["issued_at"])
    assert abs(datetime.now(UTC) - issued) < timedelta(minutes=1)
    assert "refresh_token" not in document
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "scopes",
    [
        ["repository:apps/a:pull,push repository:base/b:pull"],
        ["repository:apps/a:pull,push", "repository:base/b:pull"],
    ],
)
def test_several_scopes_come_in_one_token(visitor: Visitor, ci: Account, scopes: list[str]) -> None:
    token = visitor.token(ci, *scopes)
    for path in ("/v2/apps/a/tags/list", "/v2/base/b/tags/list"):
        assert visitor.ask("GET", path, token).status_code in (200, 404)
    challenge_of(visitor.ask("GET", "/v2/apps/other/tags/list", token))


def test_a_token_of_too_little_is_asked_for_another_scope(visitor: Visitor, ci: Account) -> None:
    token = visitor.token(ci, "repository:base/b:pull,push")
    response = visitor.ask("POST", "/v2/base/b/blobs/uploads/", token)
    challenge = challenge_of(response)
    assert challenge["error"] == "insufficient_scope"
    assert challenge["scope"] == "repository:base/b:pull,push"
    (error,) = response.json()["errors"]
    assert error["code"] == "UNAUTHORIZED"
    assert error["message"] == "the account ci may not pull and push base/b"


def test_nobody_deletes_without_the_right(visitor: Visitor, ci: Account) -> None:
    visitor.push("apps/kept", visitor.token(ci, "repository:apps/kept:*"))
    token = visitor.token(ci, "repository:apps/kept:*")
    assert visitor.ask("GET", "/v2/apps/kept/manifests/1", token).status_code == 200
    challenge_of(visitor.ask("DELETE", "/v2/apps/kept/manifests/1", token))
    owner = visitor.token(PLATFORM, "repository:apps/kept:*")
    assert visitor.ask("DELETE", "/v2/apps/kept/manifests/1", owner).status_code == 202


def test_a_mount_needs_the_right_to_read_its_source(visitor: Visitor, stack: Stack) -> None:
    digest = visitor.push("vault/x", visitor.token(PLATFORM, "repository:vault/x:pull,push"))
    path = f"/v2/apps/m/blobs/uploads/?mount={digest}&from=vault/x"
    scopes = ("repository:apps/m:pull,push", "repository:vault/x:pull")
    outsider = make(stack, "outsider", grants(apps="pull,push"))
    declined = visitor.ask("POST", path, visitor.token(outsider, *scopes))
    assert declined.status_code == 202
    insider = make(stack, "insider", grants(apps="pull,push", vault="pull"))
    assert visitor.ask("POST", path, visitor.token(insider, *scopes)).status_code == 201


def test_the_catalog_lists_what_the_caller_may_pull(visitor: Visitor, stack: Stack) -> None:
    for name in ("list/a", "list/b", "hidden/c", "listed"):
        visitor.push(name, visitor.token(PLATFORM, f"repository:{name}:pull,push"))
    reader = make(stack, "reader", grants(list="pull"))
    token = visitor.token(reader, "registry:catalog:*")
    response = visitor.ask("GET", "/v2/_catalog?n=1", token)
    assert response.json() == {"repositories": ["list/a"]}
    following = visitor.ask("GET", response.links["next"]["url"], token)
    assert following.json() == {"repositories": ["list/b"]}
    everything = visitor.ask("GET", "/v2/_catalog", visitor.token(PLATFORM, "registry:catalog:*"))
    assert {"hidden/c", "list/a", "listed"} <= set(everything.json()["repositories"])
    challenge_of(visitor.ask("GET", "/v2/_catalog", visitor.token(reader)))


def test_the_oauth_form_gives_tokens_and_refreshes_them(visitor: Visitor, ci: Account) -> None:
    form = {"grant_type": "password", "username": ci.name, "password": ci.secret,
            "service": "fleetwide-registry", "client_id": "c", "access_type": "offline",
            "scope": "repository:apps/a:pull"}  # fmt: skip
    first = visitor.http.post("/auth/token", data=form)
    assert first.status_code == 200, first.text
    again = {"grant_type": "refresh_token", "refresh_token": first.json()["refresh_token"],
             "scope": "repository:apps/a:pull repository:base/b:pull"}  # fmt: skip
    second = visitor.http.post("/auth/token", data=again)
    assert second.status_code == 200, second.text
    token = second.json()["access_token"]
    assert visitor.ask("GET", "/v2/base/b/tags/list", token).status_code == 404
    challenge_of(visitor.ask("GET", "/v2/", first.json()["refresh_token"]))


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"grant_type": "password", "username": "ci", "password": "wrong"}, 401),
        ({"grant_type": "refresh_token", "refresh_token": "a.b.c"}, 401),
        ({"grant_type": "client_credentials"}, 400),
        ({}, 400),
        ({"grant_type": "password", "scope": "nonsense"}, 400),
        ({"grant_type": "password", "service": "another"}, 400),
    ],
)
def test_a_wrong_form_is_refused_in_the_words_of_both(
    visitor: Visitor, form: dict[str, str], status: int
) -> None:
    response = visitor.http.post("/auth/token", data=form)
    assert response.status_code == status
    document = response.json()
    assert document["errors"][0]["message"] == document["error_description"]
    assert document["error"] in ("invalid_grant", "invalid_request")


def test_a_form_is_bounded(visitor: Visitor) -> None:
    response = visitor.http.post("/auth/token", data={"grant_type": "x" * 100_000})
    assert response.status_code == 413
    assert visitor.http.put("/auth/token").status_code == 405


@pytest.mark.parametrize(
    "header",
    ["Basic", "Basic !!!", "Basic bm9ib2R5", "Bearer x", "Basic Y2k6d3Jvbmc=", "Basic OngK",
     "Basic AGE6Yg==", "Basic /////w=="],
)  # fmt: skip
def test_wrong_credentials_say_so(visitor: Visitor, header: str) -> None:
    response = visitor.http.get("/auth/token", headers={"Authorization": header})
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Basic ")
    assert response.json()["errors"][0]["code"] == "UNAUTHORIZED"


def test_guessing_ends_after_some_wrong_secrets(visitor: Visitor, stack: Stack) -> None:
    victim = make(stack, "victim", grants(apps="pull"))
    visitor.token(victim)
    wrong = Account("victim", "guess").basic
    answers = [visitor.http.get("/auth/token", headers=wrong) for _ in range(12)]
    assert [answer.status_code for answer in answers] == [401] * 10 + [429] * 2
    assert 0 < int(answers[-1].headers["Retry-After"]) <= 61
    assert answers[-1].json()["errors"][0]["code"] == "TOOMANYREQUESTS"
    visitor.token(victim)  # who was in before is not shut out
    other = make(stack, "bystander", grants(apps="pull"))
    visitor.token(other)


def test_a_rotated_secret_ends_logins_and_refresh_tokens_at_once(
    visitor: Visitor, stack: Stack
) -> None:
    account = make(stack, "rotated", grants(apps="pull"))
    params = {"offline_token": "true"}
    first = visitor.http.get("/auth/token", params=params, headers=account.basic).json()
    fresh = Account("rotated", new_secret())
    store = stack.store()
    with store.write() as session:
        registry_accounts.rotate(
            session,
            "rotated",
            hash_secret(fresh.secret),
            Deed("tests", datetime.now(UTC)),
        )
    store.engine.dispose()
    assert visitor.http.get("/auth/token", headers=account.basic).status_code == 401
    form = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    refused = visitor.http.post("/auth/token", data=form)
    assert refused.status_code == 401
    assert "another secret" in refused.text
    visitor.token(fresh)


def test_a_disabled_or_expired_account_gets_no_token(visitor: Visitor, stack: Stack) -> None:
    account = make(stack, "leaving", grants(apps="pull"))
    token = visitor.token(account)
    store, now = stack.store(), datetime.now(UTC)
    with store.write() as session:
        registry_accounts.disable(session, "leaving", Deed("tests", now))
    refused = visitor.http.get("/auth/token", headers=account.basic)
    assert (refused.status_code, "is disabled" in refused.text) == (401, True)
    assert visitor.ask("GET", "/v2/", token).status_code == 200  # until it ends
    with store.write() as session:
        registry_accounts.enable(session, "leaving", Deed("tests", now))
        row = registry_accounts.require(session, "leaving")
        row.expires_at = now - timedelta(seconds=1)
    refused = visitor.http.get("/auth/token", headers=account.basic)
    assert (refused.status_code, "has expired" in refused.text) == (401, True)
    store.engine.dispose()


def test_the_last_use_is_recorded(visitor: Visitor, stack: Stack) -> None:
    account, before = make(stack, "used"), datetime.now(UTC)
    visitor.token(account)
    store = stack.store()
    with store.read() as session:
        used = registry_accounts.require(session, "used").last_used_at
    store.engine.dispose()
    assert used is not None
    assert used >= before


def test_anonymous_is_nobody_until_an_account_says_otherwise(
    visitor: Visitor, stack: Stack
) -> None:
    visitor.push("public/x", visitor.token(PLATFORM, "repository:public/x:pull,push"))
    assert visitor.http.get("/auth/token").status_code == 401
    make(stack, "anonymous", grants(public="pull"))
    try:
        token = visitor.token(None, "repository:public/x:pull,push")
        assert visitor.ask("GET", "/v2/public/x/manifests/1", token).status_code == 200
        challenge_of(visitor.ask("PUT", "/v2/public/x/manifests/1", token))
        challenge_of(visitor.ask("GET", "/v2/"))  # or docker would never log in
        for guess in ("", "anonymous"):
            login = Account("anonymous", guess).basic
            assert visitor.http.get("/auth/token", headers=login).status_code == 401
    finally:
        store = stack.store()
        with store.write() as session:
            registry_accounts.delete(session, "anonymous", Deed("tests", datetime.now(UTC)))
        store.engine.dispose()


def test_a_host_pulls_what_is_reserved_for_it_now(visitor: Visitor, stack: Stack) -> None:
    for name in ("jobs/mine", "jobs/other"):
        visitor.push(name, visitor.token(PLATFORM, f"repository:{name}:pull,push"))
    host = make(stack, "host/h1")
    attempt = _reserve(stack, "h1", f"jobs/mine@{DIGEST}")
    _reserve(stack, "h2", f"jobs/other@{DIGEST}")
    scopes = ("repository:jobs/mine:pull,push", "repository:jobs/other:pull", "registry:catalog:*")
    token = visitor.token(host, *scopes)
    assert visitor.ask("GET", "/v2/jobs/mine/manifests/1", token).status_code == 200
    challenge_of(visitor.ask("POST", "/v2/jobs/mine/blobs/uploads/", token))
    challenge_of(visitor.ask("GET", "/v2/jobs/other/manifests/1", token))
    challenge_of(visitor.ask("GET", "/v2/_catalog", token))
    store = stack.store()
    with store.write() as session:
        row = session.get(AttemptRow, attempt)
        assert row is not None
        row.reserved = False
    store.engine.dispose()
    challenge_of(visitor.ask("GET", "/v2/jobs/mine/manifests/1", visitor.token(host, *scopes)))


def _reserve(stack: Stack, host_id: str, image: str) -> int:
    now, store = datetime.now(UTC), stack.store()
    with store.write() as session:
        job = JobRow(
            workflow_id=f"task/{host_id}", run_id="r", kind="task", app="a", state="Started",
            image=image, spec={}, created_at=now,
        )  # fmt: skip
        session.add(job)
        session.flush()
        assert job.id is not None
        attempt = AttemptRow(
            job_id=job.id, state="Started", cpu_milli=1, memory_bytes=1, host_id=host_id,
            reserved=True, accepted_at=now,
        )  # fmt: skip
        session.add(attempt)
        session.flush()
        assert attempt.id is not None
        made = attempt.id
    store.engine.dispose()
    return made


def test_tokens_of_another_key_are_not_valid(visitor: Visitor) -> None:
    ring = parse_keys(new_key(), "elsewhere")
    caller = Caller("builder", AccountKind.PLATFORM)
    access = [Access.repository("apps/a", "pull")]
    forged = issue(ring, caller, access, now=datetime.now(UTC), jti="1")
    for token in (forged, forged[:-2], "x"):
        challenge = challenge_of(visitor.ask("GET", "/v2/apps/a/tags/list", token))
        assert challenge["error"] == "invalid_token"


def test_a_token_from_the_past_or_the_future_is_not_valid(visitor: Visitor, stack: Stack) -> None:
    ring = parse_keys(Path(stack.environment["FLEETWIDE_REGISTRY_TOKEN_KEY"]).read_bytes(), "")
    caller, now = Caller("builder", AccountKind.PLATFORM), datetime.now(UTC)
    for offset, valid in ((-600, False), (-30, True), (30, True), (600, False)):
        token = issue(ring, caller, [], now=now + timedelta(seconds=offset), jti="1")
        assert (visitor.ask("GET", "/v2/", token).status_code == 200) is valid


def test_no_secret_is_in_the_gateways_log(visitor: Visitor, stack: Stack) -> None:
    account = make(stack, "quiet", grants(apps="pull,push"))
    token = visitor.token(account, "repository:apps/quiet:pull,push")
    visitor.push("apps/quiet", token)
    mistyped = Account(account.secret, "x").basic
    assert visitor.http.get("/auth/token", headers=mistyped).status_code == 401
    form = {"grant_type": "password", "username": "quiet", "password": f"{account.secret}x"}
    assert visitor.http.post("/auth/token", data=form).status_code == 401
    query = {"scope": f"repository:{account.secret}:pull", "password": account.secret}
    visitor.http.get("/auth/token", params=query, headers=account.basic)
    log = stack.gateway.log.read_text()
    assert "login_failed" in log
    signature = token.rpartition(".")[2]
    for secret in (
        account.secret,
        PLATFORM.secret,
        token,
        signature,
        account.basic["Authorization"][6:],
    ):
        assert secret not in log
