"""Errors: always problem+json, in the same words as everywhere, never a 500 for bad input."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient
from temporalio.client import WorkflowExecutionStatus

from api.app import create_app
from api.lifecycles import STATUS
from api.routers.batch import ENDED
from fleetwide.models.documents import OperationStatus
from fleetwide.store.session import Store
from tests.api.harness import free_port, prepare, settings_for, task_spec

POSTS = ("/v1/os/builds", "/v1/bakes", "/v1/tasks", "/v1/batch/jobs", "/v1/tasks/x/cancel")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """The API with a database, but neither Temporal nor a registry."""
    folder: Path = tmp_path_factory.mktemp("alone")
    away = free_port()
    config = settings_for(folder, f"127.0.0.1:{away}", f"http://127.0.0.1:{away}")
    store = Store.open(config.database_url.get_secret_value())
    prepare(store)
    store.engine.dispose()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("api.deps.CONNECT_SECONDS", 0.05)
        with TestClient(create_app(config)) as client:
            yield client


def problem(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    told: dict[str, Any] = response.json()
    assert told["status"] == status
    assert told["request_id"] == response.headers["x-request-id"]
    return told


def test_every_wrong_field_is_told_in_the_words_of_the_workflows(alone: TestClient) -> None:
    body = task_spec("exit", "0", resources={"cpu": -1}, imag="x")
    told = problem(alone.post("/v1/tasks", json=body), 422)
    assert told["type"] == "urn:fleetwide:problem:InvalidInput"
    assert told["title"] == "The input is not valid"
    assert told["instance"] == "/v1/tasks"
    assert told["detail"] == (
        "container.resources.cpu: must be at least 0.001 (given: -1); "
        "container.imag: unknown key; did you mean image?"
    )
    assert told["fields"][0] == {
        "field": "container.resources.cpu",
        "message": "must be at least 0.001",
        "given": "-1",
    }


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "input: missing"),
        (b"{", "input: is not JSON: "),
        (b"[]", "input: must be an object (given: a list of 0)"),
        (b"\xff\xfe", "input: is not JSON"),
    ],
)
def test_bodies_that_are_no_document(alone: TestClient, body: bytes, detail: str) -> None:
    headers = {"Content-Type": "application/json"}
    told = problem(alone.post("/v1/tasks", content=body, headers=headers), 422)
    assert told["detail"].startswith(detail)


def test_query_parameters_are_named_alike(alone: TestClient) -> None:
    told = problem(alone.get("/v1/tasks", params={"limit": 0}), 422)
    assert told["detail"] == "limit: must be at least 1 (given: '0')"
    told = problem(alone.get("/v1/tasks", params={"cursor": "x"}), 422)
    assert told["fields"][0]["field"] == "cursor"


def test_pages_and_methods_that_do_not_exist(alone: TestClient) -> None:
    assert problem(alone.get("/v2"), 404)["detail"] == "there is no page /v2"
    told = problem(alone.delete("/v1/tasks"), 405)
    assert told["code"] == "MethodNotAllowed"


def test_what_is_away_is_said_to_be_away(alone: TestClient) -> None:
    spec = task_spec("exit", "0")
    spec["container"]["image"] = "apps/nobody-knows:1"
    registry = alone.post("/v1/tasks", json=spec)
    assert problem(registry, 503)["code"] == "RegistryUnavailable"
    assert registry.headers["Retry-After"] == "5"
    temporal = problem(alone.get("/v1/operations/task/x"), 503)
    assert temporal["code"] == "ServiceUnavailable"
    assert temporal["hint"] == "fleetwide dev status"
    health = alone.get("/healthz")
    assert health.status_code == 503
    assert health.json()["checks"]["database"] == "ok"
    assert alone.get("/v1/tasks").json() == {"items": [], "next": None}


def test_what_nobody_expected_shows_no_internals(
    alone: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("fleetwide.store.hosts.listing", broken)
    response = alone.get("/v1/hosts")
    assert problem(response, 500)["code"] == "Internal"
    assert "secret" not in response.text


def test_a_body_has_a_limit(alone: TestClient) -> None:
    big = json.dumps({"app": "x" * 2_000_000}).encode()
    problem(alone.post("/v1/tasks", content=big), 413)
    pieces = (big[start : start + 65536] for start in range(0, len(big), 65536))
    problem(alone.post("/v1/tasks", content=pieces), 413)


def test_a_request_id_is_taken_over_when_it_is_harmless(alone: TestClient) -> None:
    def answered(given: str) -> str:
        headers = {"X-Request-Id": given}
        return str(alone.get("/v1/tasks", headers=headers).headers["x-request-id"])

    assert answered("abc-1") == "abc-1"
    assert answered("a b<script>") != "a b<script>"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
KEYS = st.sampled_from(
    [
        "app",
        "name",
        "container",
        "image",
        "env",
        "command",
        "resources",
        "cpu",
        "memory",
        "size",
        "suite",
        "version",
        "artifacts",
        "base",
        "retry",
        "reason",
        "packages",
        "labels",
    ]
)
NEAR = st.dictionaries(KEYS | st.text(max_size=5), JSON | st.dictionaries(KEYS, JSON), max_size=6)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(path=st.sampled_from(POSTS), body=NEAR | JSON)
def test_no_body_whatever_yields_a_500(alone: TestClient, path: str, body: Any) -> None:
    content = json.dumps(body).encode()
    response = alone.post(path, content=content, headers={"Content-Type": "application/json"})
    assert response.status_code in (404, 413, 422, 503)
    assert response.headers["content-type"] == "application/problem+json"
    response.json()


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(path=st.sampled_from(POSTS), body=st.binary(max_size=200))
def test_no_bytes_whatever_yield_a_500(alone: TestClient, path: str, body: bytes) -> None:
    response = alone.post(path, content=body, headers={"Content-Type": "application/json"})
    assert response.status_code in (422, 503)


def test_the_mappings_of_states_are_total() -> None:
    assert set(STATUS) == set(WorkflowExecutionStatus)
    assert set(ENDED) == set(OperationStatus)
