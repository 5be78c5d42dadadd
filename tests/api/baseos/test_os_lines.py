"""Lines as a whole: history, retention, schedules."""

from typing import Any

import pytest
from starlette.testclient import TestClient
from temporalio.client import ScheduleOverlapPolicy

from tests.api.baseos.plane import OSPlane
from tests.api.baseos.requests import RELEASES, build, get, post, problem, result_of
from tests.api.harness import wait_until

SCHEDULES = "/v1/os/schedules"
WHY = {"reason": "freeze", "by": "ana"}


def put(http: TestClient, name: str, **line: Any) -> Any:
    spec = {"name": name, "suite": "bookworm", **line.pop("spec", {})}
    return http.put(f"{SCHEDULES}/{name}", json={"spec": spec, **line})


def entries(document: Any) -> dict[str, Any]:
    return {entry["kind"]: entry for entry in document["entries"]}


def test_a_line_that_never_was_has_no_history(os_http: TestClient) -> None:
    missing = problem(os_http.get("/v1/os/channels/never/history"), 404)
    assert missing["hint"] == "fleetwide os list"
    assert problem(os_http.post("/v1/os/retention", json={"name": "never"}), 404)


def test_retention_takes_the_policy_of_the_newest_release(os_http: TestClient) -> None:
    for version in ("1", "2", "3"):
        policy = {"keep": 2, "max_age_days": 1}
        build(os_http, "kept", version=version, force=True, retention=policy)
    started = post(os_http, "/v1/os/retention", {"name": "kept", "retention": {"keep": 1}})
    assert started["workflow_id"].startswith("os-retention/kept/")
    report = result_of(os_http, "/v1/os/retention", {"name": "kept", "dry_run": True})
    assert (report["retired"], report["dry_run"]) == ([], True)  # none is a day old yet


def test_what_was_given_of_a_policy_wins(os_http: TestClient, line_plane: OSPlane) -> None:
    build(os_http, "policed", retention={"keep": 3, "max_age_days": 30})
    body = {"name": "policed", "retention": {"keep": 7}}
    started = post(os_http, "/v1/os/retention", body)
    handle = line_plane.client.get_workflow_handle(started["workflow_id"])
    history = line_plane.call(lambda _: handle.fetch_history())
    [given] = history.events[0].workflow_execution_started_event_attributes.input.payloads
    assert b'"retention":{"keep":7,"max_age_days":30}' in given.data


def test_a_line_gets_three_schedules(os_http: TestClient, line_plane: OSPlane) -> None:
    spec = {"owner": "ana", "retention": {"keep": 4}}
    made = put(os_http, "nightly", spec=spec, daily_at="03:30").json()
    assert (made["daily_at"], made["security_minutes"], made["retention"]) == ("03:30", 15, True)
    found = entries(made)
    assert set(found) == {"daily", "security", "retention"}
    assert found["daily"]["id"] == "os/nightly/daily"
    assert found["daily"]["next"][0].endswith("T03:30:00Z")
    assert found["daily"]["note"] == "owned by ana; changed by: fleetwide os schedule set"
    handle = line_plane.client.get_schedule_handle("os/nightly/security")
    known = line_plane.call(lambda _: handle.describe())
    assert known.schedule.policy.overlap is ScheduleOverlapPolicy.ALLOW_ALL
    assert b'"rebuild_on":"security"' in known.schedule.action.args[0].data
    assert get(os_http, f"{SCHEDULES}/nightly") == made
    wait_until(lambda: "nightly" in names(os_http), "the line is listed")


def names(http: TestClient) -> list[str]:
    return [line["name"] for line in get(http, SCHEDULES)["items"]]


def test_a_change_keeps_the_pause_and_drops_what_is_not_asked_for(os_http: TestClient) -> None:
    put(os_http, "changed")
    paused = post(os_http, f"{SCHEDULES}/changed/pause", WHY)
    assert {entry["note"] for entry in paused["entries"]} == {"paused by ana: freeze"}
    changed = put(os_http, "changed", daily_at="23:59", security_minutes=None, retention=False)
    found = entries(changed.json())
    assert (set(found), found["daily"]["paused"]) == ({"daily"}, True)
    assert found["daily"]["note"] == "paused by ana: freeze"
    assert found["daily"]["next"][0].endswith("T23:59:00Z")
    resumed = post(os_http, f"{SCHEDULES}/changed/resume", WHY)
    assert not resumed["entries"][0]["paused"]
    assert changed.json()["security_minutes"] is None


