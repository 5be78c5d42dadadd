import threading

import pytest

from fleetwide.providers.ticker import Ticker


def test_items_are_visited_while_watched() -> None:
    visits: list[str] = []
    enough = threading.Event()

    def visit(item: str) -> None:
        visits.append(item)
        if {"a", "b"} <= set(visits) and len(visits) > 4:
            enough.set()

    ticker = Ticker("test", visit, interval=0.01)
    with ticker.watching("a"), ticker.watching("b"):
        assert enough.wait(10)


def test_a_failing_visit_does_not_end_the_others(caplog: pytest.LogCaptureFixture) -> None:
    seen = threading.Event()
    failures = threading.Event()

    def visit(item: str) -> None:
        if item == "bad":
            if failures.is_set():
                seen.set()
            failures.set()
            raise ValueError("bad item")

    ticker = Ticker("test", visit, interval=0.01)
    with ticker.watching("bad"):
        assert seen.wait(10)
    assert "bad item" in caplog.text


def test_short_work_is_never_visited() -> None:
    visits: list[int] = []
    ticker = Ticker("test", visits.append, interval=60)
    for item in range(100):
        with ticker.watching(item):
            pass
    assert visits == []


def test_the_thread_ends_with_the_work_and_comes_back() -> None:
    visited = threading.Event()
    ticker: Ticker[str] = Ticker("short lived", lambda _: visited.set(), interval=0.01)
    for _ in range(2):
        visited.clear()
        with ticker.watching("x"):
            assert visited.wait(10)
        for thread in threading.enumerate():
            if thread.name == "short lived":
                thread.join(10)
                assert not thread.is_alive()


def test_a_slow_visit_holds_up_no_other_and_is_not_doubled() -> None:
    released, others = threading.Event(), threading.Event()
    slow, quick = 0, 0

    def visit(item: str) -> None:
        nonlocal slow, quick
        if item == "slow":
            slow += 1
            assert released.wait(10)
        else:
            quick += 1
            if quick == 5:
                others.set()

    ticker = Ticker("test", visit, interval=0.01, threads=2)
    with ticker.watching("slow"), ticker.watching("quick"):
        assert others.wait(10)
        assert slow == 1
        released.set()
