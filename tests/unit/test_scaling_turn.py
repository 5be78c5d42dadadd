"""Metrics are kept once and bounded; the scheduler's turn scales by them, once, and says why."""

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from unittest.mock import Mock

import pytest
from sqlmodel import select
from temporalio.client import Client, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from fleetwide.errors import InvalidInput, NotFound
from fleetwide.models.hosts import HostReport
from fleetwide.models.metrics import CopyUsage, MetricBatch, Sample
from fleetwide.models.metrics_endpoint import CopyMetrics
from fleetwide.models.scaling import HoldCode, ScalingStatus
from fleetwide.models.service_moves import DeployRequest, ServiceScale
from fleetwide.models.services import ContainerServiceSpec
from fleetwide.services.revisions import needs_deploy
from fleetwide.store import metrics, scaling, service_changes
from fleetwide.store.metric_tables import MetricSampleRow
from fleetwide.store.metrics import Wanted
from fleetwide.store.service_tables import ServiceCopyRow, ServiceRevisionRow, ServiceRow
from fleetwide.store.session import Store
from workers.scaling import Scaler
from workers.watching import Watcher

QUEUE = {
    "name": "queue",
    "metric": "queueDepth",
    "target_tracking": {"target": 10, "scale_out_cooldown_seconds": 0},
}
CPU = {"name": "cpu", "metric": "cpu", "target_tracking": {"target": 0.5}}


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = Store.open(database_url)
    yield opened
    opened.engine.dispose()


