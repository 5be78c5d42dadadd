"""Container tasks through the API."""

import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.api.harness import HOST, Plane, task_spec, wait_until


def run(http: TestClient, *command: str, wait: int = 30, **more: Any) -> dict[str, Any]:
    response = http.post("/v1/tasks", params={"wait": wait}, json={**task_spec(*command), **more})
    assert response.status_code in (200, 202), response.text
    operation: dict[str, Any] = response.json()
    return operation


def state(http: TestClient, task_id: str) -> dict[str, Any]:
    task: dict[str, Any] = http.get(f"/v1/tasks/{task_id}").json()
    return task


def test_a_task_runs_to_its_end_and_keeps_the_evidence(http: TestClient) -> None:
    operation = run(http, "exit", "0", owner="team-a")
    assert operation["status"] == "completed"
    assert operation["result"]["reason"] == "normal"
    task = state(http, operation["id"])
    assert (task["state"], task["reason"], task["exit_code"]) == ("Finished", "normal", 0)
    assert task["host_id"] == HOST
    assert task["owner"] == "team-a"
    assert task["image"].startswith("apps/hello@sha256:")
    [attempt] = task["attempts"]
    assert attempt["last_lines"] == ["attempt 1 of 0 says hällo"]
    links = task["links"]
    workflow = f"task%2F{operation['id']}/{operation['run_id']}"
    assert links["ui"] == f"http://ui.example/namespaces/default/workflows/{workflow}"
    assert http.get(links["self"]).json()["id"] == task["id"]
    assert http.get(links["logs"]).text == "attempt 1 of 0 says hällo\n"
    assert http.get(links["operation"]).json()["workflow_id"] == f"task/{task['id']}"


def test_a_start_is_answered_with_202_and_its_location(http: TestClient) -> None:
    response = http.post("/v1/tasks", json=task_spec("sleep"))
    assert response.status_code == 202
    operation = response.json()
    assert operation["status"] == "running"
    assert operation["workflow_type"] == "ContainerTask"
    location = response.headers["Location"]
    assert location == f"/v1/operations/task/{operation['id']}"
    assert http.get(location).json()["run_id"] == operation["run_id"]
    assert state(http, operation["id"])["state"] in ("Accepted", "Launched", "Started")
    cancelled = http.post(f"/v1/tasks/{operation['id']}/cancel", json={"reason": "enough"})
    assert cancelled.status_code == 200, cancelled.text
    assert cancelled.json()["reason"] == "killed"
    assert cancelled.json()["message"] == "enough"
    again = http.post(f"/v1/tasks/{operation['id']}/cancel", json={"reason": "enough"})
    assert again.status_code == 409
    assert again.json()["code"] == "Conflict"


def test_a_failed_task_is_a_failed_operation_with_the_reason(http: TestClient) -> None:
    operation = run(http, "exit", "3")
    assert operation["status"] == "failed"
    assert operation["error"]["code"] == "TaskFailed"
    assert operation["error"]["detail"] == "failed: exit code 3"
    assert state(http, operation["id"])["exit_code"] == 3


def test_the_log_as_events_follows_every_attempt_and_ends(http: TestClient) -> None:
    operation = run(http, "flaky", retry={"retries": 1, "delay_seconds": 0.01})
    path = f"/v1/tasks/{operation['id']}/logs"
    events = read_events(http, path, {})
    texts = [json.loads(event["data"])["text"] for event in events if event["event"] == "log"]
    assert texts == ["attempt 1 of 0 says hällo\n", "attempt 2 of 0 says hällo\n"]
    assert [event.get("id") for event in events[:2]] == ["1:27", "2:27"]
    assert json.loads(events[-1]["data"])["reason"] == "normal"
    resumed = read_events(http, path, {"Last-Event-ID": "1:27"})
    assert [event["event"] for event in resumed] == ["log", "end"]
    middle = read_events(http, path, {"Last-Event-ID": "2:20"})
    assert json.loads(middle[0]["data"])["text"] == "hällo\n"


