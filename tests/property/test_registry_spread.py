"""However hosts end, each is asked once, nobody is asked too much, and the registry sends little."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from fleetwide.registry.preheat import Spread, Step


@given(
    count=st.integers(0, 60),
    seeds=st.integers(1, 4),
    fan_out=st.integers(1, 4),
    serving=st.lists(st.booleans(), min_size=60, max_size=60),
    choice=st.randoms(use_true_random=False),
)
def test_everybody_gets_a_turn_within_the_limits(
    count: int, seeds: int, fan_out: int, serving: list[bool], choice: object
) -> None:
    hosts = [f"h{number}" for number in range(count)]
    spread = Spread(hosts, seeds=seeds, fan_out=fan_out)
    running: list[Step] = []
    begun: list[Step] = []
    anybody_serves = False
    while True:
        while (step := spread.next()) is not None:
            running.append(step)
            begun.append(step)
            assert not (anybody_serves and step.peer is None)
        busy = Counter(step.peer for step in running)
        assert busy.pop(None, 0) <= seeds
        assert all(number <= fan_out for number in busy.values())
        if not running:
            break
        step = running.pop(choice.randrange(len(running)))  # type: ignore[attr-defined]
        serves = serving[int(step.host[1:])]
        anybody_serves = anybody_serves or serves
        spread.ended(step, f"http://{step.host}" if serves else None)
    assert sorted(step.host for step in begun) == sorted(hosts)
    if all(serving[:count]):
        assert sum(step.peer is None for step in begun) <= seeds
