"""Pure questions to the configuration."""

from pathlib import Path

import pytest

from fleetwide.dev.config import only, ports_of, with_ports, without
from fleetwide.dev.parse import load

CONFIG = load(Path(__file__).parents[2] / "temporal-dev.yaml")


def test_moved_ports_are_all_different_and_in_a_row() -> None:
    moved = with_ports(CONFIG, 20000)
    ports = [port for name in moved.processes for port in ports_of(moved, name)]
    assert sorted(ports) == list(range(20000, 20000 + len(ports)))
    assert moved.temporal.address == f"127.0.0.1:{moved.temporal.port}"
    assert ports_of(CONFIG, "temporal") == (7233, 8233)


def test_the_first_configuration_stays_as_it_was() -> None:
    with_ports(CONFIG, 20000)
    assert CONFIG.processes["registry"].port == 5050


def test_a_reduced_platform_keeps_what_its_processes_need() -> None:
    assert set(only(CONFIG, ("builder",)).processes) == {
        "builder", "temporal", "registry", "gateway", "distribution", "migrate",
    }  # fmt: skip


def test_nothing_waits_for_a_process_that_was_left_out() -> None:
    reduced = without(CONFIG, "dockerd")
    assert "dockerd" not in reduced.processes
    assert "dockerd" not in reduced.processes["host"].needs
    assert "registry" in reduced.processes["host"].needs


@pytest.mark.parametrize(("name", "one_shot"), [("migrate", True), ("api", False)])
def test_only_migrations_are_done_by_ending(name: str, one_shot: bool) -> None:
    assert CONFIG.processes[name].one_shot is one_shot