def read_events(http: TestClient, path: str, headers: dict[str, str]) -> list[dict[str, str]]:
    with http.stream("GET", path, params={"follow": True}, headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        blocks = response.read().decode().replace("\r\n", "\n").split("\n\n")
    parsed = [
        dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        for block in blocks
    ]
    return [event for event in parsed if event]


def test_parts_of_a_log(http: TestClient) -> None:
    operation = run(http, "flaky", retry={"retries": 1, "delay_seconds": 0.01})
    path = f"/v1/tasks/{operation['id']}/logs"
    assert http.get(path, params={"attempt": 1}).text == "attempt 1 of 0 says hällo\n"
    assert http.get(path, params={"tail": 1}).text == "attempt 2 of 0 says hällo\n"
    part = http.get(path, params={"offset": 20})
    assert part.text == "hällo\n"
    assert part.headers["Fleetwide-Next-Offset"] == "27"
    assert http.get(path, params={"attempt": 9}).status_code == 404
    assert http.get(path, params={"tial": 1}).json()["fields"][0]["field"] == "tial"
    bad = http.get(path, params={"follow": True}, headers={"Last-Event-ID": "x"})
    assert bad.status_code == 422


def test_the_same_key_starts_one_task_and_another_body_is_refused(http: TestClient) -> None:
    def post(body: dict[str, Any]) -> Any:
        return http.post(
            "/v1/tasks", params={"wait": 30}, json=body, headers={"Idempotency-Key": "k-1"}
        )

    first = post(task_spec("exit", "0"))
    again = post(task_spec("exit", "0"))
    assert first.json()["run_id"] == again.json()["run_id"]
    other = post(task_spec("exit", "1"))
    assert other.status_code == 422
    assert other.json()["fields"][0]["field"] == "Idempotency-Key"


def test_listing_pages_from_new_to_old(http: TestClient) -> None:
    ids = [run(http, "exit", "0", app="paged")["id"] for _ in range(3)]
    first = http.get("/v1/tasks", params={"app": "paged", "limit": 2}).json()
    assert [task["id"] for task in first["items"]] == [ids[2], ids[1]]
    second = http.get(
        "/v1/tasks", params={"app": "paged", "limit": 2, "cursor": first["next"]}
    ).json()
    assert [task["id"] for task in second["items"]] == [ids[0]]
    assert second["next"] is None


@pytest.mark.parametrize("path", ["/v1/tasks/nope", "/v1/tasks/nope/logs"])
def test_an_unknown_task_is_told_as_such(http: TestClient, path: str) -> None:
    response = http.get(path)
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["detail"] == "there is no task nope"
    assert response.json()["hint"] == "fleetwide task list"


def test_an_image_that_does_not_exist_is_refused_before_anything_starts(http: TestClient) -> None:
    spec = task_spec("exit", "0", image="apps/hello:9")
    response = http.post("/v1/tasks", json=spec)
    assert response.status_code == 404
    assert response.json()["code"] == "ImageNotFound"
    assert response.json()["detail"] == "container.image: apps/hello:9 is not in the registry"


def test_what_fits_no_host_says_why_it_waits(http: TestClient) -> None:
    big = {"cpu": 64, "memory": "64GiB"}
    response = http.post("/v1/tasks", json=task_spec("exit", "0", resources=big))
    task_id = response.json()["id"]
    wait_until(lambda: state(http, task_id).get("waiting") is not None, "the reason is there")
    waiting = state(http, task_id)["waiting"]
    assert waiting["code"] == "exceedsEveryHost"
    assert "64" in waiting["sentence"]
    http.post(f"/v1/tasks/{task_id}/cancel", json={"reason": "too big"})


def test_hosts_show_what_is_taken(http: TestClient) -> None:
    [host] = http.get("/v1/hosts").json()["items"]
    assert (host["host_id"], host["state"], host["cpu"]) == (HOST, "Active", 4.0)
    assert host["memory"] == 4 * 1024**3
    assert (host["disk"], host["gpus"], host["ports"]) == (None, [], "20000-32000")
    one = http.get(f"/v1/hosts/{HOST}").json()
    assert one["machine"] is None
    assert http.get("/v1/hosts/nobody").json()["hint"] == "fleetwide host list"


def test_a_workflow_that_failed_before_its_row_is_found_by_its_id(
    http: TestClient, plane: Plane
) -> None:
    async def start(client: Any) -> None:
        spec = task_spec("exit", "0", image="apps/missing:1")
        handle = await client.start_workflow(
            "ContainerTask", spec, id="task/early", task_queue="control"
        )
        with pytest.raises(Exception, match="Workflow"):
            await handle.result()

    plane.call(start)
    task = state(http, "early")
    assert task["state"] == "Finished"
    assert task["error"]["code"] == "ImageNotFound"
    operation = http.get("/v1/operations/task/early").json()
    assert operation["error"]["detail"] == "container.image: apps/missing:1 is not in the registry"


def test_tasks_are_found_by_all_of_their_labels(http: TestClient) -> None:
    run(http, "exit", "0", labels={"team": "a", "run": "1"})
    run(http, "exit", "0", labels={"team": "a", "run": "2"})
    run(http, "exit", "0")

    def found(*labels: str) -> list[dict[str, str]]:
        page = http.get("/v1/tasks", params={"label": list(labels)}).json()
        return [task["labels"] for task in page["items"]]

    assert found("team=a") == [{"team": "a", "run": "2"}, {"team": "a", "run": "1"}]
    assert found("team=a", "run=1") == [{"team": "a", "run": "1"}]
    assert found("team=b") == []
    assert found("team=") == []


@pytest.mark.parametrize("label", ["team", "=a", "te am=a"])
def test_a_label_that_is_none_is_refused(http: TestClient, label: str) -> None:
    refused = http.get("/v1/tasks", params={"label": label})
    assert refused.status_code == 422
    assert refused.json()["fields"][0]["field"] == "label"


def test_labels_of_the_platform_are_its_own(http: TestClient) -> None:
    spec = {**task_spec("exit", "0"), "labels": {"fleetwide.host": "h9"}}
    refused = http.post("/v1/tasks", json=spec)
    assert refused.status_code == 422
    assert "the platform's own" in refused.text
