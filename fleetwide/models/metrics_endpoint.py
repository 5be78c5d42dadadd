"""The endpoint at which a copy of a service tells its own metrics, as text for Prometheus."""

from collections import Counter
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field

from fleetwide.models.base import Record, Spec, Timestamp
from fleetwide.models.health import MAX_PATH, Port
from fleetwide.models.metrics import PUSHED_BY_HOSTS, MetricName

MAX_METRICS = 10
SeriesName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z_:][A-Za-z0-9_:]{0,199}$", examples=["http_requests_total"]),
]
LabelName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")]
LabelValue = Annotated[str, Field(max_length=200)]


class SeriesKind(StrEnum):
    """What becomes of a series' value."""

    COUNTER = "counter"
    """It only rises: its growth per second counts."""
    GAUGE = "gauge"
    """It counts as it is."""


def _is_not_the_hosts(name: str) -> str:
    if name in PUSHED_BY_HOSTS:
        raise ValueError(f"{name} is measured by the hosts")
    return name


class EndpointMetric(Spec):
    """Which series make one metric of a copy; those that fit are added up."""

    name: Annotated[MetricName, AfterValidator(_is_not_the_hosts)]
    """The metric that policies name: ``requests``, or one of your own."""
    series: SeriesName
    labels: Annotated[dict[LabelName, LabelValue], Field(max_length=20)] = {}
    """Only series that have all of these count."""
    kind: SeriesKind = SeriesKind.COUNTER


def _names_differ(metrics: list[EndpointMetric]) -> list[EndpointMetric]:
    twice = [name for name, times in Counter(one.name for one in metrics).items() if times > 1]
    if twice:
        raise ValueError(f"two of them have the name {twice[0]}")
    return metrics


class MetricsEndpoint(Spec):
    """Where a host reads the metrics of each copy of a service, every 15 seconds."""

    port: Port
    """The container's own; nothing is opened for it."""
    path: Annotated[str, Field(pattern=r"^/[!-~]*$", max_length=MAX_PATH)] = "/metrics"
    metrics: Annotated[
        list[EndpointMetric],
        Field(min_length=1, max_length=MAX_METRICS),
        AfterValidator(_names_differ),
    ]


class CopyMetrics(Record):
    """What a host read last at the endpoint of a copy."""

    task_id: str
    service_id: str
    at: Timestamp
    values: dict[str, float] = {}
    """By the name of the metric."""
    faults: dict[str, str] = {}
    """Why there is no value, by the name of the metric."""
