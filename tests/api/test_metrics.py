"""Metrics over HTTP: what is wrong is told by its place, what is right is seen again."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from fleetwide.cli import main
from fleetwide.client import Client
from fleetwide.store.service_tables import ServiceRevisionRow, ServiceRow
from fleetwide.store.session import Store
from tests.bare_api import bare_api

POLICY = {"name": "queue", "metric": "queueDepth", "target_tracking": {"target": 10}}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder: Path = tmp_path_factory.mktemp("metrics")
    with bare_api(folder) as client:
        store = Store.open(f"sqlite:///{folder}/fleetwide.db")
        _add(store, "web", {"autoscaling": [POLICY]})
        _add(store, "still", {})
        store.engine.dispose()
        yield client


def _add(store: Store, name: str, spec: dict[str, object]) -> None:
    now = datetime.now(UTC)
    row = ServiceRow(
        service_id=name,
        workflow_id=f"service/{name}",
        run_id="r",
        state="Active",
        app="x",
        most=9,
        created_at=now,
        updated_at=now,
    )
    with store.write() as session:
        session.add(row)
        session.add(ServiceRevisionRow(service_id=name, number=1, template=1, spec=spec, at=now))


def test_a_batch_is_kept_and_seen(api: TestClient) -> None:
    at = datetime.now(UTC) - timedelta(seconds=3)
    samples = [
        {"service": "web", "name": "queueDepth", "value": 42, "at": at.isoformat()},
        {"service": "web", "task": "web.0.1", "name": "requests", "value": 1.5},
    ]
    sent = {"source": "exporter", "samples": samples}
    assert api.post("/v1/metrics", json=sent).json() == {"taken": 2, "known": 0, "too_old": 0}
    [again] = [api.post("/v1/metrics", json={**sent, "samples": samples[:1]}).json()]
    assert again == {"taken": 0, "known": 1, "too_old": 0}
    found = api.get("/v1/metrics?service=web").json()["items"]
    assert [(one["name"], one.get("task"), one["value"]) for one in found] == [
        ("requests", "web.0.1", 1.5),
        ("queueDepth", None, 42.0),
    ]
    [one] = api.get("/v1/metrics?service=web&task=web.0.1").json()["items"]
    assert one["source"] == "exporter"


@pytest.mark.parametrize(
    ("sample", "status", "told"),
    [
        ('"value": NaN', 422, "samples[0].value"),
        ('"value": Infinity', 422, "samples[0].value"),
        ('"value": -0.5', 422, "samples[0].value: must be at least 0"),
        ('"value": 1e300', 422, "samples[0].value: must be at most"),
        ('"value": 1, "name": "a b"', 422, "samples[0].name"),
        ('"value": 1, "task": "other.0.1"', 422, "no copy of the service web"),
        ('"value": 1, "at": "2999-01-01T00:00:00Z"', 422, "samples[0].at: lies"),
        ('"value": 1, "service": "nobody"', 404, "samples[0].service: there is no such"),
    ],
)
def test_what_is_wrong_is_told_by_its_place(
    api: TestClient, sample: str, status: int, told: str
) -> None:
    body = f'{{"source": "x", "samples": [{{"service": "web", "name": "m", {sample}}}]}}'
    answer = api.post("/v1/metrics", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    assert told in answer.json()["detail"]


def test_scaling_says_why_it_does_nothing(api: TestClient) -> None:
    assert api.get("/v1/services/web/scaling").json()["sentence"] == "nothing was decided yet"
    assert api.get("/v1/services/still/scaling").json()["code"] == "noPolicies"
    missing = api.get("/v1/services/nobody/scaling")
    assert (missing.status_code, missing.json()["hint"]) == (404, "fleetwide service list")


def test_the_command_line_pushes_lists_and_explains(
    api: TestClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextmanager
    def in_process() -> Iterator[Client]:
        yield Client("http://testserver", http=api)

    for module in ("metric", "service_scaling"):
        monkeypatch.setattr(f"fleetwide.cli.{module}.client", in_process)

    def told(*words: str, code: int = 0) -> str:
        assert main.run(list(words)) == code
        shown = capsys.readouterr()
        return shown.err if code else shown.out

    assert "taken" in told("metric", "push", "still", "depth", "7.25", "--source", "me")
    assert "value: must be a finite number" in told("metric", "push", "still", "d", "nan", code=3)
    listed = told("metric", "list", "still", "--name", "depth")
    assert "7.25" in listed
    assert "me" in listed
    assert "nothing was decided yet" in told("service", "scaling", "web")
