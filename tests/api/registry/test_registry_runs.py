"""Retention and deletion through the API, on a whole control plane."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.app import create_app
from fleetwide.providers.registry_storage import REPOSITORIES
from fleetwide.store.session import Store
from tests.api.harness import IMAGE, Plane, registry, task_spec, wait_until
from tests.registry_index import image, push, upload

ROOT = "/v1/registry"
POLICY = 'retention: [{name: old, repositories: ["ci/*"], keep_newest: 1}]'


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    folder = tmp_path_factory.mktemp("plane")
    policy = folder / "policy.yaml"
    policy.write_text(POLICY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLEETWIDE_REGISTRY_POLICY", str(policy))
        with registry(folder) as url, Plane(folder, url) as running:
            yield running


@pytest.fixture(scope="module")
def http(plane: Plane) -> Iterator[TestClient]:
    with TestClient(create_app(plane.settings)) as client:
        yield client


@pytest.fixture
def tags(plane: Plane, request: pytest.FixtureRequest) -> str:
    """A repository of its own, with an old and a new tag."""
    name = f"ci/{request.node.name.replace('_', '-')}"
    store = Store.open(plane.settings.database_url.get_secret_value())
    upload(store, name, "config", "a", "b")
    now = datetime.now(UTC) - timedelta(days=1)
    push(store, name, image("a"), tags=["old"], now=now)
    push(store, name, image("b"), tags=["new"], now=now + timedelta(hours=1))
    store.engine.dispose()
    return name


def names(http: TestClient, repository: str) -> list[str]:
    items = http.get(f"{ROOT}/repositories/{repository}/tags").json()["items"]
    return [one["name"] for one in items]


def begin(http: TestClient, repository: str, **body: Any) -> str:
    body = {"repositories": [repository], "by": "ana", **body}
    started = http.post(f"{ROOT}/retention", json=body)
    assert started.status_code in (200, 202), started.text
    run_id: str = started.json()["id"]
    return run_id


def report(http: TestClient, run_id: str) -> dict[str, Any]:
    response = http.get(f"{ROOT}/retention/{run_id}")
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def test_a_report_and_then_its_application(http: TestClient, tags: str) -> None:
    run_id = begin(http, tags)
    wait_until(lambda: report(http, run_id)["phase"] == "waiting", "the report is written")
    written = report(http, run_id)
    assert (written["goes"], written["shares"][0]["examples"][0]["tag"]) == (1, "old")
    assert names(http, tags) == ["new", "old"]
    applied = http.post(f"{ROOT}/retention/{run_id}/apply", json={"by": "eva"})
    assert applied.status_code in (200, 202), applied.text
    wait_until(lambda: report(http, run_id)["phase"] == "applied", "it is applied")
    assert names(http, tags) == ["new"]
    again = http.post(f"{ROOT}/retention/{run_id}/apply", json={})
    assert again.status_code == 409
    history = http.get(f"{ROOT}/repositories/{tags}/tags/old/history").json()["items"]
    assert history[0]["ended_by"] == "eva"
    assert http.post(f"{ROOT}/repositories/{tags}/tags/old/undo", json={}).status_code == 200


def test_report_and_application_in_one(http: TestClient, tags: str) -> None:
    body = {"repositories": [tags], "apply": True}
    done = http.post(f"{ROOT}/retention", params={"wait": 60}, json=body).json()
    assert (done["status"], done["result"]["ended"]) == ("completed", 1)
    assert names(http, tags) == ["new"]


@pytest.mark.parametrize("body", [{"wait_hours": 0}, {"repositories": []}, {"keep": 1}])
def test_a_retention_that_makes_no_sense_is_refused(http: TestClient, body: dict[str, Any]) -> None:
    assert http.post(f"{ROOT}/retention", json=body).status_code == 422


def test_an_unknown_report_is_not_found(http: TestClient) -> None:
    assert http.get(f"{ROOT}/retention/none").status_code == 404
    assert http.post(f"{ROOT}/retention/none/apply", json={}).status_code == 404


def delete(http: TestClient, repository: str, **body: Any) -> dict[str, Any]:
    body = {"repository": repository, "by": "ana", **body}
    answer = http.post(f"{ROOT}/deletions", params={"wait": 60}, json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_repository_is_deleted_and_its_name_used_and_deleted_again(
    http: TestClient, plane: Plane, tags: str
) -> None:
    for _ in range(2):
        done = delete(http, tags)
        assert (done["status"], done["result"]["removed"]["manifests"]) == ("completed", 2)
        assert http.get(f"{ROOT}/repositories/{tags}/tags").status_code == 404
        store = Store.open(plane.settings.database_url.get_secret_value())
        upload(store, tags, "config", "a", "b")
        for layer in ("a", "b"):
            push(store, tags, image(layer), tags=[layer])
        store.engine.dispose()


def test_what_runs_keeps_its_repository_until_somebody_insists(
    http: TestClient, plane: Plane
) -> None:
    started = http.post("/v1/tasks", json=task_spec("sleep")).json()
    page = f"/v1/tasks/{started['id']}"
    wait_until(lambda: http.get(page).json()["image"].startswith("apps/hello@"), "it is placed")
    repository = IMAGE.partition(":")[0]
    refused = delete(http, repository)
    assert (refused["status"], refused["error"]["code"]) == ("failed", "Conflict")
    assert f"task task/{started['id']}" in refused["error"]["detail"]
    links = plane.folder / "blobs" / REPOSITORIES / repository
    assert Path(links).exists()
    assert delete(http, repository, force=True)["status"] == "completed"
    assert not Path(links).exists()
    assert http.get(page).json()["state"] != "finished"
    http.post(f"{page}/cancel", json={"reason": "done"})


def test_what_is_no_repository_is_not_deleted(http: TestClient) -> None:
    assert delete(http, "no/such")["error"]["code"] == "NotFound"
    for name in ("../v2", "A", ""):
        answer = http.post(f"{ROOT}/deletions", json={"repository": name})
        assert answer.status_code == 422


def test_retention_by_a_schedule(http: TestClient) -> None:
    body = {"gc_minutes": None, "reconcile_hours": None, "scrub_hours": None}
    page = f"{ROOT}/upkeep"
    done = http.put(page, json={**body, "retention_hours": 24, "retention_apply": True})
    assert done.status_code == 200, done.text
    assert [one["kind"] for one in done.json()["items"]] == ["retention"]
    kept = http.put(page, json=body).json()["items"]
    assert [(one["kind"], one["paused"]) for one in kept] == [("retention", False)]
    assert http.put(page, json={"retention_hours": None}).json()["items"] == []
