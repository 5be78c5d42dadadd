"""OS releases, bakes, batch jobs, the registry and events through the API."""

from typing import Any

from starlette.testclient import TestClient

from tests.api.harness import IMAGE, Plane, sha256, task_spec, wait_until

OS = {"name": "baseos", "suite": "bookworm", "version": "1"}


def release(http: TestClient, **spec: Any) -> dict[str, Any]:
    response = http.post("/v1/os/builds", params={"wait": 30}, json={**OS, **spec})
    assert response.status_code in (200, 202), response.text
    operation: dict[str, Any] = response.json()
    return operation


def test_a_release_is_built_promoted_and_guarded(http: TestClient) -> None:
    operation = release(http, name="guarded")
    assert operation["id"] == "guarded/1"
    candidate = http.get("/v1/os/releases/guarded/candidate").json()
    assert (candidate["version"], candidate["state"]) == ("1", "candidate")
    taken = http.post("/v1/os/builds", json={**OS, "name": "guarded"})
    assert taken.status_code == 409
    assert taken.json()["hint"] == "give another version, or none to get the next free one"
    promoted = http.post("/v1/os/releases/guarded/candidate/promote", json={})
    assert promoted.status_code == 200, promoted.text
    assert promoted.json()["state"] == "stable"
    assert "stable" in promoted.json()["channels"]
    channels = http.get("/v1/os/channels", params={"name": "guarded"}).json()["items"]
    assert {"stable"} <= {channel["channel"] for channel in channels}
    listed = http.get("/v1/os/releases", params={"name": "guarded"}).json()["items"]
    assert [item["version"] for item in listed] == ["1"]
    missing = http.get("/v1/os/releases/guarded/9")
    assert missing.status_code == 404


def test_versions_are_counted_when_none_is_given(http: TestClient) -> None:
    first = release(http, name="counted", version=None)["id"]
    second = release(http, name="counted", version=None)["id"]
    assert first.endswith(".1")
    assert second == first.removesuffix("1") + "2"


def test_a_candidate_can_be_withdrawn(http: TestClient) -> None:
    release(http, name="withdrawn")
    response = http.post("/v1/os/releases/withdrawn/1/cancel", json={"reason": "not good"})
    assert response.status_code in (200, 202), response.text
    wait_until(
        lambda: http.get("/v1/operations/os/withdrawn/1").json()["status"] == "cancelled",
        "the build is cancelled",
    )
    again = http.post("/v1/os/releases/withdrawn/1/cancel", json={"reason": "not good"})
    assert again.status_code == 409


def test_an_artifact_is_known_by_its_digest_and_a_bake_needs_it(
    http: TestClient, plane: Plane
) -> None:
    release(http, name="forbake")
    data = b"wheel" * 100_000
    uploaded = http.post(
        "/v1/artifacts", params={"filename": "hello-1.0.0-py3-none-any.whl"}, content=data
    )
    assert uploaded.status_code == 201
    assert uploaded.json() == {
        "sha256": sha256(data),
        "filename": "hello-1.0.0-py3-none-any.whl",
        "size": 500_000,
    }
    spec: dict[str, Any] = {
        "name": "hello",
        "version": "1.0.0",
        "base": "forbake:candidate",
        "artifacts": [{"type": "wheel", **uploaded.json()}],
    }
    del spec["artifacts"][0]["size"]
    plane.bakes.stuck_at.add("build_layer")
    started = http.post("/v1/bakes", json=spec)
    assert started.status_code == 202, started.text
    key = started.json()["id"]
    assert http.post("/v1/bakes", json=spec).json()["run_id"] == started.json()["run_id"]
    assert http.get(f"/v1/bakes/{key}").json()["status"] == "running"
    assert http.post(f"/v1/bakes/{key}/cancel", json={"reason": "x"}).status_code in (200, 202)
    plane.bakes.stuck_at.clear()
    spec["artifacts"][0]["sha256"] = "0" * 64
    unknown = http.post("/v1/bakes", json=spec)
    assert unknown.status_code == 404
    assert "was never uploaded" in unknown.json()["detail"]
    assert http.post("/v1/bakes", json={**spec, "base": "nope:stable"}).status_code == 404
    assert http.get("/v1/images", params={"name": "hello"}).json() == {"items": [], "next": None}
    assert http.get("/v1/images/hello/9").status_code == 404


