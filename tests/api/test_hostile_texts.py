"""Texts of any code points, in every place of a request: refused or taken, never a 500."""

import copy
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from fleetwide.models.texts import LINE_PATTERN
from fleetwide.store import images
from fleetwide.store.session import Store
from fleetwide.store.tables import OSReleaseRow
from tests.bare_api import bare_api
from tests.unit.bakes import BASE

CONTAINER = {
    "image": "apps/hello:1.0.0",
    "command": ["sh"],
    "env": {"A": "x"},
    "host_labels": {"a": "b"},
}
OS = {
    "name": "baseos",
    "suite": "bookworm",
    "owner": "x",
    "mirror": "http://deb.example/debian",
    "targets": ["container", "vm"],
    "files": [{"path": "/etc/motd", "content": "x"}],
    "ami": {"regions": ["eu-west-1"], "tags": {"team": "x"}},
    "scripts": [{"name": "x", "run": "true"}],
}
BAKE = {
    "name": "hello",
    "version": "1.0.0",
    "base": "baseos:stable",
    "artifacts": [{"type": "tarball", "sha256": "a" * 64, "filename": "hello.tar.gz"}],
    "command": ["/opt/hello/run"],
    "env": {"A": "x"},
    "workdir": "/x",
    "owner": "x",
    "labels": {"team": "x"},
    "volumes": ["/var/lib/x"],
    "healthcheck": {"command": ["true"]},
    "build": {"job": "x", "number": "1", "host": "x", "url": "https://ci.example/1"},
    "max_size": "1GiB",
}
RECIPE = {
    "name": "x",
    "description": "x",
    "parameters": {"a": {"description": "x", "default": "y", "choices": ["y"]}},
    "entrypoint": ["${a}"],
    "env": {"A": "x"},
    "labels": {"team": "x"},
    "owner": "x",
}
GRANT = {"repositories": "apps/*", "actions": ["pull"]}
ACCOUNT = {"name": "x", "grants": [GRANT], "owner": "x", "description": "x"}
REASON = {"reason": "x", "by": "x"}
BUDGET = {"policy": {"unhealthy_limit": {"copies": 1}}, "windows": [{"zone": "UTC"}]}
POOL = {
    "name": "x",
    "types": [{"name": "m6i.large"}],
    "labels": {"team": "x"},
    "ec2": {
        "region": "eu-west-1",
        "subnets": ["subnet-0a1b2c3d"],
        "instance_profile": "x",
        "image": "fleet-host",
    },
}
SERVICE = {
    "app": "x",
    "owner": "x",
    "labels": {"team": "x"},
    "container": CONTAINER,
    "capacity": {"desired": 1},
    "deploy": {"max_failed_copies": 1},
}
ROSCO = {"package": "hello", "base_os": "baseos", "user": "x", "cloud_provider_type": "docker"}
# One valid document for each route that takes one.
CHANGES: dict[str, Any] = {"changes": [{"path": "a", "spec": {"weight": 2}}], **REASON}
REQUESTS: dict[tuple[str, str], Any] = {
    ("POST", "/v1/os/builds"): OS,
    ("POST", "/v1/os/plans"): OS,
    ("POST", "/v1/os/retention"): {"name": "baseos"},
    ("PUT", "/v1/os/schedules/baseos"): {"spec": OS, "daily_at": "03:00"},
    ("POST", "/v1/os/schedules/baseos/pause"): REASON,
    ("POST", "/v1/os/schedules/baseos/resume"): REASON,
    ("POST", "/v1/os/releases/baseos/20261122.1/promote"): {**REASON, "expected": "x"},
    ("POST", "/v1/os/releases/baseos/20261122.1/hold"): REASON,
    ("POST", "/v1/os/releases/baseos/20261122.1/unhold"): REASON,
    ("POST", "/v1/os/releases/baseos/20261122.1/revoke"): REASON,
    ("POST", "/v1/os/releases/baseos/20261122.1/retire"): REASON,
    ("POST", "/v1/os/releases/baseos/20261122.1/cancel"): {"reason": "x"},
    ("POST", "/v1/os/releases/baseos/20261122.1/fixes"): {},
    ("POST", "/v1/os/releases/baseos/20261122.1/reproduction"): {},
    ("POST", "/v1/bakes"): BAKE,
    ("POST", f"/v1/bakes/{'a' * 64}/cancel"): {"reason": "x"},
    ("POST", "/v1/images/hello/1/rebase"): {"base": "baseos:stable"},
    ("PUT", "/v1/recipes/x"): RECIPE,
    ("POST", "/v1/tasks"): {"app": "x", "owner": "x", "container": CONTAINER},
    ("POST", "/v1/tasks/x/cancel"): {"reason": "x"},
    ("PUT", "/v1/tasks/x/disruption-budget"): {"disruption_budget": BUDGET, **REASON},
    ("PUT", "/v1/batch/jobs/x/disruption-budget"): {"disruption_budget": BUDGET, **REASON},
    ("POST", "/v1/tasks/x/exec"): {"command": ["true"], "env": {"A": "x"}, "by": "x"},
    ("POST", "/v1/tasks/x/fetch"): {"path": "/etc", "by": "x"},
    ("POST", "/v1/tasks/x/stats"): {"samples": 2},
    ("POST", "/v1/fleet/valve/release"): REASON,
    ("POST", "/v1/fleet/defragmentation"): REASON,
    ("POST", "/v1/hosts/x/cordon"): REASON,
    ("POST", "/v1/hosts/x/uncordon"): REASON,
    ("POST", "/v1/worker-versions/x/promote"): {**REASON, "percent": 10},
    ("POST", "/v1/worker-versions/rollback"): REASON,
    ("POST", "/v1/hosts/x/phase-out"): REASON,
    ("POST", "/v1/hosts/x/drain"): REASON,
    ("POST", "/v1/hosts/x/remove"): REASON,
    ("PUT", "/v1/capacity-groups/x"): {"owner": "x", "guarantee": {"memory": "1GiB"}, **REASON},
    ("POST", "/v1/metrics"): {
        "source": "x",
        "samples": [{"service": "web", "task": "web.0.1", "name": "cpu", "value": 1}],
    },
    ("POST", "/v1/pools"): POOL,
    ("POST", "/v1/pools/x/scale"): {"desired": 1, **REASON},
    ("POST", "/v1/pools/x/refresh"): REASON,
    ("POST", "/v1/pools/x/delete"): REASON,
    ("POST", "/v1/services"): {"name": "x", "spec": SERVICE},
    ("PUT", "/v1/services/x"): {"spec": SERVICE, **REASON},
    ("POST", "/v1/services/x/plan"): {"spec": SERVICE, **REASON},
    ("POST", "/v1/services/x/scale"): {"desired": 1, "numbers": {"a": 1}, **REASON},
    ("POST", "/v1/services/x/enabled"): {"enabled": True, **REASON},
    ("POST", "/v1/services/x/processes"): {"disable_increase_desired": True, **REASON},
    ("POST", "/v1/services/x/attributes"): {"owner": "x", "labels": {"a": "b"}, **REASON},
    ("POST", "/v1/services/x/move-task"): {"task_id": "x.0.1", "to": "y", **REASON},
    ("POST", "/v1/services/x/pause"): REASON,
    ("POST", "/v1/services/x/resume"): REASON,
    ("POST", "/v1/services/x/promote"): REASON,
    ("POST", "/v1/services/x/abort"): REASON,
    ("POST", "/v1/services/x/rollback"): {"revision": 1, **REASON},
    ("POST", "/v1/services/x/terminate-copy"): {"task_id": "x.0.1", **REASON},
    ("POST", "/v1/batch/jobs"): {
        "app": "x",
        "owner": "x",
        "queue": "default",
        "container": CONTAINER,
    },
    ("PUT", "/v1/queues/x"): {"owners": ["x"], "guarantee": {"memory": "1GiB"}, **REASON},
    ("POST", "/v1/queues/plan"): CHANGES,
    ("POST", "/v1/queues/changes"): CHANGES,
    ("POST", "/v1/capacity-requests"): {
        "queue": "default",
        "guarantee": {"cpu": 1},
        "until": "2199-01-01T00:00:00Z",
        **REASON,
    },
    ("POST", "/v1/capacity-requests/x/approve"): REASON,
    ("POST", "/v1/capacity-requests/x/reject"): REASON,
    ("POST", "/v1/capacity-requests/x/withdraw"): REASON,
    ("POST", "/v1/batch/jobs/x/cancel"): {"reason": "x"},
    ("POST", "/v1/batch/jobs/x/hold"): {"stop_running": True, **REASON},
    ("POST", "/v1/batch/jobs/x/release"): REASON,
    ("POST", "/v1/batch/jobs/x/resize"): {"size": 3, "close": True, **REASON},
    ("POST", "/v1/batch/jobs/x/children/cancel"): {"indexes": ["1", "3-5"], **REASON},
    ("POST", "/v1/registry/accounts"): ACCOUNT,
    ("PUT", "/v1/registry/accounts/x/grants"): {"grants": [GRANT]},
    ("POST", "/v1/registry/repositories/x/tags/y/undo"): REASON,
    ("POST", "/v1/registry/deletions"): {"repository": "ci/app", **REASON},
    ("POST", "/v1/registry/retention"): {"apply": True, "by": "x"},
    ("POST", "/v1/registry/retention/x/apply"): REASON,
    ("PUT", "/v1/registry/namespaces/x"): {"quota": "1GiB", "owner": "x"},
    ("POST", "/v1/registry/gc"): {"dry_run": True},
    ("POST", "/v1/registry/gc/x/pause"): REASON,
    ("POST", "/v1/registry/gc/x/resume"): REASON,
    ("POST", "/v1/registry/gc/x/rate"): {"per_second": 50},
    ("POST", "/v1/registry/reconcile"): {"repository": "apps/hello"},
    ("POST", "/v1/registry/scrub"): {"bytes_per_second": "5MiB"},
    ("PUT", "/v1/registry/upkeep"): {"gc_minutes": 60},
    ("POST", "/v1/registry/replicas"): {"reference": "apps/hello:1", "regions": ["there"]},
    ("POST", "/v1/registry/preheats"): {"reference": "apps/hello:1"},
    ("POST", "/v1/registry/resolve"): {"references": ["apps/hello:1"]},
    ("POST", "/api/v1/global/bake"): ROSCO,
    ("DELETE", "/api/v1/global/bake"): ROSCO,
    ("POST", "/api/v1/bakes/delete-requests"): {"pipelineExecutionIds": ["x"]},
}
ANY_TEXT = st.text(
    st.characters(exclude_categories=[]) | st.sampled_from("\0\n\r\x1b\x9b\ud800\udfff\u2028"),
    max_size=20,
)
NUMBERS = st.integers() | st.floats() | st.sampled_from([10**400, "9" * 400 + "MiB", 1e308])
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=6,
)
ROUTES = st.sampled_from(sorted(REQUESTS))
any_case = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """The API with a release and an artifact in its books, but nothing else of the platform."""
    folder: Path = tmp_path_factory.mktemp("hostile")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("api.deps.CONNECT_SECONDS", 0.01)
        regions = folder / "regions.yaml"
        regions.write_text("region: here\nregions: {there: {url: http://127.0.0.1:9}}\n")
        patch.setenv("FLEETWIDE_REGISTRY_REGIONS", str(regions))
        with bare_api(folder) as client:
            _fill(Store.open(f"sqlite:///{folder}/fleetwide.db"))
            yield client


