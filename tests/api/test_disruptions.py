"""Why a task was not moved, and what is to be moved: over HTTP, by the client, on a terminal."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from fleetwide.cli import relocation
from fleetwide.cli.output import Format
from fleetwide.client import Client
from fleetwide.models.hosts import HostSpec
from fleetwide.models.membership import Membership
from fleetwide.store import hosts
from fleetwide.store.session import Store
from tests.bare_api import bare_api
from tests.eviction_jobs import AT_ONCE, ONE_AWAY, add, asks


@pytest.fixture
def http(tmp_path: Path) -> Iterator[TestClient]:
    with bare_api(tmp_path) as client:
        yield client


@pytest.fixture
def store(http: TestClient, tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(f"sqlite:///{tmp_path}/fleetwide.db")
    yield opened
    opened.engine.dispose()


def test_a_task_tells_why_it_was_not_moved(http: TestClient, store: Store) -> None:
    add(store, "task/quiet", AT_ONCE)
    quiet = http.get("/v1/tasks/quiet/disruption").json()
    assert quiet["sentence"] == (
        "nobody wants it away from host h0, and its budget would let it go"
    )
    assert (quiet["plan"], quiet["refusal"], quiet["default"]) == (None, None, False)
    [number] = add(store, "task/own", None)
    asks(store, [number], now=datetime.now(UTC))
    own = http.get("/v1/tasks/own/disruption").json()
    assert own["sentence"].startswith(
        "it is to leave host h0 (drain by ana: its disk fails), but its owner has until "
    )
    assert (own["refusal"]["code"], own["default"]) == ("selfManaged", True)
    assert own["plan"]["refusal"] == own["refusal"]
    missing = http.get("/v1/tasks/none/disruption")
    assert missing.status_code == 404
    assert missing.json()["hint"] == "fleetwide task show none"


def test_what_is_to_be_moved_is_published_with_what_keeps_it(
    http: TestClient, store: Store
) -> None:
    now = datetime.now(UTC)
    with store.write() as session:
        for host in ("h0", "h1"):
            spec = HostSpec.model_validate({"host_id": host, "cpu": 4, "memory": "4GiB"})
            hosts.register(session, spec, now=now)
    attempts = add(store, "batch/b", ONE_AWAY, size=4)
    asks(store, attempts, now=now)
    pages = [http.get("/v1/relocations", params={"limit": 3}).json()]
    pages.append(http.get("/v1/relocations", params={"cursor": pages[0]["next"]}).json())
    plans = [plan for page in pages for plan in page["items"]]
    assert [plan["attempt_id"] for plan in plans] == attempts[::-1]
    assert plans[3]["let_go_at"] is not None
    assert {plan["refusal"]["code"] for plan in plans[:3]} == {"tooFewHealthy"}
    on_one = http.get("/v1/relocations", params={"host": "h1"}).json()["items"]
    assert [plan["index"] for plan in on_one] == [3, 1]
    assert http.get("/v1/hosts/h1").json()["held_back"] == {"tooFewHealthy": 2}
    child = http.get("/v1/batch/jobs/b/children/1/disruption").json()
    assert (child["healthy"], child["desired"], child["min_healthy"], child["quota"]) == (
        3,
        4,
        3,
        0,
    )
    leaving = http.get("/v1/batch/jobs/b/children/0/disruption").json()
    assert leaving["sentence"].startswith("it is leaving host h0 since ")


def test_a_terminal_shows_both(
    http: TestClient,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    @contextmanager
    def in_process() -> Iterator[Client]:
        yield Client("http://testserver", http=http)

    monkeypatch.setattr(relocation, "client", in_process)
    asks(store, add(store, "batch/b", ONE_AWAY, size=2)[::-1], now=datetime.now(UTC))
    relocation.list_relocations(style=Format.NAME)
    assert capsys.readouterr().out.split() == ["batch/b[1]", "batch/b[0]"]
    relocation.child_why("b", 0)
    shown = capsys.readouterr().out
    assert "1 of 2 are healthy, and 1 have to stay so" in shown
    assert "unhealthy_limit copies=1" in shown


def test_a_running_job_gets_another_budget(http: TestClient, store: Store) -> None:
    attempts = add(store, "batch/b", ONE_AWAY, size=4)
    assert len(asks(store, attempts).granted) == 1
    given = {"disruption_budget": {"policy": {"unhealthy_limit": {"copies": 2}}}, "by": "bo"}
    wrong = http.put("/v1/batch/jobs/b/disruption-budget", json=given)
    assert wrong.status_code == 422
    assert "reason" in str(wrong.json()["fields"])
    changed = {**given, "reason": "a quiet day"}
    assert http.put("/v1/batch/jobs/b/disruption-budget", json=changed).status_code == 200
    assert len(asks(store, attempts).granted) == 2  # the one of before counts
    event = http.get("/v1/events", params={"subject": "batch/b", "limit": 200}).json()["items"]
    said = [one["message"] for one in event if one["kind"] == "disruptionBudget"]
    assert said == ["its disruption budget was changed by bo: a quiet day"]


def test_a_budget_is_changed_where_it_belongs(http: TestClient, store: Store) -> None:
    member = Membership(service_id="web", index=0, revision=1, incarnation=1)
    add(store, f"task/{member.task_id}", None, membership=member)
    change = {"disruption_budget": None, "reason": "x"}
    copy = http.put(f"/v1/tasks/{member.task_id}/disruption-budget", json=change)
    assert (copy.status_code, copy.json()["hint"]) == (409, "fleetwide service deploy web -f SPEC")
    assert http.put("/v1/tasks/none/disruption-budget", json=change).status_code == 404