def test_a_scheduled_build_is_a_release_like_any_other(
    os_http: TestClient, line_plane: OSPlane
) -> None:
    put(os_http, "auto", retention=False, security_minutes=None)
    handle = line_plane.client.get_schedule_handle("os/auto/daily")
    line_plane.call(lambda _: handle.trigger())
    wait_until(
        lambda: os_http.get(f"{RELEASES}/auto/candidate").status_code == 200, "it is a candidate"
    )
    release = get(os_http, f"{RELEASES}/auto/candidate")
    assert release["workflow_id"].startswith("os/auto/daily-")
    assert release["links"]["self"] == f"{RELEASES}/auto/{release['version']}"
    assert get(os_http, release["links"]["self"])["version"] == release["version"]
    assert post(os_http, f"{RELEASES}/auto/candidate/promote", {})["state"] == "stable"
    wait_until(
        lambda: bool(get(os_http, f"{SCHEDULES}/auto")["entries"][0]["last"]), "the start is told"
    )
    [start] = get(os_http, f"{SCHEDULES}/auto")["entries"][0]["last"]
    assert start["workflow_id"] == release["workflow_id"]
    again = build(os_http, "auto")
    assert again["result"]["outcome"] == "noChange"


def test_a_scheduled_candidate_can_be_withdrawn(os_http: TestClient, line_plane: OSPlane) -> None:
    put(os_http, "unwanted", retention=False, security_minutes=None)
    handle = line_plane.client.get_schedule_handle("os/unwanted/daily")
    line_plane.call(lambda _: handle.trigger())
    path = f"{RELEASES}/unwanted"
    wait_until(lambda: os_http.get(f"{path}/candidate").status_code == 200, "it is a candidate")
    version = get(os_http, f"{path}/candidate")["version"]
    post(os_http, f"{path}/{version}/cancel", {"reason": "not good"})
    wait_until(lambda: get(os_http, f"{path}/{version}")["state"] == "withdrawn", "it is gone")


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ({"spec": {"version": "1"}}, "spec.version"),
        ({"spec": {"force": True}}, "spec.force"),
        ({"spec": {"name": "other"}}, "spec.name"),
        ({"spec": {"suite": "bokworm"}}, "suite"),
        ({"daily_at": "24:00"}, "daily_at"),
        ({"daily_at": "03:00\n"}, "daily_at"),
        ({"security_minutes": 1}, "security_minutes"),
        ({"weekly": True}, "weekly"),
    ],
)
def test_bad_schedules_are_refused(os_http: TestClient, line: dict[str, Any], field: str) -> None:
    refused = problem(put(os_http, "refused", **line), 422)
    assert refused["fields"][0]["field"] == field
    assert problem(os_http.get(f"{SCHEDULES}/refused"), 404)


def test_a_schedule_is_removed_once(os_http: TestClient) -> None:
    put(os_http, "removed")
    assert os_http.delete(f"{SCHEDULES}/removed").status_code == 204
    for gone in (
        os_http.delete(f"{SCHEDULES}/removed"),
        os_http.get(f"{SCHEDULES}/removed"),
        os_http.post(f"{SCHEDULES}/removed/pause", json=WHY),
    ):
        assert problem(gone, 404)["hint"] == "fleetwide os schedule list"


def test_the_examples_of_the_api_are_valid(os_http: TestClient) -> None:
    paths = get(os_http, "/openapi.json")["paths"]
    body = paths["/v1/os/schedules/{name}"]["put"]["requestBody"]
    [example] = body["content"]["application/json"]["examples"].values()
    assert os_http.put(f"{SCHEDULES}/baseos", json=example["value"]).status_code == 200
    for path in ("/v1/os/plans", "/v1/os/builds"):
        examples = paths[path]["post"]["requestBody"]["content"]["application/json"]["examples"]
        for one in examples.values():
            assert os_http.post("/v1/os/plans", json=one["value"]).status_code == 202
