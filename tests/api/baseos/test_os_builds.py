"""Builds, plans, and what people decide about releases."""

from typing import Any

from starlette.testclient import TestClient

from tests.api.baseos.plane import OSPlane
from tests.api.baseos.requests import RELEASES, build, get, post, problem, result_of
from tests.api.harness import wait_until

WHY = {"reason": "breaks DNS", "by": "ana"}


def test_an_unchanged_build_is_answered_with_the_earlier_release(os_http: TestClient) -> None:
    first = build(os_http, "same")
    assert first["status"] == "running"
    release = get(os_http, f"{RELEASES}/same/candidate")
    for _ in range(3):  # nothing is claimed by a build that finds no change
        again = build(os_http, "same")
        assert again["status"] == "completed"
        assert again["result"]["outcome"] == "noChange"
        assert again["result"]["version"] == release["version"]
    assert len(get(os_http, RELEASES, name="same")["items"]) == 1
    forced = build(os_http, "same", force=True)
    assert forced["id"] == "same/" + release["version"].removesuffix("1") + "2"


def test_the_version_of_a_failed_build_is_free_again(
    os_http: TestClient, line_plane: OSPlane
) -> None:
    boot = {"targets": ["vm"], "version": "7"}
    failed = build(os_http, "phoenix", **boot, vm={"cmdline": "panic=1"})
    assert (failed["status"], failed["error"]["code"]) == ("failed", "BuildFailed")
    assert get(os_http, f"{RELEASES}/phoenix/7")["state"] == "failed"
    assert build(os_http, "phoenix", **boot)["status"] == "running"
    assert get(os_http, f"{RELEASES}/phoenix/7")["state"] == "candidate"
    taken = {"name": "phoenix", "suite": "bookworm", **boot}
    assert "exists already" in problem(os_http.post("/v1/os/builds", json=taken), 409)["detail"]


def test_what_a_build_would_refuse_is_refused_at_once(os_http: TestClient) -> None:
    def refused(path: str, **spec: Any) -> Any:
        body = {"name": "bad", "suite": "bookworm", **spec}
        return problem(os_http.post(path, json=body), 422)

    for path in ("/v1/os/builds", "/v1/os/plans"):
        suite = refused(path, suite="bokworm")
        assert (suite["fields"][0]["field"], suite["hint"]) == ("suite", "suite: bookworm")
        tags = {"regions": ["eu-west-1"], "tags": {"Name": "mine"}}
        ami = refused(path, targets=["vm"], ami=tags)
        assert ami["fields"][0]["field"] == "ami.tags.Name"
    assert get(os_http, RELEASES, name="bad")["items"] == []


def test_a_plan_tells_what_a_build_would_do_and_builds_nothing(
    os_http: TestClient, line_plane: OSPlane
) -> None:
    spec = {"name": "planned", "suite": "bookworm"}
    first = result_of(os_http, "/v1/os/plans", spec)
    assert (first["against"], first["unchanged"], first["summary"]) == (None, None, "2 added")
    assert get(os_http, RELEASES, name="planned")["items"] == []
    version = build(os_http, "planned")["id"].partition("/")[2]
    assert result_of(os_http, "/v1/os/plans", spec)["unchanged"] == version
    line_plane.builder.archive.packages["planned"] = {"base-files": "12", "dash": "0.6"}
    changed = result_of(os_http, "/v1/os/plans", spec)
    assert (changed["against"], changed["unchanged"]) == (version, None)
    [dash] = changed["diff"]["upgraded"]
    assert (dash["name"], dash["before"], dash["after"]) == ("dash", "0.5", "0.6")
    assert changed["spec"]["mirror"] == "http://mirror.example/main"