def _fill(store: Store) -> None:
    now = datetime.now(UTC)
    workflow_id = f"os/{BASE.name}/{BASE.version}"
    release = {
        **BASE.model_dump(mode="json"),
        "workflow_id": workflow_id,
        "state": "stable",
        "image_digest": BASE.digest,
        "created_at": now.isoformat(),
        "source_date_epoch": BASE.created_epoch,
    }
    with store.write() as session:
        images.save_artifact(session, "a" * 64, "hello.tar.gz", 10, now=now)
        session.add(
            OSReleaseRow(
                name=BASE.name,
                version=BASE.version,
                workflow_id=workflow_id,
                run_id="r",
                state="stable",
                spec={},
                release=release,
                created_at=now,
            )
        )
    store.engine.dispose()


def ask(api: TestClient, route: tuple[str, str], document: Any) -> int:
    """The answer's status; one that is no success must be a problem that says where."""
    method, path = route
    body = json.dumps(document).encode()
    answer = api.request(method, path, content=body, headers={"Content-Type": "application/json"})
    if answer.status_code < 300:
        return answer.status_code
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert told["detail"]
    # Temporal and the registry are away, which is no fault of the request.
    away = answer.status_code == 503 and told.get("hint") != "fleetwide db status"
    assert away or 400 <= answer.status_code < 500, told
    return answer.status_code


