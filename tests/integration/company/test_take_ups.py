"""A worker that is killed at any step: the attempt is taken up again, no doubles, no leftovers."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from docker import APIClient

from fleetwide.containers.launch import key_from_labels
from fleetwide.models.containers import RunContainer
from fleetwide.models.task_states import EndReason
from fleetwide.providers.attempt_logs import tail_lines
from fleetwide.providers.attempts import Attempt
from fleetwide.providers.companion_orphans import abandoned_volumes
from fleetwide.providers.companions import Means
from fleetwide.providers.docker import ContainerHost
from fleetwide.providers.orphans import salvage
from tests.integration.company.stages import Stage, company, extra, until
from tests.integration.containers_fixtures import Runs

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]
VALUE = "a-value-for-take-ups"
DATA = [{"volume": "data", "path": "/data"}]


class Killed(BaseException):
    """The worker dies here; nothing in it may clear up."""


class MortalHost(ContainerHost):
    """Dies after so many requests that change something; later ones are never sent."""

    steps = 1_000_000
    done: list[str]

    def _step(self, what: str, change: Callable[[], Any]) -> Any:
        if threading.current_thread().name.startswith(("follow", "stop", "health")):
            return change()
        if len(self.done) >= self.steps:
            raise Killed
        answer = change()
        self.done.append(what)
        if len(self.done) >= self.steps:
            raise Killed
        return answer

    def create(self, name: str, body: dict[str, Any]) -> Any:
        return self._step(f"create {name[-8:]}", lambda: super(MortalHost, self).create(name, body))

    def start(self, container: str) -> None:
        self._step("start", lambda: super(MortalHost, self).start(container))

    def stop(self, container: str) -> None:
        self._step("stop", lambda: super(MortalHost, self).stop(container))

    def remove(self, container: str) -> None:
        self._step(f"remove {container[-8:]}", lambda: super(MortalHost, self).remove(container))

    @contextmanager
    def engine(self, what: str) -> Iterator[APIClient]:
        with super().engine(what) as api:
            yield api
        if what.startswith(("make volume", "put files", "remove volume", "import")):
            self._step(what[:16], lambda: None)


@pytest.fixture
def kept(stage: Stage, tmp_path: Path) -> None:
    folder = tmp_path / "secrets" / "tests"
    folder.mkdir(parents=True)
    (folder / "key").write_text(VALUE)
    stage.settings = stage.settings.model_copy(update={"secrets_dir": tmp_path / "secrets"})


def whole(stage: Stage, runs: Runs) -> RunContainer:
    """An attempt with all there is: two others, volumes, a part of one, a secret."""
    return company(
        stage,
        runs,
        "cat /data/first; echo ran >> /part/runs; cat /part/runs; cat /key",
        extra("first", "echo first >> /data/first; sleep 600", start="before", mounts=DATA),
        extra("last", "sleep 600"),
        volumes=[{"name": "data", "kind": "shared", "size": "16MiB"}],
        mounts=[*DATA, {"volume": "data", "path": "/part", "sub_path": "part"}],
        secrets={"key": {"from": "key", "as": {"file": "/key"}}},
        stop_grace_seconds=0,
    )


def die_after(stage: Stage, run: RunContainer, steps: int) -> list[str]:
    """Run an attempt by a worker that dies; what it had done by then."""
    host = MortalHost.from_settings(stage.settings)
    assert isinstance(host, MortalHost)
    host.steps, host.done = steps, []
    attempt = Attempt(host, stage.store, run, lambda found: Means.of(found, stage.settings))
    try:
        attempt.execute()
    except Killed:
        pass
    finally:
        host.close()
    return host.done


@pytest.mark.timeout(900)
def test_killed_after_any_step_it_is_taken_up(
    stage: Stage, runs: Runs, kept: None, tmp_path: Path
) -> None:
    steps = len(die_after(stage, whole(stage, runs), 1_000_000))
    assert steps > 20
    for step in range(1, steps):
        run = whole(stage, runs)
        done = die_after(stage, run, step)
        result = stage.execute(run)
        assert result.reason is EndReason.NORMAL, (done, result.message)
        assert result.last_lines.count("ran") == 1, done
        assert result.last_lines[-1] == "********", done
        assert stage.leftovers() == [], done
        assert stage.groups(run) == [], done


@pytest.mark.parametrize("step", [3, 9, 12, 17])
def test_what_nobody_takes_up_is_reaped(stage: Stage, runs: Runs, kept: None, step: int) -> None:
    run = whole(stage, runs)
    done = die_after(stage, run, step)
    assert stage.leftovers() != [], done
    reap(stage)
    assert stage.leftovers() == [], done
    assert stage.groups(run) == [], done


def test_the_logs_of_what_is_reaped_are_kept_without_the_secret(
    stage: Stage, runs: Runs, kept: None
) -> None:
    say = "cat /key; echo; echo up; sleep 600"
    run = company(
        stage,
        runs,
        say,
        extra("side", "echo side; sleep 600"),
        secrets={"key": {"from": "key", "as": {"file": "/key"}}},
    )
    playing = stage.play(run)
    until(lambda: _says(playing.attempt, stage, run), "all have spoken", playing)
    playing.let_go()
    reap(stage)
    assert tail_lines(stage.store, run.key.log_key(), 2) == ["********", "up"]
    assert stage.log(run, "side") == "side\n"
    assert stage.leftovers() == []


def _says(attempt: Attempt, stage: Stage, run: RunContainer) -> bool:
    attempt.flush_log()
    return "up" in stage.log(run) and "side" in stage.log(run, "side")


def reap(stage: Stage) -> None:
    """As the host's watch does for attempts whose workflow is over."""
    found = stage.host.list_ours()
    for one in [*found, *abandoned_volumes(stage.host, found)]:
        key = key_from_labels(one.labels)
        assert key is not None
        salvage(stage.host, stage.store, one, key)
