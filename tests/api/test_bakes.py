"""Bakes and baked images through the API."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from starlette.testclient import TestClient

from fleetwide.errors import SmokeTestFailed
from fleetwide.providers.bake_logs import BakeLog, part_key
from fleetwide.providers.objects import open_object_store
from tests.api.harness import Plane, sha256, wait_until


@pytest.fixture(scope="module")
def base(http: TestClient) -> str:
    """The name of an OS line with a stable release."""
    line = {"name": "bakebase", "suite": "bookworm", "version": "1"}
    assert http.post("/v1/os/builds", params={"wait": 30}, json=line).status_code in (200, 202)
    promoted = http.post("/v1/os/releases/bakebase/candidate/promote", json={})
    assert promoted.status_code == 200, promoted.text
    return "bakebase"


def spec_of(http: TestClient, base: str, name: str, **more: Any) -> dict[str, Any]:
    """A request for an application of this name, whose tarball is uploaded."""
    data = name.encode()
    http.post("/v1/artifacts", params={"filename": f"{name}.tar"}, content=data)
    artifact = {"type": "tarball", "sha256": sha256(data), "filename": f"{name}.tar"}
    known = {"name": name, "version": "1.0", "base": f"{base}:stable", "artifacts": [artifact]}
    return {**known, **more}


def bake(http: TestClient, spec: dict[str, Any], **headers: str) -> dict[str, Any]:
    answer = http.post("/v1/bakes", params={"wait": 30}, json=spec, headers=headers)
    assert answer.status_code == 200, answer.text
    operation: dict[str, Any] = answer.json()
    return operation


def test_a_finished_bake_is_answered_at_once_and_by_the_same_image(
    http: TestClient, base: str
) -> None:
    spec = spec_of(http, base, "cached")
    first = bake(http, spec)
    again = http.post("/v1/bakes", json=spec)
    assert (again.status_code, again.json()["run_id"]) == (200, "")
    assert again.json()["result"]["digest"] == first["result"]["digest"]
    by_version = http.get("/v1/images/cached/1.0").json()
    by_digest = http.get(f"/v1/images/cached/{by_version['digest']}").json()
    assert by_version == by_digest
    status = http.get(f"/v1/bakes/{again.json()['id']}/status").json()
    assert status["state"] == "available"
    stages = [stage["stage"] for stage in status["stages"]]
    assert stages == ["resolving", "building", "testing", "publishing", "available"]


def test_many_requests_for_one_key_are_one_build(http: TestClient, plane: Plane, base: str) -> None:
    spec = spec_of(http, base, "crowded")
    built = plane.bakes.steps.count("build_layer")
    plane.bakes.stuck_at.add("build_layer")
    with ThreadPoolExecutor(20) as threads:
        asked = threads.map(lambda _: http.post("/v1/bakes", json=spec).json(), range(60))
        runs = {operation["run_id"] for operation in asked}
    plane.bakes.stuck_at.clear()
    assert len(runs) == 1
    bake(http, spec)
    assert plane.bakes.steps.count("build_layer") == built + 1


def test_new_metadata_make_a_new_manifest_and_no_build(
    http: TestClient, plane: Plane, base: str
) -> None:
    spec = spec_of(http, base, "relabelled")
    first = bake(http, spec)["result"]
    built = plane.bakes.steps.count("build_layer")
    second = bake(http, {**spec, "owner": "payments", "labels": {"tier": "gold"}})["result"]
    assert first["digest"] != second["digest"]
    assert second["metadata"]["tier"] == "gold"
    assert plane.bakes.steps.count("build_layer") == built
    assert http.get(f"/v1/images/relabelled/{first['digest']}").json()["owner"] == "payments"


def test_a_token_stands_for_one_request(http: TestClient, base: str) -> None:
    spec = spec_of(http, base, "tokened")
    key = {"Idempotency-Key": "build 17"}
    first = bake(http, spec, **key)
    assert bake(http, spec, **key)["id"] == first["id"]
    other = http.post("/v1/bakes", json={**spec, "version": "2.0"}, headers=key)
    assert (other.status_code, other.json()["code"]) == (409, "Conflict")


def test_a_failed_bake_tells_stage_reason_and_hint(
    http: TestClient, plane: Plane, base: str
) -> None:
    plane.bakes.fail_at["smoke_test"] = SmokeTestFailed("it ended with 1", hint="--no-smoke")
    spec = spec_of(http, base, "unstartable")
    failed = bake(http, spec)
    del plane.bakes.fail_at["smoke_test"]
    assert (failed["status"], failed["error"]["code"]) == ("failed", "SmokeTestFailed")
    failure = http.get(f"/v1/bakes/{failed['id']}/status").json()["failure"]
    assert (failure["stage"], failure["reason"]) == ("testing", "SmokeTestFailed")
    assert failure["hint"] == "--no-smoke"
    listed = http.get("/v1/bakes", params={"name": "unstartable", "state": "failed"}).json()[
        "items"
    ]
    assert [item["bake_key"] for item in listed] == [failed["id"]]
    assert bake(http, spec)["status"] == "completed"


def test_runs_are_listed_newest_first_by_pages(http: TestClient, base: str) -> None:
    for version in ("1", "2", "3"):
        bake(http, spec_of(http, base, "paged", version=version))
    page = http.get("/v1/bakes", params={"name": "paged", "limit": 2}).json()
    rest = http.get("/v1/bakes", params={"name": "paged", "cursor": page["next"]}).json()
    versions = [item["version"] for item in [*page["items"], *rest["items"]]]
    assert versions == ["3", "2", "1"]
    assert http.get("/v1/bakes", params={"cursor": "x"}).status_code == 422


def test_why_names_the_inputs_that_changed(http: TestClient, base: str) -> None:
    spec = spec_of(http, base, "curious")
    first = bake(http, spec)["id"]
    second = bake(http, {**spec, "env": {"A": "1"}, "version": "1.1"})["id"]
    assert http.get(f"/v1/bakes/{first}/why").json()["before"] is None
    found = http.get(f"/v1/bakes/{second}/why").json()
    assert found["before"] == first
    changes = {one["input"]: (one["before"], one["after"]) for one in found["changes"]}
    assert changes == {"env": ({}, {"A": "1"}), "version": ("1.0", "1.1")}


def test_an_image_moves_to_another_release_by_its_own_request(
    http: TestClient, plane: Plane, base: str
) -> None:
    first = bake(http, spec_of(http, base, "moving"))["result"]
    line = {"name": base, "suite": "bookworm", "version": "2", "packages": ["zsh"]}
    http.post("/v1/os/builds", params={"wait": 30}, json=line)
    built = plane.bakes.steps.count("build_layer")
    path = "/v1/images/moving/1.0/rebase"
    moved = http.post(path, params={"wait": 30}, json={"base": f"{base}:candidate"})
    assert moved.status_code == 200, moved.text
    image = moved.json()["result"]
    assert (image["base_version"], image["rebased_from"]) == ("2", first["bake_key"])
    assert plane.bakes.steps.count("build_layer") == built
    again = http.post(path, json={"base": f"{base}:candidate"})
    assert (again.status_code, again.json()["run_id"]) == (200, "")
    assert http.post("/v1/images/moving/9/rebase", json={"base": "x:y"}).status_code == 404


def test_the_log_is_one_text_or_a_stream_that_can_be_taken_up_again(
    http: TestClient, plane: Plane, base: str
) -> None:
    key = bake(http, spec_of(http, base, "logged"))["id"]
    run_id = http.get(f"/v1/bakes/{key}/status").json()["run_id"]
    objects = open_object_store(plane.settings)
    for number, stage in ((1, "resolving"), (2, "building")):
        log = BakeLog(objects, part_key(run_id, number, stage, 1))
        log.line(f"{stage} hällo")
        log.close()
    whole = "resolving hällo\nbuilding hällo\n"
    assert http.get(f"/v1/bakes/{key}/logs").text == whole
    follow = {"follow": True}
    events = read_events(http.get(f"/v1/bakes/{key}/logs", params=follow).text)
    assert [kind for kind, _, _ in events] == ["log", "log", "end"]
    first = events[0][1]
    rest = http.get(f"/v1/bakes/{key}/logs", params=follow, headers={"Last-Event-ID": first}).text
    assert [kind for kind, _, _ in read_events(rest)] == ["log", "end"]
    bad = http.get(f"/v1/bakes/{key}/logs", params=follow, headers={"Last-Event-ID": "x"})
    assert bad.status_code == 422


def read_events(text: str) -> list[tuple[str, str, str]]:
    """Kind, id and data of each server-sent event."""
    found = []
    for block in text.replace("\r\n", "\n").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
        if "event" in fields:
            found.append((fields["event"], fields.get("id", ""), fields["data"]))
    return found


def test_what_is_held_or_revoked_is_gone_as_a_base(http: TestClient, base: str) -> None:
    line = {"name": "heldbase", "suite": "bookworm", "version": "1"}
    http.post("/v1/os/builds", params={"wait": 30}, json=line)
    hold = {"reason": "under investigation"}
    assert http.post("/v1/os/releases/heldbase/1/hold", json=hold).status_code == 200
    late = spec_of(http, "heldbase", "late")
    answer = http.post("/v1/bakes", json={**late, "base": "heldbase:1"})
    assert (answer.status_code, answer.json()["code"]) == (410, "BaseUnusable")
    assert "under investigation" in answer.json()["detail"]


def test_unknown_keys_are_told(http: TestClient) -> None:
    for part in ("", "/status", "/why", "/logs"):
        assert http.get(f"/v1/bakes/{'0' * 64}{part}").status_code == 404


def test_a_running_bake_is_cancelled_by_its_key(http: TestClient, plane: Plane, base: str) -> None:
    plane.bakes.stuck_at.add("build_layer")
    key = http.post("/v1/bakes", json=spec_of(http, base, "stopped")).json()["id"]
    wait_until(
        lambda: http.get(f"/v1/bakes/{key}/status").json().get("state") == "building", "it builds"
    )
    assert http.post(f"/v1/bakes/{key}/cancel", json={"reason": "x"}).status_code in (200, 202)
    wait_until(
        lambda: http.get(f"/v1/bakes/{key}/status").json()["state"] == "cancelled", "it is over"
    )
    plane.bakes.stuck_at.clear()
