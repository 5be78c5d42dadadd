"""What is read from supervisord, and where its socket lies."""

from pathlib import Path

import pytest

from fleetwide.dev.config import Restart
from fleetwide.dev.plan import PlannedProcess
from fleetwide.dev.start import is_ready
from fleetwide.dev.supervisor import ProcessInfo, last_exit, restarts, socket_path

ONE_SHOT = PlannedProcess(
    name="migrate",
    command=("true",),
    environment={},
    ports=(),
    health=None,
    restart=Restart.NEVER,
    one_shot=True,
    needs=(),
    start_seconds=1,
    stop_seconds=1,
)
LASTING = ONE_SHOT.model_copy(update={"one_shot": False, "restart": Restart.ALWAYS})


def _info(statename: str, exitstatus: int = 0) -> ProcessInfo:
    return ProcessInfo(name="x", statename=statename, pid=1, start=0, now=1, exitstatus=exitstatus)


@pytest.mark.parametrize(
    ("process", "info", "ready"),
    [
        (ONE_SHOT, _info("RUNNING"), False),
        (ONE_SHOT, _info("EXITED"), True),
        (ONE_SHOT, _info("EXITED", 1), False),
        (ONE_SHOT, _info("STOPPED"), False),
        (LASTING, _info("STARTING"), False),
        (LASTING, _info("RUNNING"), True),
        (LASTING, _info("EXITED"), False),
    ],
)
def test_ready_means_ended_well_or_running(
    process: PlannedProcess, info: ProcessInfo, ready: bool
) -> None:
    assert is_ready(process, info) is ready


def test_a_process_whose_health_file_is_missing_is_not_ready(tmp_path: Path) -> None:
    process = LASTING.model_copy(update={"health": f"file:{tmp_path}/up"})
    assert not is_ready(process, _info("RUNNING"))
    (tmp_path / "up").touch()
    assert is_ready(process, _info("RUNNING"))


def test_restarts_are_counted_from_the_second_start(tmp_path: Path) -> None:
    log = tmp_path / "supervisord.log"
    assert restarts(log)["api"] == 0
    log.write_text(
        "INFO spawned: 'api' with pid 1\nINFO exited: api\nINFO spawned: 'api' with pid 2\n"
        "INFO spawned: 'aws' with pid 3\n"
    )
    assert (restarts(log)["api"], restarts(log)["aws"], restarts(log)["host"]) == (1, 0, 0)


def test_a_deep_state_folder_gets_a_short_socket() -> None:
    near, deep = Path("/srv/state"), Path("/srv") / ("x" * 90)
    assert socket_path(near) == near / "supervisor.sock"
    assert len(str(socket_path(deep))) <= 90
    assert socket_path(deep) != socket_path(deep / "other")


def test_the_last_end_of_a_process_is_told(tmp_path: Path) -> None:
    log = tmp_path / "supervisord.log"
    log.write_text(
        "INFO exited: api (exit status 1; not expected)\n"
        "WARN exited: api (terminated by SIGKILL; not expected)\n"
        "INFO exited: api2 (exit status 0; expected)\n"
    )
    assert last_exit(log, "api") == "terminated by SIGKILL"
    assert last_exit(log, "aws") == "it could not be started"
