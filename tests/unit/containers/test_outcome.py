from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from fleetwide.containers.outcome import (
    ContainerState,
    classify,
    signal_of,
    start_is_hopeless,
    stopped_before_start,
)
from fleetwide.models.task_states import EndReason


def state(exit_code: int, *, oom_killed: bool = False) -> ContainerState:
    return ContainerState("c1", "exited", exit_code, oom_killed)


@pytest.mark.parametrize(
    ("exit_code", "oom_killed", "asked", "reason"),
    [
        (0, False, None, EndReason.NORMAL),
        (0, True, None, EndReason.NORMAL),
        (1, False, None, EndReason.FAILED),
        (137, False, None, EndReason.FAILED),
        (137, True, None, EndReason.OOM_KILLED),
        (137, True, EndReason.KILLED, EndReason.KILLED),
        (0, False, EndReason.RUNTIME_LIMIT_EXCEEDED, EndReason.RUNTIME_LIMIT_EXCEEDED),
    ],
)
def test_the_reason(
    exit_code: int, oom_killed: bool, asked: EndReason | None, reason: EndReason
) -> None:
    outcome = classify(state(exit_code, oom_killed=oom_killed), asked, [])
    assert outcome.reason is reason
    assert (outcome.exit_code, outcome.oom_killed) == (exit_code, oom_killed)


def test_the_init_tells_that_the_entry_point_did_not_start() -> None:
    said = ["[FATAL tini (7)] exec /nope failed: No such file or directory"]
    outcome = classify(state(127), None, said)
    assert outcome.reason is EndReason.START_FAILED
    assert outcome.message.endswith("exec /nope failed: No such file or directory")
    assert classify(state(127), None, ["sh: nope: not found"]).reason is EndReason.FAILED


@pytest.mark.parametrize(
    ("exit_code", "signal"), [(0, None), (1, None), (128, None), (129, 1), (143, 15), (255, None)]
)
def test_the_signal_behind_an_exit_code(exit_code: int, signal: int | None) -> None:
    assert signal_of(exit_code) == signal


def test_a_failure_names_exit_code_and_signal() -> None:
    assert classify(state(143), None, []).message == (
        "the process ended with exit code 143 (signal 15)"
    )
    assert classify(state(3), None, []).message == "the process ended with exit code 3"


def test_the_requests_fault_is_told_from_the_hosts() -> None:
    assert start_is_hopeless('exec: "x": executable file not found in $PATH: unknown')
    assert start_is_hopeless("container init was OOM-killed (memory limit too low?)")
    assert not start_is_hopeless("no space left on device")
    assert not start_is_hopeless("could not find bridge docker0: no such network interface")


def test_an_end_before_the_start() -> None:
    assert stopped_before_start(EndReason.KILLED).reason is EndReason.KILLED


START = datetime(2026, 1, 2, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("exit_code", "started", "ended", "taken"),
    [
        (143, -HOUR, timedelta(seconds=5), True),
        (137, -HOUR, timedelta(seconds=-30), True),
        (255, -HOUR, None, True),
        (1, -HOUR, timedelta(seconds=5), False),
        (137, timedelta(seconds=1), timedelta(seconds=5), False),
        (137, -HOUR, timedelta(minutes=-10), False),
        (137, -HOUR, HOUR, False),
    ],
)
def test_what_a_restarted_engine_ended_is_the_hosts_fault(
    exit_code: int, started: timedelta, ended: timedelta | None, taken: bool
) -> None:
    found = replace(
        state(exit_code),
        started_at=START + started,
        finished_at=None if ended is None else START + ended,
        engine_since=START,
    )
    outcome = classify(found, None, [])
    assert outcome.reason is (EndReason.LOCAL_SYSTEM_ERROR if taken else EndReason.FAILED)
    assert classify(found, EndReason.KILLED, []).reason is EndReason.KILLED
