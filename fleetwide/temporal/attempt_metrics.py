"""Updates of attempts that came too late, counted beside the SDK's own metrics."""

from collections.abc import Iterable

from temporalio.client import Client
from temporalio.common import MetricMeter
from temporalio.runtime import Runtime

from fleetwide.store.attempt_states import Outcome

DROPPED = "fleetwide_attempt_updates_dropped"


def count_dropped(outcomes: Iterable[Outcome], meter: MetricMeter) -> None:
    """Count the updates that would have taken an attempt backwards."""
    count = sum(one is Outcome.DROPPED for one in outcomes)
    if count:
        words = "updates that would have taken an attempt backwards"
        meter.create_counter(DROPPED, words).add(count)


def meter_of(client: Client) -> MetricMeter:
    """The meter of the process that the client belongs to; activities have their own."""
    return (client.service_client.config.runtime or Runtime.default()).metric_meter
