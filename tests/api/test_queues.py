"""Queues through the API: a tree, changed together or not at all, by who may, with its history."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from fleetwide.models.containers import AttemptKey, AttemptRequest, JobHeader, JobKind
from fleetwide.models.hosts import HostSpec
from fleetwide.store import hosts, jobs
from fleetwide.store.session import Store
from tests.bare_api import bare_api

ROOT = "/v1/queues"
CONTAINER = {"image": "apps/hello:1.0.0"}
NOW = datetime.now(UTC)
Plane = tuple[TestClient, Store]


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    folder: Path = tmp_path_factory.mktemp("queues")
    with bare_api(folder) as client:
        store = Store.open(f"sqlite:///{folder}/fleetwide.db")
        with store.write() as session:
            host = HostSpec.model_validate({"host_id": "h1", "cpu": 8, "memory": "8GiB"})
            hosts.register(session, host, now=NOW)
        yield client, store
        store.engine.dispose()


def put(plane: Plane, path: str, status: int = 200, **wanted: Any) -> dict[str, Any]:
    answer = plane[0].put(f"{ROOT}/{path}", json={"reason": "a test", "by": "me", **wanted})
    assert answer.status_code == status, answer.text
    told: dict[str, Any] = answer.json()
    return told


def change(plane: Plane, *edits: dict[str, Any], to: str = "changes") -> tuple[int, Any]:
    body = {"changes": list(edits), "reason": "a test", "by": "me"}
    answer = plane[0].post(f"{ROOT}/{to}", json=body)
    return answer.status_code, answer.json()


def accept(plane: Plane, name: str, queue: str, **container: Any) -> None:
    header = JobHeader.model_validate(
        {
            "workflow_id": f"batch/{name}", "run_id": "r", "kind": JobKind.BATCH, "app": "x",
            "queue": queue, "container": {**CONTAINER, **container}, "retry": {},
        }
    )  # fmt: skip
    with plane[1].write() as session:
        job = jobs.ensure(session, header, "apps/hello@sha256:x", now=NOW)
        if container:
            waiter = jobs.ensure_waiter(session, job, "r", "1", now=NOW)
            jobs.ensure_attempts(session, job, header, [AttemptRequest()], waiter, now=NOW)


def remove(plane: Plane, path: str, **query: Any) -> tuple[int, str]:
    answer = plane[0].delete(f"{ROOT}/{path}", params={"reason": "a test", **query})
    return answer.status_code, answer.text


def test_a_queue_is_changed_only_at_the_revision_that_was_seen(plane: Plane) -> None:
    client, _ = plane
    made = put(plane, "ml", guarantee={"cpu": 4}, revision=0)
    assert (made["revision"], made["parent"], made["leaf"]) == (1, "root", True)
    assert put(plane, "ml", 409, weight=2, revision=0)["code"] == "Conflict"
    stale = client.put(f"{ROOT}/ml", json={"reason": "x"}, headers={"If-Match": '"7"'})
    assert "has revision 1, not revision 7" in stale.json()["detail"]
    assert put(plane, "root/ml", guarantee={"cpu": 4}, weight=2, revision=1)["revision"] == 2
    assert put(plane, "ml", guarantee={"cpu": 4}, weight=2)["revision"] == 2
    assert client.get(f"{ROOT}/ml").headers["ETag"] == '"2"'
    history = client.get(f"{ROOT}/ml/history").json()["items"]
    assert [(each["kind"], each["by"]) for each in history] == [
        ("changed", "me"),
        ("created", "me"),
    ]
    assert (history[0]["before"]["weight"], history[0]["after"]["weight"]) == (1, 2)


def test_a_guarantee_moves_between_siblings_in_one_change_and_in_no_other_way(
    plane: Plane,
) -> None:
    put(plane, "move", guarantee={"cpu": 4})
    put(plane, "move/a", guarantee={"cpu": 3})
    put(plane, "move/b", guarantee={"cpu": 1})
    grown = {"path": "move/b", "spec": {"guarantee": {"cpu": 2}}}
    shrunk = {"path": "move/a", "spec": {"guarantee": {"cpu": 2}}}
    status, problem = change(plane, grown)
    assert status == 422
    assert "guaranteed 5 CPU together, above the 4 CPU of move itself" in problem["detail"]
    status, told = change(plane, grown, shrunk, to="plan")
    assert (status, told["valid"]) == (200, True)
    outlook = {each["path"]: each for each in told["queues"]}
    assert outlook["move/a"]["would_count_on"]["cpu"] < outlook["move/a"]["counts_on"]["cpu"]
    assert plane[0].get(f"{ROOT}/move/a").json()["spec"]["guarantee"]["cpu"] == 3
    assert change(plane, grown, shrunk)[0] == 200
    status, problem = change(plane, {**grown, "revision": 1}, {**shrunk, "revision": 2})
    assert (status, problem["code"]) == (409, "Conflict")


def test_every_fault_of_a_change_is_told_and_nothing_of_it_is_done(plane: Plane) -> None:
    edits: list[dict[str, Any]] = [
        {"path": "good", "spec": {}},
        {"path": "no/parent", "spec": {}},
        {"path": "default"},
        {"path": "history", "spec": {}},
    ]
    status, problem = change(plane, *edits)
    assert status == 422
    assert {each["field"] for each in problem["fields"]} == {"default", "history", "no/parent"}
    assert plane[0].get(f"{ROOT}/good").status_code == 404
    status, told = change(plane, *edits, to="plan")
    assert (status, told["valid"], len(told["faults"])) == (200, False, 3)


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"guarantee": {"cpu": 4}, "limit": {"cpu": 2}}, "guarantee.cpu"),
        ({"weight": 0}, "weight"),
        ({"hold": "closed"}, "hold"),
        ({"limit": {"ram": "1GiB"}}, "limit.ram"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(
    plane: Plane, wanted: dict[str, Any], field: str
) -> None:
    assert field in put(plane, "odd", 422, **wanted)["detail"]


def test_what_the_fleet_cannot_hold_is_a_warning_and_what_the_root_says_a_bound(
    plane: Plane,
) -> None:
    huge = {"path": "huge", "spec": {"guarantee": {"cpu": 1000}}}
    _, told = change(plane, huge, to="plan")
    assert told["valid"]
    assert "the hosts that take work have 8" in told["warnings"][0]
    root = {"path": "root", "spec": {"guarantee": {"cpu": 100}}}
    _, told = change(plane, huge, root, to="plan")
    assert "above the 100 CPU of root itself" in told["faults"][0]


def test_a_queue_with_work_stays_until_the_work_goes_elsewhere(plane: Plane) -> None:
    client, store = plane
    put(plane, "busy")
    put(plane, "other", pending_ttl_seconds=60)
    accept(plane, "busy", "busy")
    status, text = remove(plane, "busy")
    assert status == 409
    assert "1 jobs that have not ended" in text
    assert "cannot have busy/below below it" in put(plane, "busy/below", 422)["detail"]
    assert remove(plane, "busy", move_to="root")[0] == 422
    assert remove(plane, "default")[0] == 409
    assert remove(plane, "move")[0] == 409
    assert remove(plane, "busy", move_to="other")[0] == 204
    assert client.get(f"{ROOT}/other").json()["jobs"] == 1
    history = client.get(f"{ROOT}/busy/history").json()["items"]
    assert (history[0]["kind"], history[0]["moved_to"]) == ("removed", "other")
    # A job that was accepted before and is booked only now goes the same way.
    accept(plane, "late", "busy")
    with store.read() as session:
        row = jobs.find(session, "batch/late")
        assert row is not None
        assert (row.queue, row.pending_until is not None) == ("other", True)
    put(plane, "idle")
    assert remove(plane, "idle")[0] == 204
    accept(plane, "later", "idle")
    with store.read() as session:
        row = jobs.find(session, "batch/later")
        assert row is not None
        assert row.queue == "default"


def submit(plane: Plane, **spec: Any) -> tuple[int, dict[str, Any]]:
    answer = plane[0].post("/v1/batch/jobs", json={"app": "x", "container": CONTAINER, **spec})
    return answer.status_code, answer.json()


def test_a_job_names_a_leaf_that_is_there_that_takes_it_and_its_priority(plane: Plane) -> None:
    put(plane, "jobs")
    put(plane, "jobs/night", submitters=["ana"], priority_classes={"low": 10, "high": 90})
    status, problem = submit(plane, queue="jobs/nihgt")
    assert (status, problem["fields"][0]["field"]) == (422, "queue")
    assert problem["hint"].startswith("did you mean jobs/night")
    assert "jobs/night" in submit(plane, queue="jobs")[1]["hint"]
    status, problem = submit(plane, queue="jobs/night", owner="ana")
    assert (status, problem["hint"]) == (422, "one of 90 (high), 10 (low)")
    status, problem = submit(plane, queue="jobs/night", owner="ben", priority=90)
    assert (status, problem["code"]) == (403, "Denied")
    # What comes behind is only that nothing of this platform answers.
    assert submit(plane, queue="jobs/night", owner="ana", priority=90)[0] == 503
    put(plane, "jobs", hold="hold-and-drain", reason="it moves")
    status, problem = submit(plane, queue="jobs/night", owner="ana", priority=90)
    assert status == 409
    assert "takes no jobs: jobs is on hold-and-drain" in problem["detail"]
    assert "it moves" in problem["hint"]


def test_owners_change_a_queue_and_those_above_what_it_counts_on(plane: Plane) -> None:
    put(plane, "owned", owners=["olga"], guarantee={"cpu": 2})
    put(plane, "owned/team", by="olga", owners=["tom"])
    assert put(plane, "owned/team", 403, by="eve", owners=["tom"], hold="hold")["code"] == "Denied"
    put(plane, "owned/team", by="tom", owners=["tom"], hold="hold")
    refused = put(plane, "owned/team", 403, by="tom", owners=["tom"], guarantee={"cpu": 1})
    assert refused["hint"] == "ask one of olga"
    put(plane, "owned/team", by="olga", owners=["tom"], guarantee={"cpu": 1})
    listed = plane[0].get(ROOT, params={"below": "owned"}).json()["items"]
    assert [each["path"] for each in listed] == ["owned", "owned/team"]


def test_where_accounts_are_asked_for_a_name_alone_opens_no_list(tmp_path: Path) -> None:
    with bare_api(tmp_path, registry_auth="token") as client:
        body = {"reason": "a test", "owners": ["olga"]}
        assert client.put(f"{ROOT}/owned", json=body).status_code == 200
        answer = client.put(f"{ROOT}/owned", json={**body, "by": "olga", "hold": "hold"})
        assert answer.status_code == 401


def test_a_plan_tells_who_would_have_to_leave(plane: Plane) -> None:
    put(plane, "guest", min_protected_seconds=0)
    put(plane, "owner")
    large = {"resources": {"cpu": 6, "memory": "1GiB"}}
    accept(plane, "guest", "guest", **large)
    with plane[1].write() as session:
        row = jobs.find_attempt(session, AttemptKey(workflow_id="batch/guest", run_id="r"))
        assert row is not None
        row.reserved, row.host_id, row.started_at = True, "h1", NOW - timedelta(hours=1)
        row.state = "Started"
        session.add(row)
    accept(plane, "waits", "owner", **large)
    promised = {"path": "owner", "spec": {"guarantee": {"cpu": 6, "memory": "1GiB"}}}
    status, told = change(plane, promised, to="plan")
    assert (status, told["valid"]) == (200, True)
    loses = {"job": "batch/guest", "queue": "guest", "tasks": 1, "for_queue": "owner"}
    assert told["preempted"] == [loses]
