"""Copies of services are measured, all their containers together; other tasks are left alone."""

import time
from typing import Any

import pytest

from fleetwide.models.containers import AttemptKey, ContainerSpec, RunContainer
from fleetwide.models.membership import Membership
from fleetwide.providers.usage_watch import UsageWatch, usage_of

MIB = 1024**2
SIDECAR = {"name": "proxy", "image": "apps/proxy:1"}


class Held:
    """An attempt that a host holds."""

    def __init__(self, membership: Membership | None, *extra: dict[str, str]) -> None:
        resources = {"cpu": 2, "memory": "200MiB"}
        spec = {"image": "apps/x:1", "resources": resources, "extra_containers": list(extra)}
        self.run = RunContainer(
            key=AttemptKey(workflow_id="task/web.0.1", run_id="r"),
            host_id="h1",
            app="x",
            image="apps/x@sha256:0",
            container=ContainerSpec.model_validate(spec),
            membership=membership,
        )
        self.name = self.run.key.container_name()


COPY = Membership(service_id="web", index=0, revision=1, incarnation=1)


def stats(second: int, cpu_seconds: float, memory: int) -> dict[str, Any]:
    return {
        "read": f"2026-11-30T12:00:{second:02}Z",
        "cpu_stats": {"cpu_usage": {"total_usage": int(cpu_seconds * 1e9)}},
        "memory_stats": {"usage": memory},
    }


class Engine:
    """Every container has taken as much as there were questions; only some run."""

    def __init__(self, runs: int) -> None:
        self.runs = runs
        self.asked: list[str] = []

    def stats(self, container: str) -> dict[str, Any] | None:
        self.asked.append(container)
        running = list(dict.fromkeys(self.asked))[: self.runs]
        times = self.asked.count(container)
        return stats(times, times * 0.5, 20 * MIB) if container in running else None


def test_figures_are_fractions_of_what_was_asked_for() -> None:
    run = Held(COPY).run
    found = usage_of(
        run,
        {"a": stats(20, 30, 50 * MIB), "b": stats(20, 5, 10 * MIB), "new": stats(20, 1, MIB)},
        {"a": stats(10, 20, 90 * MIB), "b": stats(10, 0, 10 * MIB)},
    )
    assert found is not None
    assert (found.task_id, found.service_id) == ("web.0.1", "web")
    assert found.cpu == pytest.approx((1.0 + 0.5) / 2)
    assert found.memory == pytest.approx(60 / 200)
    assert usage_of(run, {"a": stats(20, 30, MIB)}, {}) is None


@pytest.mark.parametrize(("runs", "cpu"), [(1, 0.25), (2, 0.5)])
def test_a_copy_is_told_of_while_it_is_held(runs: int, cpu: float) -> None:
    watch = UsageWatch(Engine(runs), 0.02)
    with watch.watching(Held(COPY, SIDECAR)):
        deadline = time.monotonic() + 30
        while not (found := watch.usages()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert found[0].cpu == pytest.approx(cpu)
    assert watch.usages() == []


def test_other_tasks_are_not_looked_at() -> None:
    engine = Engine(1)
    watch = UsageWatch(engine, 0.01)
    with watch.watching(Held(None)):
        time.sleep(0.1)
    assert engine.asked == []
