"""Secrets of a task on the real Docker: the program gets the value, and nobody else does."""

import json
from pathlib import Path
from typing import Any

import pytest

from fleetwide.models.containers import AttemptResult, RunContainer
from fleetwide.models.task_states import EndReason
from fleetwide.providers.attempt_logs import WITHHELD
from fleetwide.providers.attempt_results import load_result
from fleetwide.providers.secret_memory import SecretMemory
from tests.integration.company.stages import Stage, company, extra, until
from tests.integration.company.test_take_ups import reap
from tests.integration.containers_fixtures import Runs

pytestmark = pytest.mark.integration
VALUE = "s3cr3t-value-of-the-test"
ROTATED = "the-next-s3cr3t-value"
FILE = {"db": {"from": "db-password", "as": {"file": "/etc/app/db"}}}


@pytest.fixture
def kept(stage: Stage, tmp_path: Path) -> Path:
    folder = tmp_path / "secrets" / "tests"
    folder.mkdir(parents=True)
    (folder / "db-password").write_text(VALUE)
    stage.settings = stage.settings.model_copy(update={"secrets_dir": tmp_path / "secrets"})
    return folder


def everything(stage: Stage, tmp_path: Path) -> bytes:
    """All that the object store of this platform holds."""
    return b"".join(p.read_bytes() for p in (tmp_path / "objects").rglob("*") if p.is_file())


def test_a_file_lies_in_memory_and_the_value_nowhere_else(
    stage: Stage, runs: Runs, kept: Path, tmp_path: Path
) -> None:
    run = company(
        stage,
        runs,
        f'[ "$(cat /etc/app/db)" = {VALUE[:6]}{VALUE[6:]} ] && echo same; cat /etc/app/db; sleep 600'.replace(
            f"{VALUE[:6]}{VALUE[6:]}", '"$A$B"'
        ),
        env={"A": VALUE[:9], "B": VALUE[9:]},
        security={"user": "1234"},
        secrets=FILE,
    )
    playing = stage.play(run)
    until(lambda: stage.status(run) == "running", "it runs", playing)
    until(lambda: "same" in _flushed(playing, stage, run), "it has read the value", playing)
    main = run.key.container_name()
    for name in (main, f"{main}._holder"):
        assert VALUE not in json.dumps(stage.api.inspect_container(name))
    assert VALUE not in json.dumps(stage.api.inspect_volume(f"{main}._secrets"))
    assert _lies_in_memory(f"{main}._secrets")
    assert VALUE not in playing.attempt.progress().model_dump_json()
    playing.attempt.end(EndReason.KILLED)
    result = playing.result.result(60)
    assert VALUE not in result.model_dump_json()
    assert result.last_lines == ["same", "********"]
    assert VALUE.encode() not in everything(stage, tmp_path)
    assert VALUE not in run.model_dump_json()


def test_a_variable_is_what_the_program_finds(stage: Stage, runs: Runs, kept: Path) -> None:
    secrets = {"db": {"from": "db-password", "as": {"env": "DB"}}}
    run = company(stage, runs, 'echo ${#DB}; echo "[$DB]"; exit 3', secrets=secrets)
    result = stage.execute(run)
    assert result.last_lines == [str(len(VALUE)), "[********]"]
    assert VALUE not in result.model_dump_json()


@pytest.mark.parametrize(
    ("source", "said"),
    [("nothing", "nothing of tests is not on this host"), ("link", "leads out of")],
)
def test_a_secret_that_is_not_there_is_named(
    stage: Stage, runs: Runs, kept: Path, source: str, said: str
) -> None:
    other = kept.parent / "others"
    other.mkdir()
    (other / "theirs").write_text(VALUE)
    (kept / "link").symlink_to(other / "theirs")
    secrets = {"db": {"from": source, "as": {"file": "/etc/db"}}}
    result = stage.execute(company(stage, runs, "echo never", secrets=secrets))
    assert result.reason is EndReason.START_FAILED
    assert said in result.message
    assert VALUE not in result.model_dump_json()


def test_a_value_that_no_variable_can_hold_is_not_told(
    stage: Stage, runs: Runs, kept: Path
) -> None:
    (kept / "binary").write_bytes(b"\0" + VALUE.encode())
    secrets = {"db": {"from": "binary", "as": {"env": "DB"}}}
    result = stage.execute(company(stage, runs, "echo never", secrets=secrets))
    assert "db is no text" in result.message
    assert VALUE not in result.message