def places(document: Any) -> list[tuple[Any, ...]]:
    """Where in a document values stand, each as the steps that lead to it."""
    steps = document.items() if isinstance(document, dict) else enumerate(document)
    found: list[tuple[Any, ...]] = []
    for step, value in steps:
        found.append((step,))
        if isinstance(value, dict | list):
            found += [(step, *deeper) for deeper in places(value)]
    return found


def replaced(document: Any, place: tuple[Any, ...], value: Any) -> Any:
    changed = copy.deepcopy(document)
    owner = changed
    for step in place[:-1]:
        owner = owner[step]
    owner[place[-1]] = value
    return changed


def test_the_documents_cover_every_route_that_takes_one(api: TestClient) -> None:
    paths: dict[str, Any] = api.get("/openapi.json").json()["paths"]
    told = [
        (method.upper(), path)
        for path, methods in paths.items()
        for method, operation in methods.items()
        if "requestBody" in operation
    ]
    for method, path in told:
        parts = path.split("/")
        assert any(known == method and _fits(parts, at.split("/")) for known, at in REQUESTS), (
            f"{method} {path}"
        )


def _fits(pattern: list[str], path: list[str]) -> bool:
    pairs = zip(pattern, path, strict=False)
    return len(pattern) == len(path) and all(a == b or a.startswith("{") for a, b in pairs)


