"""``fleetwide dev`` as typed."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fleetwide.cli.dev import app, status_table
from fleetwide.dev.config import Restart
from fleetwide.dev.plan import Plan, PlannedProcess
from fleetwide.dev.platform import ProcessStatus
from fleetwide.dev.state import store_plan
from fleetwide.errors import Conflict, InvalidInput, NotFound

RUNNER = CliRunner()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The state of a platform that is down."""
    folder = tmp_path / "state"
    (folder / "logs").mkdir(parents=True)
    processes = [
        PlannedProcess(
            name=name,
            command=("true",),
            environment={},
            ports=(8300,),
            health=None,
            restart=Restart.ALWAYS,
            one_shot=False,
            needs=(),
            start_seconds=1,
            stop_seconds=1,
        )
        for name in ("api", "host")
    ]
    plan = Plan(
        state=folder,
        processes=tuple(processes),
        docker_url="unix:///nowhere",
        temporal_address="127.0.0.1:1",
        namespace="default",
        search_attributes={},
        fingerprint="x",
    )
    store_plan(plan)
    (folder / "logs" / "api.log").write_text("one\ntwo\n")
    (folder / "logs" / "host.log").write_text("three\n")
    return folder


def test_status_of_a_platform_that_is_down_exits_with_1(state: Path) -> None:
    result = RUNNER.invoke(app, ["status", "--state-dir", str(state)])
    assert result.exit_code == 1
    assert result.stdout.splitlines()[0].split() == [
        "NAME", "STATE", "PID", "UPTIME", "PORTS", "HEALTH", "RESTARTS",
    ]  # fmt: skip
    assert result.stdout.splitlines()[1].split() == [
        "api", "stopped", "-", "-", "8300", "unhealthy", "0",
    ]  # fmt: skip


def test_status_as_json_is_data_alone(state: Path) -> None:
    result = RUNNER.invoke(app, ["status", "-o", "json", "--state-dir", str(state)])
    assert [row["name"] for row in json.loads(result.stdout)] == ["api", "host"]
    assert result.exit_code == 1


def test_status_before_the_first_start_says_what_to_do(tmp_path: Path) -> None:
    result = RUNNER.invoke(app, ["status", "--state-dir", str(tmp_path)])
    assert result.exit_code == 1
    assert "fleetwide dev up" in result.stderr
    assert result.stdout == ""


def test_the_table_has_straight_columns() -> None:
    rows = [
        ProcessStatus(
            name=name,
            state="running",
            pid=1,
            uptime_seconds=seconds,
            ports=(1, 2),
            healthy=True,
            restarts=0,
        )
        for name, seconds in (("a", 5), ("longer", 65), ("b", 3700))
    ]
    lines = status_table(rows)
    assert len({line.index("running") for line in lines[1:]}) == 1
    assert [line.split()[3] for line in lines[1:]] == ["5s", "1m05s", "1h01m"]


def test_logs_of_many_say_whose_line_it_is(state: Path) -> None:
    result = RUNNER.invoke(app, ["logs", "--state-dir", str(state)])
    assert result.stdout.splitlines() == ["api  | one", "api  | two", "host | three"]


def test_logs_of_one_are_the_plain_lines(state: Path) -> None:
    result = RUNNER.invoke(app, ["logs", "api", "-n", "1", "--state-dir", str(state)])
    assert result.stdout == "two\n"


def test_logs_of_an_unknown_process_name_the_known_ones(state: Path) -> None:
    result = RUNNER.invoke(app, ["logs", "apj", "--state-dir", str(state)])
    assert isinstance(result.exception, NotFound)
    assert result.exception.hint == "known: api, host"


def test_down_when_nothing_runs_is_fine(tmp_path: Path) -> None:
    result = RUNNER.invoke(app, ["down", "--state-dir", str(tmp_path / "none")])
    assert result.exit_code == 0
    assert "nothing runs" in result.stderr
    assert not (tmp_path / "none").exists()


def test_reset_asks_and_no_keeps_all(state: Path) -> None:
    result = RUNNER.invoke(app, ["reset", "--state-dir", str(state)], input="n\n")
    assert result.exit_code == 1
    assert state.is_dir()


def test_reset_deletes_the_state_folder_alone(state: Path) -> None:
    (state.parent / "neighbour").touch()
    result = RUNNER.invoke(app, ["reset", "--yes", "--state-dir", str(state)])
    assert result.exit_code == 0
    assert [path.name for path in state.parent.iterdir()] == ["neighbour"]


def test_reset_refuses_a_folder_that_is_no_platforms_state(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    result = RUNNER.invoke(app, ["reset", "--yes", "--state-dir", str(tmp_path)])
    assert isinstance(result.exception, InvalidInput)
    assert (tmp_path / "thesis.txt").exists()


def test_up_with_an_unknown_name_starts_nothing(tmp_path: Path) -> None:
    file = tmp_path / "dev.yaml"
    file.write_text("env: {dev: {address: '127.0.0.1:7233'}}\nprocesses: {api: {command: x}}\n")
    state = tmp_path / "state"
    arguments = ["up", "apj", "--file", str(file), "--state-dir", str(state)]
    result = RUNNER.invoke(app, arguments)
    assert isinstance(result.exception, NotFound)
    assert not state.exists()


def test_up_names_every_program_that_is_not_installed(tmp_path: Path) -> None:
    file = tmp_path / "dev.yaml"
    file.write_text(
        "env: {dev: {address: '127.0.0.1:7233'}}\n"
        "processes: {a: {command: no-such-a}, b: {command: no-such-b}}\n"
    )
    result = RUNNER.invoke(app, ["up", "--file", str(file), "--state-dir", str(tmp_path / "s")])
    assert isinstance(result.exception, NotFound)
    assert result.exception.message == "not installed: no-such-a, no-such-b"


def test_two_commands_at_once_do_not_meet(state: Path) -> None:
    from fleetwide.dev.state import locked

    with locked(state):
        result = RUNNER.invoke(app, ["down", "--state-dir", str(state)])
    assert isinstance(result.exception, Conflict)
