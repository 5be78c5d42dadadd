"""``fleetwide worker host --simulate``: what becomes of its options."""

import pytest

from fleetwide.cli.main import run
from fleetwide.containers.simulated_fleet import SimulatedFleet
from workers import host, simulation


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> list[SimulatedFleet]:
    """The fleets that were asked for; none is served."""
    asked: list[SimulatedFleet] = []
    monkeypatch.setattr(simulation, "main", asked.append)
    monkeypatch.setattr(host, "main", lambda: pytest.fail("a real host was asked for"))
    return asked


def test_options_describe_the_fleet(simulated: list[SimulatedFleet]) -> None:
    words = "--simulate 5 --prefix load --zone a --zone b --size 2x4GiB --no-tainted --leave"
    assert run(["worker", "host", *words.split(), "--scenario", "run=5s log=3"]) == 0
    assert simulated == [
        SimulatedFleet(
            count=5,
            prefix="load",
            zones=("a", "b"),
            sizes=("2x4GiB",),
            scenario="run=5s log=3",
            tainted=False,
            leave=True,
        )
    ]


def test_a_number_is_enough(simulated: list[SimulatedFleet]) -> None:
    assert run(["worker", "host", "--simulate", "7"]) == 0
    assert simulated == [SimulatedFleet(count=7)]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["control", "--simulate", "5"], "--simulate: is for the role host, not control"),
        (["host", "--simulate", "0"], "count: must be at least 1"),
        (["host", "--simulate", "5", "--scenario", "fly"], "'fly' is no part of a scenario"),
    ],
)
def test_bad_options_are_told_and_nothing_is_served(
    simulated: list[SimulatedFleet],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    told: str,
) -> None:
    assert run(["worker", *arguments]) != 0
    assert told in capsys.readouterr().err
    assert simulated == []