class Services:
    """Temporal, as far as ``scale`` goes: writes what it is asked to, or refuses."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.asked: list[tuple[str, ServiceScale]] = []
        self.ids: list[str] = []
        self.refuses: str | None = None
        self._id = ""

    def get_workflow_handle(self, workflow_id: str) -> "Services":
        self._id = workflow_id.removeprefix("service/")
        return self

    async def execute_update(self, name: str, request: ServiceScale, *, id: str) -> None:  # noqa: A002
        assert name == "scale"
        self.ids.append(id)
        if self.refuses:
            raise WorkflowUpdateFailedError(ApplicationError(self.refuses, type="Conflict"))
        known = [one for one, _ in self.asked]
        self.asked.append((id, request))
        if id not in known:
            with self.store.write() as session:
                row = session.get(ServiceRow, self._id)
                assert row is not None
                assert request.desired is not None
                row.desired = request.desired
                session.add(row)


def keep(store: Store, service_id: str, *policies: dict[str, Any], desired: int = 1) -> None:
    now = datetime.now(UTC)
    row = ServiceRow(
        service_id=service_id,
        workflow_id=f"service/{service_id}",
        run_id="r",
        state="Active",
        app="x",
        desired=desired,
        most=50,
        created_at=now,
        updated_at=now,
    )
    spec = {"autoscaling": list(policies)} if policies else {}
    revision = ServiceRevisionRow(service_id=service_id, number=1, template=1, spec=spec, at=now)
    with store.write() as session:
        session.add(row)
        session.add(revision)


def _copy(index: int, now: datetime) -> ServiceCopyRow:
    return ServiceCopyRow(
        service_id="web",
        index=index,
        incarnation=1,
        revision=1,
        task_id=f"web.{index}.1",
        created_at=now,
    )


def batch(*samples: dict[str, Any], source: str = "exporter") -> MetricBatch:
    return MetricBatch.model_validate({"source": source, "samples": list(samples)})


def depth(value: float, **more: Any) -> dict[str, Any]:
    return {"service": "web", "name": "queueDepth", "value": value, **more}


def push(store: Store, sent: MetricBatch) -> tuple[int, int, int]:
    with store.write() as session:
        taken = metrics.push(session, sent, now=datetime.now(UTC))
    return taken.taken, taken.known, taken.too_old


def told(store: Store, service_id: str = "web") -> ScalingStatus:
    with store.read() as session:
        return scaling.status(session, service_id)


def test_a_sample_is_kept_once_and_an_old_one_not_at_all(store: Store) -> None:
    keep(store, "web", QUEUE)
    now = datetime.now(UTC)
    sent = batch(
        depth(1, at=now), depth(2, at=now - timedelta(seconds=5)), depth(3, at=now - timedelta(1))
    )
    assert push(store, sent) == (2, 0, 1)
    assert push(store, sent) == (0, 2, 1)
    other = batch(depth(9, at=now), source="another")
    assert push(store, other) == (1, 0, 0)
    with store.read() as session:
        found = metrics.newest(session, Wanted("web", name="queueDepth", limit=2))
    assert [one.at for one in found] == [
        now.replace(microsecond=now.microsecond // 1000 * 1000)
    ] * 2


def test_what_cannot_be_kept_is_told_by_place_and_nothing_of_it_stays(store: Store) -> None:
    keep(store, "web", QUEUE)
    ahead = datetime.now(UTC) + timedelta(hours=1)
    with pytest.raises(InvalidInput) as refused:
        push(store, batch(depth(1), depth(1, at=ahead)))
    assert [one.field for one in refused.value.fields] == ["samples[1].at"]
    with pytest.raises(NotFound) as missed:
        push(store, batch(depth(1), depth(1), depth(1, service="nobody")))
    assert [one.field for one in missed.value.fields] == ["samples[2].service"]
    with store.read() as session:
        assert metrics.newest(session, Wanted("web")) == []


def test_a_service_has_so_many_samples_and_no_more(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "MAX_SAMPLES", 5)
    keep(store, "web", QUEUE)
    now = datetime.now(UTC)
    push(store, batch(*(depth(i, at=now - timedelta(seconds=i)) for i in range(9))))
    with store.read() as session:
        assert [one.value for one in metrics.newest(session, Wanted("web"))] == [0, 1, 2, 3, 4]


def test_samples_are_dropped_when_nobody_looks_back_so_far(store: Store) -> None:
    now = datetime.now(UTC)
    for name in ("web", "worker", "gone"):
        keep(store, name)
        push(
            store,
            batch(
                *(depth(i, service=name, at=now - timedelta(minutes=i)) for i in range(0, 119, 7))
            ),
        )
    spans = {"web": timedelta(minutes=1), "worker": timedelta(minutes=30)}
    with store.write() as session:
        metrics.prune(session, spans, now=now)
        left = {
            name: len(metrics.newest(session, Wanted(name))) for name in ("web", "worker", "gone")
        }
    assert left == {"web": 2, "worker": 5, "gone": 17}


def _busy_minutes(copies: int, now: datetime) -> list[tuple[str, Sample]]:
    """Ten minutes of two metrics: the service had ten times the load eight minutes ago."""
    found = []
    for age in range(0, 600, 15):
        at = now - timedelta(seconds=age)
        for index in range(copies):
            value = 0.5 if 480 <= age < 510 else 0.05
            for name, figure in (("cpu", value), ("memory", 0.1)):
                found.append(("web", Sample(name, f"web.{index}.1", figure, at)))
    return found


async def test_a_service_with_many_copies_shrinks_by_what_is_added_up(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = 20
    monkeypatch.setattr(metrics, "KEPT_EACH", copies * 2 * 4 * 2)  # two minutes
    quick = {"scale_in_cooldown_seconds": 0, "scale_in_window_seconds": 400}
    policies = [
        {"name": name, "metric": name, "target_tracking": {"target": 0.5, **quick}}
        for name in ("cpu", "memory")
    ]
    keep(store, "web", *policies, desired=copies)
    now = datetime.now(UTC)
    with store.write() as session:
        for index in range(copies):
            session.add(_copy(index, now))
        sent = _busy_minutes(copies, now)
        metrics.add_told(session, "host/h1", sent)
    for _ in range(2):  # what is told again of added up minutes is too old
        with store.write() as session:
            metrics.prune(session, {"web": timedelta(minutes=15)}, now=now)
            metrics.add_told(session, "host/h1", sent)
            each = metrics.samples_of(session, "web", ["cpu", "memory"], now - timedelta(hours=1))
            minutes = metrics.minutes_of(session, "web", ["cpu"], now - timedelta(hours=1))
        assert len(each) <= copies * 2 * 4 * 3
        assert len(each) + 2 * sum(one.samples for one in minutes) == len(sent)
    whole = [one for one in minutes if one.samples == copies * 4]
    assert {one.of_copies for one in minutes} == {True}
    assert min(one.together for one in whole) == pytest.approx(0.05 * copies)
    assert max(one.most for one in minutes) == 0.5
    assert sum(one.total for one in minutes) == pytest.approx(
        sum(one.value for _, one in sent if one.metric == "cpu")
        - sum(one.value for one in each if one.metric == "cpu")
    )
    late = MetricBatch.model_validate(
        {"source": "x", "samples": [depth(1, at=now - timedelta(minutes=8))]}
    )
    assert push(store, late) == (0, 0, 1)
    services = Services(store)
    usages = Watcher(store, cast("Client", None)).usages
    await Scaler(store, cast("Client", services), usages).scale_services()
    assert told(store).desired == 4  # by memory, for the load of before is beyond the window


async def test_a_turn_scales_once_and_writes_down_why(store: Store) -> None:
    keep(store, "web", QUEUE)
    keep(store, "calm")
    services = Services(store)
    scaler = Scaler(store, cast("Client", services), Watcher(store, cast("Client", None)).usages)
    await scaler.scale_services()
    assert told(store).code is HoldCode.NO_SAMPLES
    push(store, batch(depth(35)))
    await scaler.scale_services()
    status = told(store)
    assert (status.code, status.desired) == (None, 4)
    assert status.numbers["target"] == 10
    [(_, request)] = services.asked
    assert (request.by, request.desired, request.expected_version) == ("autoscaler", 4, 1)
    assert "1 -> 4" in request.reason
    await scaler.scale_services()
    assert len(services.asked) == 1
    assert told(store).code is HoldCode.ON_TARGET


async def test_a_scheduler_that_is_killed_between_asking_and_noting_changes_nothing_twice(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(store, "web", {**QUEUE, "target_tracking": {"target": 10}})
    services = Services(store)
    usages = Watcher(store, cast("Client", None)).usages
    await Scaler(store, cast("Client", services), usages).scale_services()
    push(store, batch(depth(35)))
    killed = Scaler(store, cast("Client", services), usages)
    monkeypatch.setattr(killed, "_write", Mock(side_effect=InterruptedError))
    with pytest.raises(InterruptedError):
        await killed.scale_services()
    push(store, batch(depth(300)))
    await Scaler(store, cast("Client", services), usages).scale_services()
    assert len(services.asked) == 1
    status = told(store)
    assert (status.desired, status.code) == (4, HoldCode.COOLING_DOWN)
    assert [(one.policy, one.before, one.after) for one in status.last_actions] == [("", 1, 4)]


async def test_a_refusal_is_told_and_asked_again_by_the_same_id(store: Store) -> None:
    keep(store, "web", QUEUE)
    push(store, batch(depth(35)))
    services = Services(store)
    services.refuses = "the service has version 2"
    scaler = Scaler(store, cast("Client", services), Watcher(store, cast("Client", None)).usages)
    await scaler.scale_services()
    status = told(store)
    assert (status.code, status.desired) == (HoldCode.UPDATE_REFUSED, 1)
    assert status.sentence.endswith("refused: the service has version 2")
    services.refuses = None
    await scaler.scale_services()
    assert told(store).desired == 4
    assert len(services.ids) == 2
    assert len(set(services.ids)) == 1


async def test_hosts_figures_are_kept_once_and_only_of_services_that_scale_by_them(
    store: Store,
) -> None:
    keep(store, "web", CPU)
    keep(store, "calm", QUEUE)
    watcher = Watcher(store, cast("Client", None))
    scaler = Scaler(store, cast("Client", Services(store)), watcher.usages)
    await scaler.scale_services()
    now = datetime.now(UTC)
    usages = [
        CopyUsage(task_id=f"{name}.0.1", service_id=name, at=now, cpu=0.9, memory=0.2)
        for name in ("web", "calm")
    ]
    report = HostReport(host_id="h1", usages=usages)
    for _ in range(2):
        with store.write() as session:
            watcher.usages.note(session, report)
    with store.read() as session:
        rows = session.exec(select(MetricSampleRow)).all()
    assert {(row.service_id, row.name, row.task_id, row.value) for row in rows} == {
        ("web", "cpu", "web.0.1", 0.9)
    }
    await scaler.scale_services()
    assert told(store).code is HoldCode.NO_SAMPLES
    with store.write() as session:
        session.add(_copy(0, now))
    await scaler.scale_services()
    assert told(store).desired == 2


async def test_what_endpoints_tell_is_kept_once_and_what_they_do_not_is_said(store: Store) -> None:
    keep(store, "web", {**QUEUE, "metric": "requests"}, desired=2)
    usages = Watcher(store, cast("Client", None)).usages
    services = Services(store)
    scaler = Scaler(store, cast("Client", services), usages)
    now = datetime.now(UTC)
    with store.write() as session:
        for index in range(2):
            session.add(_copy(index, now))
    await scaler.scale_services()

    def hear(*told: CopyMetrics, host: str = "h1") -> None:
        with store.write() as session:
            usages.note(session, HostReport(host_id=host, endpoints=list(told)))

    def copy(index: int, at: datetime = now, **more: Any) -> CopyMetrics:
        return CopyMetrics(task_id=f"web.{index}.1", service_id="web", at=at, **more)

    def rows() -> list[tuple[str, str, float]]:
        with store.read() as session:
            found = session.exec(select(MetricSampleRow)).all()
        return [(row.name, row.task_id, row.value) for row in found]

    refused = {"requests": "GET :9100/metrics: Connection refused"}
    hear(copy(0, faults=refused), copy(1, faults=refused))
    await scaler.scale_services()
    assert told(store).code is HoldCode.NO_SAMPLES
    assert told(store).sentence == (
        "queue: there are no samples of requests; no figure of 2 copies, "
        "such as web.0.1: GET :9100/metrics: Connection refused"
    )
    nonsense = {"requests": math.nan, "cpu": 5.0, "other": 1.0}
    hear(copy(0, values=nonsense), copy(1, at=now + timedelta(hours=1), values={"requests": 4}))
    assert rows() == []
    await scaler.scale_services()
    assert "no figure of 2 copies, such as web.0.1: its host tells nan" in told(store).sentence
    hear(copy(1, at=now + timedelta(hours=1), values={"requests": 4}))
    await scaler.scale_services()
    assert "no figure of web.1.1: the clock of its host is 3" in told(store).sentence
    good = copy(0, at=now + timedelta(milliseconds=1), values={"requests": 10.0, "cpu": 3.0})
    for _ in range(2):
        hear(good, copy(1, at=good.at, faults=refused))
    assert rows() == [("requests", "web.0.1", 10)]
    await scaler.scale_services()
    assert told(store).code is HoldCode.ON_TARGET
    assert "web.1.1: GET :9100" in told(store).sentence
    assert told(store).numbers["faults"] == 1
    assert services.asked == []


def _spec(*policies: dict[str, Any], desired: int, most: int) -> ContainerServiceSpec:
    return ContainerServiceSpec.model_validate(
        {
            "app": "x",
            "container": {"image": "apps/x:1"},
            "capacity": {"min": 1, "desired": desired, "max": most},
            "autoscaling": list(policies),
        }
    )


@pytest.mark.parametrize(
    ("before", "after", "most", "desired"),
    [((QUEUE,), (QUEUE,), 50, 30), ((QUEUE,), (QUEUE,), 20, 20), ((QUEUE,), (), 50, 4)],
)
def test_a_new_version_leaves_desired_to_the_policies_and_policies_replace_no_copy(
    before: tuple[dict[str, Any], ...], after: tuple[dict[str, Any], ...], most: int, desired: int
) -> None:
    current = _spec(*before, desired=30, most=50)
    move = DeployRequest(spec=_spec(*after, desired=4, most=most))
    spec = service_changes.wanted(current, move)
    assert spec.capacity.desired == desired
    assert not needs_deploy(current, spec)
