"""Metrics of services, and what automatic scaling makes of them."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Body, Path, Query

from api.deps import LimitQuery, PlatformDep
from api.examples import METRICS
from fleetwide.models.base import NAME_PATTERN
from fleetwide.models.documents import Page
from fleetwide.models.metrics import METRIC_PATTERN, MetricBatch, MetricDocument, MetricsTaken
from fleetwide.models.scaling import ScalingStatus
from fleetwide.store import metrics, scaling
from fleetwide.store.metrics import Wanted

router = APIRouter(prefix="/v1", tags=["containers"])


@router.post("/metrics")
def push_metrics(
    platform: PlatformDep, batch: Annotated[MetricBatch, Body(openapi_examples=METRICS)]
) -> MetricsTaken:
    """Tell figures of services or of their copies. A batch is kept whole or not at all.

    Sent again, nothing counts twice; what is hours old is left out.
    """
    with platform.store.write() as session:
        return metrics.push(session, batch, now=datetime.now(UTC))


@router.get("/metrics")
def list_metrics(
    platform: PlatformDep,
    service: Annotated[str, Query(pattern=NAME_PATTERN)],
    name: Annotated[str | None, Query(pattern=METRIC_PATTERN)] = None,
    task: Annotated[str | None, Query(pattern=NAME_PATTERN)] = None,
    limit: LimitQuery = 100,
) -> Page[MetricDocument]:
    """The newest samples of a service that are kept, the newest first."""
    wanted = Wanted(service, name=name, task_id=task, limit=limit)
    with platform.store.read() as session:
        return Page(items=metrics.newest(session, wanted))


@router.get("/services/{service_id}/scaling")
def get_scaling(
    platform: PlatformDep, service_id: Annotated[str, Path(pattern=NAME_PATTERN)]
) -> ScalingStatus:
    """What automatic scaling did last, what each policy says, and why nothing is done now."""
    with platform.store.read() as session:
        return scaling.status(session, service_id)
