"""A host tells in its reports what copies of services take, and what their endpoints tell."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from temporalio.activity import ActivityCancellationDetails
from temporalio.testing import ActivityEnvironment

from activities.hosts import HostActivities
from fleetwide.models.hosts import HostReport
from fleetwide.models.membership import Membership
from fleetwide.models.task_states import EndReason
from fleetwide.providers.docker import ContainerHost
from fleetwide.providers.metrics_watch import MetricsWatch
from fleetwide.providers.objects import FolderStore
from fleetwide.providers.usage_watch import UsageWatch
from fleetwide.settings import Settings
from tests.integration.containers_fixtures import Runs

pytestmark = pytest.mark.integration
CANCEL = ActivityCancellationDetails(cancel_requested=True)


@pytest.fixture
def activities(
    host_settings: Settings,
    container_host: ContainerHost,
    object_store: FolderStore,
    monkeypatch: pytest.MonkeyPatch,
) -> HostActivities:
    monkeypatch.setattr("activities.hosts.UsageWatch", lambda host: UsageWatch(host, 0.3))
    monkeypatch.setattr("activities.hosts.MetricsWatch", lambda: MetricsWatch(0.3))
    return HostActivities(host_settings, container_host, object_store)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as running:
        yield running


def heard(
    activities: HostActivities, pool: ThreadPoolExecutor, tells: Callable[[HostReport], object]
) -> HostReport:
    """The first of the host's reports that ``tells`` something."""
    found: list[HostReport] = []
    told = threading.Event()
    watching = ActivityEnvironment()

    def hear(report: HostReport) -> None:
        if tells(report):
            found.append(report)
            told.set()

    watching.on_heartbeat = hear
    end = pool.submit(lambda: asyncio.run(watching.run(activities.watch)))
    assert told.wait(60)
    watching.cancel(CANCEL)
    with pytest.raises(asyncio.CancelledError):
        end.result(30)
    return found[0]


def test_reports_tell_what_a_copy_takes_of_what_it_asked_for(
    activities: HostActivities, runs: Runs, pool: ThreadPoolExecutor
) -> None:
    member = Membership(service_id="web", index=0, revision=1, incarnation=1)
    busy = runs.shell("while :; do :; done", resources={"cpu": 0.25, "memory": "64MiB"})
    environment = ActivityEnvironment()
    running = pool.submit(
        environment.run, activities.run_container, busy.model_copy(update={"membership": member})
    )
    [usage] = heard(activities, pool, lambda report: report.usages).usages
    environment.cancel(CANCEL)
    assert running.result(60).reason is EndReason.KILLED
    assert (usage.service_id, usage.task_id) == ("web", "web.0.1")
    assert 0 < usage.cpu < 4
    assert 0 < usage.memory < 1


class Telling(BaseHTTPRequestHandler):
    """The program in the container, which has this machine's network."""

    asked = 0

    def do_GET(self) -> None:
        Telling.asked += 1
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"depth 7\nhttp_requests_total {Telling.asked}\n".encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[dict[str, Any]]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Telling) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        depth = {"name": "depth", "series": "depth", "kind": "gauge"}
        requests = {"name": "requests", "series": "http_requests_total"}
        yield {"port": server.server_port, "metrics": [depth, requests]}
        server.shutdown()
        thread.join()


def test_reports_tell_what_a_copys_endpoint_tells(
    activities: HostActivities, runs: Runs, pool: ThreadPoolExecutor, endpoint: dict[str, Any]
) -> None:
    member = Membership(service_id="web", index=0, revision=1, incarnation=1)
    run = runs.shell("sleep 600", network="host", metrics_endpoint=endpoint)
    environment = ActivityEnvironment()
    running = pool.submit(
        environment.run, activities.run_container, run.model_copy(update={"membership": member})
    )
    report = heard(
        activities, pool, lambda one: any(e.values.get("requests") for e in one.endpoints)
    )
    environment.cancel(CANCEL)
    assert running.result(60).reason is EndReason.KILLED
    [told] = report.endpoints
    assert (told.service_id, told.task_id, told.faults) == ("web", "web.0.1", {})
    assert told.values["depth"] == 7
    assert told.values["requests"] > 0