def test_bad_uploads_are_refused(http: TestClient) -> None:
    def post(filename: str, data: bytes) -> dict[str, Any]:
        response = http.post("/v1/artifacts", params={"filename": filename}, content=data)
        assert response.status_code == 422
        problem: dict[str, Any] = response.json()
        return problem

    assert post("../x", b"x")["fields"][0]["field"] == "filename"
    assert post("x.deb", b"")["code"] == "ArtifactRejected"


def job_spec(*command: str, **more: Any) -> dict[str, Any]:
    return {**task_spec(*command), "size": 6, **more}


def test_an_array_runs_and_retries(http: TestClient) -> None:
    retry = {"retries": 1, "delay_seconds": 0.01}
    operation = http.post(
        "/v1/batch/jobs", params={"wait": 60}, json=job_spec("flaky", retry=retry)
    ).json()
    assert operation["status"] == "completed"
    path = f"/v1/batch/jobs/{operation['id']}"
    job = http.get(path).json()
    assert (job["state"], job["size"], job["attempts"]) == ("succeeded", 6, 9)
    assert job["counts"]["succeeded"] == 6
    first = http.get(f"{path}/children", params={"limit": 4}).json()
    assert [child["attempts"] for child in first["items"]] == [2, 1, 2, 1]
    rest = http.get(f"{path}/children", params={"cursor": first["next"]}).json()
    assert [child["index"] for child in rest["items"]] == [4, 5]
    assert rest["next"] is None
    log = http.get(f"{path}/children/2/logs")
    assert log.text == "attempt 2 of 2 says hällo\n"
    assert operation["id"] in {item["id"] for item in http.get("/v1/batch/jobs").json()["items"]}


def test_a_job_is_cancelled_with_its_children(http: TestClient) -> None:
    job_id = http.post("/v1/batch/jobs", json=job_spec("sleep")).json()["id"]
    response = http.post(f"/v1/batch/jobs/{job_id}/cancel", json={"reason": "enough"})
    assert response.status_code == 200, response.text
    wait_until(
        lambda: http.get(f"/v1/batch/jobs/{job_id}").json()["state"] == "cancelled",
        "the job is cancelled",
    )
    assert http.get("/v1/batch/jobs/nope/children").status_code == 404


def test_the_registry_tells_what_it_hosts(http: TestClient) -> None:
    names = [one["name"] for one in http.get("/v1/registry/repositories").json()["items"]]
    assert "apps/hello" in names
    [tag] = http.get("/v1/registry/repositories/apps/hello/tags").json()["items"]
    assert (tag["name"], tag["reference"], tag["by"]) == ("1.0.0", IMAGE, "tests")
    resolved = http.get("/v1/registry/resolve", params={"reference": IMAGE}).json()
    assert resolved["pinned"] == f"apps/hello@{resolved['digest']}"
    assert http.get("/v1/registry/repositories/no/such/tags").status_code == 404
    assert http.get("/v1/registry/resolve", params={"reference": "a:1"}).status_code == 404
    assert http.get("/v1/registry/resolve", params={"reference": "A"}).status_code == 422
    smuggled = http.get("/v1/registry/repositories/..%2f..%2fv2/tags")
    assert smuggled.status_code in (404, 422)


def test_events_go_on_behind_the_cursor(http: TestClient) -> None:
    release(http, name="eventful")
    page = http.get("/v1/events", params={"subject": "os/eventful/1"}).json()
    assert [event["kind"] for event in page["items"]] == ["building", "candidate"]
    first = page["items"][0]["seq"]
    rest = http.get("/v1/events", params={"subject": "os/eventful/1", "cursor": first}).json()
    assert [event["kind"] for event in rest["items"]] == ["candidate"]
    assert http.get("/v1/events", params={"cursor": page["next"]}).json()["items"] == []


def test_health_and_the_pages_of_the_api(http: TestClient) -> None:
    assert http.get("/healthz").json()["checks"] == {"temporal": "ok", "database": "ok"}
    assert http.get("/docs").status_code == 200
    paths = http.get("/openapi.json").json()["paths"]
    example = paths["/v1/tasks"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    assert http.post("/v1/tasks", json=example["hello"]["value"]).status_code == 202
