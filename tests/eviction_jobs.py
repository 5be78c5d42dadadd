"""Jobs whose attempts run on two hosts, in SQL alone, and the gate that they go through."""

from datetime import UTC, datetime, timedelta
from typing import Any

from fleetwide.models.containers import AttemptRequest, ContainerSpec, JobHeader, JobKind
from fleetwide.models.disruptions import DisruptionBudget
from fleetwide.models.disturbances import Answer, Cause
from fleetwide.models.retries import Lineage, RetryPolicy, Spent
from fleetwide.store import disruptions, jobs
from fleetwide.store.session import Store
from fleetwide.store.tables import AttemptRow

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)  # a Wednesday
ONE_AWAY = {"policy": {"unhealthy_limit": {"copies": 1}}}
AT_ONCE = {"policy": {"self_managed": {"relocation_seconds": 0}}}


def second(count: float) -> datetime:
    return NOW + timedelta(seconds=count)


def header(name: str, budget: dict[str, Any] | None, **more: Any) -> JobHeader:
    return JobHeader(
        workflow_id=name,
        run_id="r",
        kind=JobKind.BATCH if name.startswith("batch/") else JobKind.TASK,
        app="x",
        container=ContainerSpec.model_validate({"image": "apps/x:1"}),
        retry=RetryPolicy(),
        disruption_budget=DisruptionBudget.model_validate(budget) if budget else None,
        **more,
    )


def add(
    store: Store, name: str, budget: dict[str, Any] | None, *, size: int = 1, **more: Any
) -> list[int]:
    """A job whose attempts have all started, every other one on host h1; their numbers."""
    spent = more.pop("spent", Spent())
    asked = [AttemptRequest(index=index, lineage=Lineage(spent=spent)) for index in range(size)]
    wanted = header(name, budget, size=size, **more)
    with store.write() as session:
        job = jobs.ensure(session, wanted, "apps/x@sha256:0", now=NOW)
        waiter = jobs.ensure_waiter(session, job, "r", "1", now=NOW)
        rows = jobs.ensure_attempts(session, job, wanted, asked, waiter, now=NOW)
        for row in rows:
            row.state, row.host_id, row.reserved = "Started", f"h{row.index % 2}", True
            session.add(row)
        session.flush()
        return [row.id or 0 for row in rows]


def enter(store: Store, attempt: int, state: str, **values: Any) -> None:
    with store.write() as session:
        row = session.get(AttemptRow, attempt)
        assert row is not None
        row.state = state
        for name, value in values.items():
            setattr(row, name, value)
        session.add(row)


def asks(
    store: Store, attempts: list[int], *, now: datetime = NOW, cause: Cause = Cause.DRAIN,
    forced: bool = False,
) -> Answer:  # fmt: skip
    with store.write(reason="its disk fails") as session:
        wanted = disruptions.disturbed(session, attempts)
        return disruptions.ask(session, wanted, cause=cause, by="ana", now=now, forced=forced)
