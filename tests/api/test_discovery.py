"""Endpoints of services: who is listed, and that a long poll answers when, and only when, it
changed.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from fleetwide.cli import main, service_endpoints
from fleetwide.client import Client
from fleetwide.models.targets import Target, TargetState
from fleetwide.services.targets import Change
from fleetwide.store import targets
from fleetwide.store.session import Store
from tests.bare_api import bare_api
from tests.serving import ADDRESS, Serving

PATH = "/v1/services/s/endpoints"


@pytest.fixture
def http(tmp_path: Path) -> Iterator[TestClient]:
    with bare_api(tmp_path) as client:
        yield client


@pytest.fixture
def serving(http: TestClient, tmp_path: Path) -> Iterator[Serving]:
    store = Store.open(f"sqlite:///{tmp_path}/fleetwide.db")
    made = Serving(store)
    made.service("s")
    yield made
    store.engine.dispose()


def test_healthy_copies_are_listed_until_they_are_released(
    http: TestClient, serving: Serving
) -> None:
    assert http.get("/v1/services/none/endpoints").json()["hint"] == "fleetwide service list"
    empty = http.get(PATH).json()
    assert empty["endpoints"] == []
    one = serving.copy("s", 0, 20_000)
    two = serving.copy("s", 1, 20_001, checked=True)
    [found] = http.get(PATH).json()["endpoints"]
    assert found == {
        "index": 0,
        "task_id": one,
        "revision": 1,
        "host_id": "served",
        "zone": "a",
        "address": ADDRESS,
        "ports": {"http": 20_000},
    }
    serving.health(two, "healthy")
    assert [each["index"] for each in http.get(PATH).json()["endpoints"]] == [0, 1]
    serving.health(two, "unhealthy")
    assert serving.release(one)
    assert http.get(PATH).json() == empty


def test_a_long_poll_answers_when_it_changed_and_at_once_if_it_had(
    http: TestClient, serving: Serving
) -> None:
    one = serving.copy("s", 0, 20_000, checked=True)
    before = http.get(PATH)
    version = before.json()["version"]
    assert before.headers["ETag"] == f'"{version}"'
    same = http.get(PATH, headers={"If-None-Match": before.headers["ETag"]})
    assert (same.status_code, same.content) == (304, b"")
    assert http.get(PATH, params={"wait": 0.3, "after": version}).json()["version"] == version
    with ThreadPoolExecutor(3) as pool:
        polls = [pool.submit(http.get, PATH, params={"wait": 60, "after": version}) for _ in "ab"]
        tagged = {"If-None-Match": f'"{version}"'}
        polls.append(pool.submit(http.get, PATH, params={"wait": 60}, headers=tagged))
        with pytest.raises(NotYet):
            polls[0].result(timeout=0.5)
        serving.health(one, "healthy")
        answers = [poll.result(timeout=50).json() for poll in polls]
    assert [each["endpoints"][0]["task_id"] for each in answers] == [one] * 3
    # What has changed since is told at once, however long the wait.
    assert http.get(PATH, params={"wait": 300, "after": version}).json() == answers[0]


def test_registrations_are_told_with_what_keeps_them(http: TestClient, serving: Serving) -> None:
    assert http.get("/v1/services/s/targets").json()["items"] == []
    now, named = datetime.now(UTC), {"nginx:web": Target(port="http", nginx="web")}
    joins = Change("s.0.1", "nginx:web", TargetState.REGISTERING, "new", ADDRESS, 20_000)
    with serving.store.write() as session:
        targets.write(session, "s", [joins], named, now=now)
        targets.failed(session, [("s.0.1", "nginx:web")], "nginx is away")
    [found] = http.get("/v1/services/s/targets").json()["items"]
    assert (found["provider"], found["place"], found["state"]) == ("nginx", "web", "registering")
    assert (found["tries"], found["message"], found["port"]) == (1, "nginx is away", 20_000)


def test_the_client_follows_and_the_command_line_prints(
    http: TestClient,
    serving: Serving,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    @contextmanager
    def in_process() -> Iterator[Client]:
        yield Client("http://testserver", http=http)

    monkeypatch.setattr(service_endpoints, "client", in_process)
    one = serving.copy("s", 0, 20_000)
    with in_process() as api:
        follow = api.discovery.follow("s")
        assert [each.task_id for each in next(follow).endpoints] == [one]
        two = serving.copy("s", 1, 20_001)
        serving.health(two, "healthy")
        assert [each.task_id for each in next(follow).endpoints] == [one, two]
    assert main.run(["service", "endpoints", "s", "-o", "name"]) == 0
    assert capsys.readouterr().out.split() == [one, two]
    assert main.run(["service", "targets", "s"]) == 0
    assert "nothing found" in capsys.readouterr().err