def test_a_worker_that_takes_it_up_still_hides_the_value(
    stage: Stage, runs: Runs, kept: Path, tmp_path: Path
) -> None:
    run = company(
        stage,
        runs,
        "cat /etc/app/db; echo; while ! cat /data/go; do sleep 0.1; done; cat /etc/app/db; exit 2",
        extra(
            "side",
            "cat /data/go || sleep 3; echo yes > /data/go; sleep 600",
            mounts=[{"volume": "data", "path": "/data"}],
        ),
        volumes=[{"name": "data", "kind": "shared", "size": "16MiB"}],
        mounts=[{"volume": "data", "path": "/data"}],
        secrets=FILE,
    )
    first = stage.play(run)
    until(lambda: stage.status(run, "side") == "running", "all run", first)
    first.let_go()
    # The source has another value by now: what the containers got is what is hidden.
    (kept / "db-password").write_text("another value")
    result: AttemptResult = stage.execute(run)
    assert result.exit_code == 2
    assert result.last_lines[-1] == "********"
    assert VALUE.encode() not in everything(stage, tmp_path)


@pytest.mark.parametrize("how", ["file", "env"])
@pytest.mark.parametrize("still_runs", [True, False])
def test_values_are_hidden_also_when_the_memory_that_they_lay_in_is_gone(
    stage: Stage, runs: Runs, kept: Path, tmp_path: Path, how: str, still_runs: bool
) -> None:
    """They were rotated meanwhile: the old one is hidden, and of a file the new one, too."""
    run = spoken_and_left(stage, runs, how)
    (kept / "db-password").write_text(ROTATED)
    stop_holder(stage, run)
    if not still_runs:
        stage.host.stop(run.key.container_name())
    result = stage.execute(run)
    rotated = "********" if how == "file" else ROTATED
    assert result.last_lines == ["********", rotated, "up"]
    assert memory(stage).recall(run.key.container_name()) == {}
    assert VALUE.encode() not in everything(stage, tmp_path)


@pytest.mark.parametrize("salvaged", [True, False])
def test_a_log_whose_secrets_nobody_knows_any_more_is_withheld(
    stage: Stage, runs: Runs, kept: Path, tmp_path: Path, salvaged: bool
) -> None:
    run = spoken_and_left(stage, runs, "file")
    (kept / "db-password").unlink()
    memory(stage).forget(run.key.container_name())  # as after a restart of the machine
    stop_holder(stage, run)
    if salvaged:
        reap(stage)
        result = load_result(stage.store, run.key)
    else:
        result = stage.execute(run)
    assert result
    assert result.last_lines == []
    assert VALUE.encode() not in everything(stage, tmp_path)
    assert stage.log(run) == f"********\n{ROTATED}\nup\n{WITHHELD.decode()}"
    assert stage.log(run, "side") == (WITHHELD.decode() if salvaged else "")


def memory(stage: Stage) -> SecretMemory:
    return SecretMemory(stage.host.platform, stage.host.host_id)


def spoken_and_left(stage: Stage, runs: Runs, how: str) -> RunContainer:
    """An attempt that has printed its secret, and whose worker is gone."""
    target = {"file": "/etc/app/db"} if how == "file" else {"env": "DB"}
    run = company(
        stage,
        runs,
        f"{'cat /etc/app/db; echo' if how == 'file' else 'echo $DB'}; echo {ROTATED}; echo up; "
        "exec sleep 600",
        extra("side", "exec sleep 600"),
        secrets={"db": {"from": "db-password", "as": target}},
    )
    playing = stage.play(run)
    until(lambda: "up" in _flushed(playing, stage, run), "it has spoken", playing)
    until(lambda: stage.status(run, "side") == "running", "all run", playing)
    playing.let_go()
    return run


def stop_holder(stage: Stage, run: RunContainer) -> None:
    stage.api.kill(f"{run.key.container_name()}._holder")
    until(lambda: stage.status(run, "_holder") == "exited", "the holder has ended")


def _flushed(playing: Any, stage: Stage, run: RunContainer) -> str:
    playing.attempt.flush_log()
    return stage.log(run)


def _lies_in_memory(volume: str) -> bool:
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    return any(f"/{volume}/_data tmpfs " in line for line in mounts)