@pytest.mark.parametrize("route", sorted(REQUESTS))
def test_the_documents_themselves_are_valid(api: TestClient, route: tuple[str, str]) -> None:
    assert ask(api, route, REQUESTS[route]) != 422 or route[1].startswith("/api/")


@any_case
@given(route=ROUTES, document=JSON)
def test_any_document_is_answered(api: TestClient, route: tuple[str, str], document: Any) -> None:
    ask(api, route, document)


def ask_with(api: TestClient, route: tuple[str, str], value: Any, data: st.DataObject) -> None:
    """Ask with ``value`` in one of the places of a valid document."""
    known = places(REQUESTS[route])
    if known:
        ask(api, route, replaced(REQUESTS[route], data.draw(st.sampled_from(known)), value))


@any_case
@given(route=ROUTES, value=JSON, data=st.data())
def test_any_value_in_any_place_is_answered(
    api: TestClient, route: tuple[str, str], value: Any, data: st.DataObject
) -> None:
    ask_with(api, route, value, data)


@any_case
@given(route=ROUTES, text=ANY_TEXT, data=st.data())
def test_any_text_in_any_place_is_answered(
    api: TestClient, route: tuple[str, str], text: str, data: st.DataObject
) -> None:
    ask_with(api, route, text, data)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"owner": "a\nb"}, "owner: must be one line without control characters"),
        ({"owner": "\x1b[2J"}, "owner: must be one line without control characters"),
        ({"owner": "\ud800"}, "owner: must be valid Unicode text"),
        ({"owner": "x" * 201}, "owner: must have at most 200 characters"),
        ({"build": {"host": "a\x9bb"}}, "build.host: must be one line without control characters"),
        ({"build": {"url": "https://x\x1b"}}, "build.url: must match "),
        ({"command": ["a\0"]}, "command[0]: must not hold NUL characters"),
        ({"labels": {"team": "\x07"}}, "labels.team: must not hold control characters"),
        ({"labels": {"\udfff": "x"}}, "must be valid Unicode text"),
        (
            {
                "targets": ["container", "vm"],
                "ami": {"regions": ["eu-west-1"], "tags": {"a": "x" * 256}},
            },
            "ami.tags.a: a value has 1 to 255 characters",
        ),
    ],
)
def test_what_is_wrong_with_a_text_is_said_where_it_stands(
    api: TestClient, change: dict[str, Any], told: str
) -> None:
    body = json.dumps({**BAKE, **change}).encode()
    answer = api.post("/v1/bakes", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert told in answer.json()["detail"]


@any_case
# A client takes parts such as ".." out of an address before it asks.
@given(
    text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10).filter(
        lambda text: text not in (".", "..")
    )
)
def test_any_text_in_an_address_is_answered(api: TestClient, text: str) -> None:
    raw = quote(text, safe="")
    for address in (
        f"/v1/images/{raw}/1",
        f"/v1/images/x/{raw}",
        f"/v1/os/releases/{raw}/{raw}/diff?against={raw}",
        f"/v1/bakes?name={raw}",
        f"/v1/bakes?cursor={raw}",
        f"/v1/images?cursor={raw}",
        f"/v1/recipes/{raw}",
        f"/v1/tasks?app={raw}",
        f"/v1/operations/{raw}",
        f"/v1/registry/resolve?reference={raw}",
        f"/bakeOptions/{raw}/baseImages/{raw}",
    ):
        answer = api.get(address)
        assert answer.status_code < 500 or answer.json()["code"].endswith("Unavailable")
        answer.json()


