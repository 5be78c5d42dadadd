"""Services over HTTP, on a whole control plane."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from typing import Any

import pytest
from starlette.testclient import TestClient
from temporalio.service import RPCError

from tests.api.harness import Plane, task_spec, wait_until

SPEC: dict[str, Any] = {
    **task_spec("sleep"),
    "owner": "team",
    "labels": {"tier": "web"},
    "capacity": {"desired": 2, "max": 4},
    "deploy": {"healthy_seconds": 0},
}
WHY = {"reason": "a test", "by": "ada"}


NAMES = count(1)


@pytest.fixture
def web(http: TestClient, plane: Plane) -> Iterator[str]:
    """The page of a service of a name of its own, which is deleted in the end."""
    name = f"web{next(NAMES)}"
    started = http.post("/v1/services", json={"name": name, "spec": SPEC})
    assert started.status_code == 202, started.text
    assert started.headers["Location"] == f"/v1/operations/service/{name}"
    page = f"/v1/services/{name}"
    wait_until(lambda: len(copies(http, page)) == 2, "both copies are there")
    yield page
    assert http.delete(page, params=WHY).status_code == 202
    wait_until(lambda: _gone(http, plane, name), "it is deleted")


def copies(http: TestClient, page: str) -> list[Any]:
    items: list[Any] = http.get(f"{page}/copies").json().get("items", [])
    return items


def _gone(http: TestClient, plane: Plane, name: str) -> bool:
    if http.get(f"/v1/services/{name}").status_code == 404:
        return True

    async def wake(client: Any) -> None:
        with suppress(RPCError):  # it may have ended just now
            await client.get_workflow_handle(f"service/{name}").signal("changed")

    plane.call(wake)
    return False


def test_a_service_is_created_found_and_cannot_be_created_twice(http: TestClient, web: str) -> None:
    name = web.rpartition("/")[2]
    again = http.post("/v1/services", json={"name": name, "spec": SPEC})
    assert (again.status_code, again.json()["hint"]) == (409, f"fleetwide service show {name}")
    found = http.get(web)
    assert found.headers["ETag"] == '"1"'
    document = found.json()
    assert document["status"]["capacity"] == {"min": 0, "desired": 2, "max": 4}
    assert document["spec"]["container"]["image"] == SPEC["container"]["image"]
    for query in ({}, {"app": "hello"}, {"label": "tier=web"}, {"owner": "team"}):
        listed = http.get("/v1/services", params=query).json()["items"]
        assert [one["id"] for one in listed] == [name]
    assert http.get("/v1/services", params={"label": "tier=db"}).json()["items"] == []
    [first, second] = copies(http, web)
    assert {first["index"], second["index"]} == {0, 1}
    task = http.get(first["links"]["task"]).json()
    assert task["id"] == first["task_id"]


def test_changes_insist_on_a_version(http: TestClient, web: str) -> None:
    changed = {**SPEC, "owner": "others"}
    body = {"spec": changed, **WHY}
    planned = http.post(f"{web}/plan", json=body).json()
    assert (planned["index"], planned["effect"]) == (1, "attributes")
    done = http.put(web, json=body, headers={"If-Match": f'"{planned["index"]}"'})
    assert (done.status_code, done.json()["owner"]) == (200, "others")
    late = http.put(web, json={"spec": SPEC, **WHY}, headers={"If-Match": '"1"'})
    assert late.status_code == 409
    assert "has version 2, not 1" in late.json()["detail"]
    odd = http.put(web, json=body, headers={"If-Match": "W/x"})
    assert odd.json()["fields"][0]["field"] == "If-Match"
    [newest, first] = http.get(f"{web}/revisions").json()["items"]
    assert [change["path"] for change in newest["changes"]] == ["owner"]
    assert (newest["number"], newest["by"], first["number"]) == (2, "ada", 1)


def test_scaling_is_kept_in_the_history_and_survives_a_new_spec(http: TestClient, web: str) -> None:
    scaled = http.post(f"{web}/scale", json={"desired": 3, **WHY})
    assert scaled.json()["status"]["capacity"]["desired"] == 3
    without = {name: value for name, value in SPEC.items() if name != "capacity"}
    deployed = http.put(web, json={"spec": {**without, "owner": "x"}, **WHY}).json()
    assert deployed["status"]["capacity"] == {"min": 0, "desired": 3, "max": 4}
    [_, deed, _] = http.get(f"{web}/activity").json()["items"]
    assert (deed["kind"], deed["by"], deed["before"]["desired"]) == ("scale", "ada", 2)
    beyond = http.post(f"{web}/scale", json={"desired": 9, **WHY})
    assert beyond.json()["fields"][0]["field"] == "desired"
    http.post(f"{web}/processes", json={"disable_decrease_desired": True, **WHY})
    refused = http.post(f"{web}/scale", json={"desired": 1, **WHY})
    assert (refused.status_code, "disable_decrease" in refused.json()["detail"]) == (409, True)


def test_a_copy_moves_to_another_service_and_its_tasks_are_found_by_service(
    http: TestClient, plane: Plane, web: str
) -> None:
    name = web.rpartition("/")[2]
    other = {"name": f"{name}-b", "spec": {**SPEC, "capacity": {"desired": 0, "max": 2}}}
    assert http.post("/v1/services", json=other).status_code == 202
    task = min(one["task_id"] for one in copies(http, web))
    body = {"task_id": task, "to": f"{name}-b", **WHY}
    refused = http.post(f"{web}/move-task", json={**body, "to": name})
    assert (refused.status_code, refused.json()["fields"][0]["field"]) == (422, "to")
    waits = http.post(f"{web}/move-task", json=body)
    assert waits.status_code == 409, waits.text  # nothing tells this plane that copies started
    assert waits.json()["hint"]
    listed = http.get("/v1/tasks", params={"service": name, "limit": 1}).json()
    assert listed["items"][0]["service_id"] == name
    rest = http.get("/v1/tasks", params={"service": name, "cursor": listed["next"]}).json()
    assert {one["id"] for one in [*listed["items"], *rest["items"]]} == {
        one["task_id"] for one in copies(http, web)
    }
    assert http.get("/v1/tasks", params={"service": f"{name}-b"}).json()["items"] == []
    assert http.delete(f"/v1/services/{name}-b", params=WHY).status_code == 202
    wait_until(lambda: _gone(http, plane, f"{name}-b"), "it is deleted")


def test_attributes_change_without_a_revision(http: TestClient, web: str) -> None:
    changed = http.post(f"{web}/attributes", json={"owner": "new", "labels": {"a": "b"}, **WHY})
    document = changed.json()
    assert (document["owner"], document["labels"]) == ("new", {"tier": "web", "a": "b"})
    assert (document["status"]["version"], document["status"]["revision"]) == (2, 1)
    late = http.post(
        f"{web}/attributes", json={"remove_labels": ["a"], "expected_version": 1, **WHY}
    )
    assert late.status_code == 409
    both = http.post(
        f"{web}/attributes", json={"labels": {"a": "b"}, "remove_labels": ["a"], **WHY}
    )
    assert both.status_code == 422


def test_only_what_is_given_of_capacity_changes_and_by_its_version(
    http: TestClient, web: str
) -> None:
    done = http.post(f"{web}/scale", json={"max": 9, "expected_version": 1, **WHY}).json()
    assert done["status"]["capacity"] == {"min": 0, "desired": 2, "max": 9}
    late = http.post(f"{web}/scale", json={"min": 1, "expected_version": 1, **WHY})
    assert (late.status_code, late.json()["hint"].startswith("fleetwide service show")) == (
        409,
        True,
    )
    task = min(one["task_id"] for one in copies(http, web))
    shrunk = http.post(
        f"{web}/terminate-copy", json={"task_id": task, "shrink": True, **WHY}
    ).json()
    assert shrunk["status"]["capacity"] == {"min": 0, "desired": 1, "max": 9}
    off = http.post(f"{web}/enabled", json={"enabled": False, **WHY}).json()
    assert off["status"]["enabled"] is False
    [first, second, *_] = http.get(f"{web}/activity").json()["items"]
    assert (first["kind"], second["kind"], second["numbers"]) == (
        "enabled",
        "terminate",
        {"desired": 1},
    )


def test_what_is_not_there_is_told_with_a_hint(http: TestClient, web: str) -> None:
    missing = http.post("/v1/services/none/scale", json={"desired": 1, **WHY})
    assert (missing.status_code, missing.json()["hint"]) == (404, "fleetwide service list")
    copy = http.post(f"{web}/terminate-copy", json={"task_id": "web.9.9", **WHY})
    assert copy.json()["hint"] == f"fleetwide service copies {web.rpartition('/')[2]}"
    image = {**SPEC, "container": {**SPEC["container"], "image": "apps/none:1"}}
    assert http.put(web, json={"spec": image}).status_code == 404
    forged = {"service_id": "web", "index": 0, "revision": 1, "incarnation": 1}
    task = http.post("/v1/tasks", json={**task_spec("exit", "0"), "membership": forged})
    assert task.json()["fields"][0]["field"] == "membership"
