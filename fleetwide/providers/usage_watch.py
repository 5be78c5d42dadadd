"""Measures what copies of services take, for those who scale them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Lock
from typing import Any, Protocol

from fleetwide.containers.company import container_name
from fleetwide.containers.usage import sample
from fleetwide.models.containers import RunContainer
from fleetwide.models.extra_containers import MAIN
from fleetwide.models.metrics import CopyUsage
from fleetwide.providers.ticker import Ticker

MEASURE_SECONDS = 15.0
Stats = Mapping[str, Any]


class Running(Protocol):
    """An attempt, as far as its containers go."""

    @property
    def name(self) -> str: ...

    @property
    def run(self) -> RunContainer: ...


class Engine(Protocol):
    """What can say what a container takes."""

    def stats(self, container: str) -> Stats | None: ...


class UsageWatch:
    """Looks now and then at each copy of a service: all its containers count together."""

    def __init__(self, host: Engine, interval: float = MEASURE_SECONDS) -> None:
        self._host = host
        self._ticker: Ticker[Running] = Ticker("usage watch", self._look, interval)
        self._lock = Lock()
        self._before: dict[str, dict[str, Stats]] = {}
        self._usages: dict[str, CopyUsage] = {}

    def usages(self) -> list[CopyUsage]:
        """The newest measure of each copy."""
        with self._lock:
            return list(self._usages.values())

    @contextmanager
    def watching(self, attempt: Running) -> Iterator[None]:
        """Have an attempt looked at while the block runs, if it is a copy of a service."""
        if attempt.run.membership is None:
            yield
            return
        try:
            with self._ticker.watching(attempt):
                yield
        finally:
            with self._lock:
                self._before.pop(attempt.name, None)
                self._usages.pop(attempt.name, None)

    def _look(self, attempt: Running) -> None:
        names = [MAIN, *(one.name for one in attempt.run.container.extra_containers)]
        containers = [container_name(attempt.run.key, name) for name in names]
        now = {one: stats for one in containers if (stats := self._host.stats(one)) is not None}
        with self._lock:
            before = self._before.get(attempt.name, {})
            self._before[attempt.name] = now
            usage = usage_of(attempt.run, now, before)
            if usage is not None:
                self._usages[attempt.name] = usage


def usage_of(
    run: RunContainer, now: Mapping[str, Stats], before: Mapping[str, Stats]
) -> CopyUsage | None:
    """What the containers took between two answers of the Engine, of what the copy asked for.

    None where no container was seen twice.
    """
    samples = [sample(now[name], before[name], None) for name in now.keys() & before.keys()]
    if not samples or run.membership is None:
        return None
    asked = run.container.resources
    return CopyUsage(
        task_id=run.membership.task_id,
        service_id=run.membership.service_id,
        at=max(one.at for one in samples),
        cpu=sum(one.cpu_percent for one in samples) / 100 / asked.cpu,
        memory=sum(one.memory for one in samples) / int(asked.memory),
    )
