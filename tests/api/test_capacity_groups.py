"""Capacity groups through the API: made, changed by revision, looked at, removed."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from fleetwide.models.hosts import HostSpec
from fleetwide.store import hosts
from fleetwide.store.session import Store
from tests.bare_api import bare_api
from tests.unit.test_preempting import accept

ROOT = "/v1/capacity-groups"
CONTAINER = {"image": "apps/hello:1.0.0"}


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestClient, Store]]:
    folder: Path = tmp_path_factory.mktemp("groups")
    with bare_api(folder) as client:
        store = Store.open(f"sqlite:///{folder}/fleetwide.db")
        with store.write() as session:
            host = HostSpec.model_validate({"host_id": "h1", "cpu": 8, "memory": "8GiB"})
            hosts.register(session, host, now=datetime.now(UTC))
        yield client, store
        store.engine.dispose()


def put(client: TestClient, name: str, status: int = 200, **wanted: Any) -> dict[str, Any]:
    answer = client.put(f"{ROOT}/{name}", json={"reason": "a test", "by": "me", **wanted})
    assert answer.status_code == status, answer.text
    told: dict[str, Any] = answer.json()
    return told


def test_a_group_is_changed_only_at_the_revision_that_was_seen(
    plane: tuple[TestClient, Store],
) -> None:
    client, _ = plane
    made = put(client, "web", tier="Critical", guarantee={"cpu": 2.5}, revision=0)
    assert (made["revision"], made["guarantee"]["cpu"], made["used"]["cpu"]) == (1, 2.5, 0)
    assert put(client, "web", 409, weight=2, revision=0)["code"] == "Conflict"
    changed = put(client, "web", tier="Critical", guarantee={"cpu": 4}, weight=2, revision=1)
    assert changed["revision"] == 2
    same = put(client, "web", tier="Critical", guarantee={"cpu": 4}, weight=2, revision=2)
    assert same["revision"] == 2
    events = client.get(changed["links"]["events"]).json()["items"]
    assert [each["kind"] for each in events] == ["created", "changed"]
    assert events[1]["data"]["by"] == "me"
    assert events[1]["data"]["before"]["guarantee"] == {"cpu": 2.5}
    assert client.get(ROOT).json()["items"][0]["name"] == "default"


def test_what_the_fleet_cannot_hold_is_a_warning(plane: tuple[TestClient, Store]) -> None:
    client, _ = plane
    told = put(client, "huge", guarantee={"cpu": 1000, "memory": "1GiB"})
    [warning] = told["warnings"]
    assert warning.endswith("CPU are guaranteed in all, and the hosts that take work have 8")
    assert client.delete(f"{ROOT}/huge", params={"reason": "a test"}).status_code == 204


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"guarantee": {"cpu": 4}, "cap": {"cpu": 2}}, "guarantee.cpu"),
        ({"weight": 0}, "weight"),
        ({"tier": "critical"}, "tier"),
        ({"cap": {"ram": "1GiB"}}, "cap.ram"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(
    plane: tuple[TestClient, Store], wanted: dict[str, Any], field: str
) -> None:
    assert field in put(plane[0], "odd", 422, **wanted)["detail"]


def test_a_group_in_use_and_the_default_one_stay(plane: tuple[TestClient, Store]) -> None:
    client, store = plane
    put(client, "used")
    accept(store, "task/used", "used")
    refused = client.delete(f"{ROOT}/used", params={"reason": "a test"})
    assert refused.status_code == 409
    assert "1 tasks and batch jobs" in refused.json()["detail"]
    assert client.get(f"{ROOT}/used").json()["waiting"] == 1
    assert client.delete(f"{ROOT}/default", params={"reason": "a test"}).status_code == 409
    assert client.delete(f"{ROOT}/nothing", params={"reason": "a test"}).status_code == 404


@pytest.mark.parametrize("path", ["/v1/tasks", "/v1/batch/jobs"])
def test_an_unknown_group_is_refused_with_those_that_there_are(
    plane: tuple[TestClient, Store], path: str
) -> None:
    client, _ = plane
    put(client, "web2")
    spec = {"app": "x", "capacity_group": "wbe2", "container": CONTAINER}
    answer = client.post(path, json=spec)
    assert answer.status_code == 422
    problem = answer.json()
    assert problem["fields"][0]["field"] == "capacity_group"
    assert "default" in problem["hint"]
    assert "web2" in problem["hint"]
