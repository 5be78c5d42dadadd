"""Extra containers of a task, on the real Docker: order, sharing, ends, logs, and take-ups."""

from typing import Any

import pytest

from fleetwide.containers.company import HOLDER
from fleetwide.models.containers import RunContainer
from fleetwide.models.task_states import EndReason, TaskState
from fleetwide.providers.common_limits import MOUNT
from tests.integration.company.stages import Stage, company, end_of, extra, until
from tests.integration.containers_fixtures import Runs

pytestmark = pytest.mark.integration
MEBI = 1024**2
SHARED = [{"name": "data", "kind": "shared", "size": "16MiB"}]
DATA = [{"volume": "data", "path": "/data"}]
WELL = {"interval_seconds": 1, "timeout_seconds": 5, "start_period_seconds": 60}


def test_those_before_are_up_and_healthy_first_and_all_end_with_the_main_one(
    stage: Stage, runs: Runs
) -> None:
    check = {**WELL, "command": ["/bin/sh", "-c", "cat /data/ready"]}
    run = company(
        stage,
        runs,
        "cat /data/ready; echo main >> /data/order; while ! cat /data/late 2>/dev/null; do sleep 0.1; done",
        extra(
            "first",
            "sleep 1; echo first > /data/ready; echo up; sleep 600",
            start="before",
            health=check,
            mounts=DATA,
        ),
        extra("late", "echo late > /data/late; sleep 600", mounts=DATA),
        volumes=SHARED,
        mounts=DATA,
    )
    result = stage.execute(run)
    assert result.reason is EndReason.NORMAL, result.message
    lines = stage.log(run).splitlines()
    assert (lines[0], lines[-1]) == ("first", "late")
    assert stage.log(run, "first") == "up\n"
    first = end_of(result, "first")
    assert first.message == "stopped with the task"
    assert first.last_lines == ["up"]
    assert stage.leftovers() == []
    assert stage.groups(run) == []


def test_an_essential_one_that_fails_ends_the_task_with_evidence(stage: Stage, runs: Runs) -> None:
    run = company(
        stage,
        runs,
        "echo up; sleep 600",
        extra("proxy", "sleep 0.5; echo no route; exit 3", essential=True),
        extra("other", "sleep 600"),
    )
    result = stage.execute(run)
    assert result.reason is EndReason.EXTRA_CONTAINER_FAILED
    assert "proxy ended with exit code 3; its last line: no route" in result.message
    assert end_of(result, "proxy").exit_code == 3
    assert result.last_lines == ["up"]


def test_one_that_is_not_essential_may_fail(stage: Stage, runs: Runs) -> None:
    run = company(stage, runs, "sleep 1.5; echo done", extra("shaky", "exit 4"))
    result = stage.execute(run)
    assert result.reason is EndReason.NORMAL
    assert end_of(result, "shaky").exit_code == 4
    assert "exit code 4" in end_of(result, "shaky").message


def test_an_essential_one_that_fails_before_the_main_one_lets_it_not_start(
    stage: Stage, runs: Runs
) -> None:
    check = {**WELL, "command": ["/bin/true-not-there"]}
    run = company(
        stage,
        runs,
        "echo never",
        extra("init", "exit 5", start="before", essential=True, health=check),
    )
    result = stage.execute(run)
    assert result.reason is EndReason.EXTRA_CONTAINER_FAILED
    assert "init ended with exit code 5" in result.message
    assert stage.log(run) == ""


def test_one_that_prepares_and_ends_well_is_enough(stage: Stage, runs: Runs) -> None:
    check = {**WELL, "command": ["/bin/sh", "-c", "exit 1"]}
    run = company(
        stage,
        runs,
        "cat /data/made",
        extra(
            "init", "echo 7 > /data/made", start="before", essential=True, health=check, mounts=DATA
        ),
        volumes=SHARED,
        mounts=DATA,
    )
    result = stage.execute(run)
    assert (result.reason, result.last_lines) == (EndReason.NORMAL, ["7"])