@pytest.mark.parametrize(
    ("address", "field"),
    [
        ("/v1/images/%00/1", "path"),
        ("/v1/images?name=%00", "query"),
        ("/v1/bakes?name=a%1Bb", "query"),
        ("/api/v1/x%0A/status/y", "path"),
    ],
)
def test_control_characters_in_an_address_are_refused(
    api: TestClient, address: str, field: str
) -> None:
    answer = api.get(address)
    assert answer.status_code == 422
    assert answer.json()["detail"] == f"{field}: must not hold control characters"


@pytest.mark.parametrize("address", ["/v1/images/%ff%fe/1", "/v1/images?name=%ff", "/%c3%28"])
def test_an_address_that_is_no_utf8_is_answered(api: TestClient, address: str) -> None:
    assert api.get(address).status_code in (200, 404)


@pytest.mark.parametrize(
    "cursor",
    ["/v1/bakes?cursor=9223372036854775808", "/v1/images?cursor=0001-01-01T00:00:00%2B14:00"],
)
def test_a_cursor_beyond_the_books_is_refused(api: TestClient, cursor: str) -> None:
    answer = api.get(cursor)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("cursor: must be the next of an earlier page")


def test_the_pattern_of_a_line_is_in_the_schema(api: TestClient) -> None:
    schemas = api.get("/openapi.json").json()["components"]["schemas"]
    assert schemas["BakeSpec"]["properties"]["owner"]["pattern"] == LINE_PATTERN
