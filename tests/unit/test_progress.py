from fleetwide.providers.progress import Throttled, span

Calls = list[tuple[str, float | None]]


def test_calls_of_one_interval_are_dropped_but_never_a_new_phrase() -> None:
    calls: Calls = []
    told = Throttled(lambda phrase, done: calls.append((phrase, done)), interval=3600)
    told("a", 0.1)
    told("a", 0.2)
    told("b", 0.3)
    assert calls == [("a", 0.1), ("b", 0.3)]


def test_every_call_passes_when_the_interval_is_over() -> None:
    calls: Calls = []
    told = Throttled(lambda phrase, done: calls.append((phrase, done)), interval=0)
    told("a", 0.1)
    told("a", 0.2)
    assert len(calls) == 2


def test_a_part_is_scaled_into_the_whole() -> None:
    calls: Calls = []
    part = span(lambda phrase, done: calls.append((phrase, done)), 0.5, 1.0)
    part("a", 0.5)
    part("a", None)
    assert calls == [("a", 0.75), ("a", None)]