def test_they_share_the_network_and_one_group_of_limits(stage: Stage, runs: Runs) -> None:
    run = company(stage, runs, "echo up; sleep 600", extra("side", "sleep 600"), network="bridge")
    playing = stage.play(run)
    until(lambda: stage.status(run, "side") == "running", "side runs")
    main = run.key.container_name()
    found = {
        name: stage.api.inspect_container(name)
        for name in (main, f"{main}.side", f"{main}.{HOLDER}")
    }
    holder = found[f"{main}.{HOLDER}"]["Id"]
    for name in (main, f"{main}.side"):
        assert found[name]["HostConfig"]["NetworkMode"] == f"container:{holder}"
    parents = {one["HostConfig"]["CgroupParent"] for one in found.values()}
    [parent] = parents
    group = MOUNT / "memory" / parent.lstrip("/")
    assert int((group / "memory.limit_in_bytes").read_text()) == 64 * MEBI
    assert int((MOUNT / "cpu" / parent.lstrip("/") / "cpu.cfs_quota_us").read_text()) == 50_000
    assert {path.name for path in group.iterdir() if path.is_dir()} == {
        one["Id"] for one in found.values()
    }
    labels = found[f"{main}.side"]["Config"]["Labels"]
    assert labels["fleetwide.container"] == "side"
    assert labels["fleetwide.workflow_id"] == run.key.workflow_id
    playing.attempt.end(EndReason.KILLED)
    assert playing.result.result(60).reason is EndReason.KILLED


def test_all_together_get_no_more_memory_than_the_task(stage: Stage, runs: Runs) -> None:
    eat = "head -c 41943040 /dev/zero | tail; "  # tail keeps all of it: there is no line's end
    run = company(
        stage,
        runs,
        f"sleep 2; {eat} echo main $?; sleep 2",
        extra("side", f"sleep 2; {eat} echo side $?; sleep 600"),
    )
    result = stage.execute(run)
    told = [
        line
        for name in ("main", "side")
        for line in stage.log(run, name).splitlines()
        if "137" in line
    ]
    assert told or result.oom_killed, (stage.log(run), stage.log(run, "side"))


def test_a_kill_stops_them_in_reverse(stage: Stage, runs: Runs) -> None:
    say = "trap 'echo {0} >> /data/order; exit 0' TERM; echo up; while :; do sleep 0.1; done"
    run = company(
        stage,
        runs,
        "trap 'echo main >> /data/order; exit 0' TERM; echo up; while :; do sleep 0.1; done",
        extra(
            "before",
            "trap 'cat /data/order; exit 0' TERM; echo up; while :; do sleep 0.1; done",
            start="before",
            mounts=DATA,
        ),
        extra("one", say.format("one"), mounts=DATA),
        extra("two", say.format("two"), mounts=DATA),
        volumes=SHARED,
        mounts=DATA,
        stop_grace_seconds=10,
    )
    playing = stage.play(run)
    until(
        lambda: (
            stage.status(run, "two") == "running"
            and "up" in [x.strip() for x in _flushed(playing, stage, run, "two")]
        ),
        "all are up",
    )
    until(lambda: "up" in [x.strip() for x in _flushed(playing, stage, run, "one")], "one is up")
    playing.attempt.end(EndReason.KILLED)
    assert playing.result.result(60).reason is EndReason.KILLED
    assert stage.log(run, "before").split() == ["up", "two", "one", "main"]


def _flushed(playing: Any, stage: Stage, run: RunContainer, name: str) -> list[str]:
    playing.attempt.flush_log()
    return stage.log(run, name).splitlines()


def test_progress_tells_of_each(stage: Stage, runs: Runs) -> None:
    run = company(stage, runs, "echo up; sleep 600", extra("side", "sleep 600"))
    playing = stage.play(run)
    until(
        lambda: (
            [one.state for one in playing.attempt.progress().extra_containers]
            == [TaskState.STARTED]
        ),
        "side started",
    )
    playing.attempt.end(EndReason.KILLED)
    playing.result.result(60)