def test_promotion_with_expectation_rollback_and_history(os_http: TestClient) -> None:
    for version in ("1", "2"):
        build(os_http, "moved", version=version, force=True)
    path = f"{RELEASES}/moved"
    assert post(os_http, f"{path}/1/promote", {"by": "ana"})["channels"] == ["stable"]
    lost = problem(os_http.post(f"{path}/2/promote", json={"expected": "9"}), 409)
    assert "points at 1, not at 9" in lost["detail"]
    assert post(os_http, f"{path}/candidate/promote", {"expected": "1"})["version"] == "2"
    back = post(os_http, f"{path}/previous/promote", WHY)
    assert (back["version"], back["state"]) == ("1", "stable")
    moves = get(os_http, "/v1/os/channels/moved/history", limit=2)["items"]
    stable = next(move for move in moves if move["channel"] == "stable")
    assert (stable["before"], stable["version"], stable["revision"]) == ("2", "1", 3)
    assert (stable["by"], stable["reason"]) == ("ana", "breaks DNS")
    channels = get(os_http, "/v1/os/channels", name="moved")["items"]
    assert {one["channel"]: one["revision"] for one in channels}["stable"] == 3


def test_a_soak_holds_a_release_back_except_in_an_emergency(os_http: TestClient) -> None:
    build(os_http, "soaked", version="1", promotion={"soak_hours": 5})
    path = f"{RELEASES}/soaked/1/promote"
    assert "its soak ends in" in problem(os_http.post(path, json={}), 409)["detail"]
    assert post(os_http, path, {"emergency": True, **WHY})["state"] == "stable"


def test_hold_unhold_revoke_and_retire(os_http: TestClient) -> None:
    for version in ("1", "2"):
        build(os_http, "judged", version=version, force=True)
    path = f"{RELEASES}/judged"
    assert problem(os_http.post(f"{path}/1/hold", json={}), 422)["fields"][0]["field"] == "reason"
    held = post(os_http, f"{path}/1/hold", WHY)
    assert (held["state"], held["reason"]) == ("held", "breaks DNS (ana)")
    assert "it is held" in problem(os_http.post(f"{path}/1/promote", json={}), 409)["detail"]
    assert post(os_http, f"{path}/1/unhold", WHY)["state"] == "candidate"
    assert post(os_http, f"{path}/1/retire", WHY)["state"] == "retired"
    assert post(os_http, f"{path}/2/promote", {})["state"] == "stable"
    assert post(os_http, f"{path}/2/revoke", WHY)["state"] == "revoked"
    assert get(os_http, "/v1/os/channels", name="judged")["items"] == []
    for version, state in (("1", "retired"), ("2", "revoked")):
        gone = problem(os_http.post(f"{path}/{version}/promote", json={}), 409)
        assert f"judged {version} is {state}: breaks DNS (ana)" in gone["detail"]
        assert gone["hint"] == "fleetwide os list --name judged"


def test_a_release_whose_workflow_was_closed_cannot_be_changed(
    os_http: TestClient, line_plane: OSPlane
) -> None:
    build(os_http, "closed", version="1")
    handle = line_plane.client.get_workflow_handle("os/closed/1")
    line_plane.call(lambda _: handle.terminate("by hand"))
    path = f"{RELEASES}/closed/1/promote"
    closed = problem(os_http.post(path, json={}), 409)
    assert "its workflow os/closed/1 is closed; build it again" in closed["detail"]
    assert closed["hint"] == "fleetwide os build -f spec.yaml --force"


def test_cancel_is_for_builds_and_candidates_alone(
    os_http: TestClient, line_plane: OSPlane
) -> None:
    for version in ("1", "2"):
        build(os_http, "stopped", version=version, force=True)
    path, why = f"{RELEASES}/stopped", {"reason": "not good"}
    post(os_http, f"{path}/1/promote", {})
    post(os_http, f"{path}/2/promote", {})
    refused = problem(os_http.post(f"{path}/1/cancel", json=why), 409)
    assert refused["hint"].startswith("fleetwide os revoke stopped 1 --reason")
    line_plane.builder.stuck_at.add("fetch_packages")
    body = {"name": "stopped", "suite": "bookworm", "version": "3", "force": True}
    post(os_http, "/v1/os/builds", body)
    wait_until(lambda: "building" in states(os_http, "stopped"), "the build has begun")
    post(os_http, f"{path}/3/cancel", why)
    wait_until(lambda: "withdrawn" in states(os_http, "stopped"), "the build is taken back")
    line_plane.builder.stuck_at.clear()
    assert problem(os_http.post(f"{path}/3/cancel", json=why), 409)
    assert problem(os_http.post(f"{path}/9/cancel", json=why), 404)


def states(http: TestClient, name: str) -> list[str]:
    return [one["state"] for one in get(http, RELEASES, name=name)["items"]]
