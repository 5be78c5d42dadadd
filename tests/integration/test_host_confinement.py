"""What a container may do: asked of the container itself, not of what Docker was told."""

from pathlib import Path

import docker
import pytest
from temporalio.testing import ActivityEnvironment

from activities.hosts import HostActivities
from fleetwide.models.containers import AttemptResult, RunContainer
from fleetwide.models.task_states import EndReason
from fleetwide.providers.docker import ContainerHost
from fleetwide.providers.objects import FolderStore
from fleetwide.settings import Settings
from tests.integration.containers_fixtures import Runs

pytestmark = pytest.mark.integration
EFFECTIVE = "while read a b; do [ $a = CapEff: ] && echo $b; done < /proc/self/status; true"
MEBI = 1024**2
CHOWN, NET_RAW, IPC_LOCK = 0, 13, 14
REFUSE_CHDIR = """{"defaultAction": "SCMP_ACT_ALLOW", "syscalls":
 [{"names": ["chdir"], "action": "SCMP_ACT_ERRNO"}]}"""


def execute(
    settings: Settings, host: ContainerHost, store: FolderStore, run: RunContainer
) -> AttemptResult:
    activities = HostActivities(settings, host, store)
    result: AttemptResult = ActivityEnvironment().run(activities.run_container, run)
    return result


@pytest.fixture
def here(
    host_settings: Settings, container_host: ContainerHost, object_store: FolderStore
) -> tuple[Settings, ContainerHost, FolderStore]:
    return host_settings, container_host, object_store


Here = tuple[Settings, ContainerHost, FolderStore]


def capabilities(result: AttemptResult) -> set[int]:
    mask = int(result.last_lines[-1], 16)
    return {bit for bit in range(64) if mask >> bit & 1}


def test_raw_packets_only_when_asked_for(here: Here, runs: Runs) -> None:
    usual = capabilities(execute(*here, runs.shell(EFFECTIVE)))
    assert CHOWN in usual
    assert not usual & {NET_RAW, IPC_LOCK}
    more = runs.shell(EFFECTIVE, security={"add_capabilities": ["NET_RAW", "IPC_LOCK"]})
    assert capabilities(execute(*here, more)) == usual | {NET_RAW, IPC_LOCK}


def test_dropped_capabilities_are_gone(here: Here, runs: Runs) -> None:
    dropped = runs.shell(EFFECTIVE, security={"drop_capabilities": ["CHOWN"]})
    assert CHOWN not in capabilities(execute(*here, dropped))
    none = runs.shell(EFFECTIVE, security={"drop_all_capabilities": True})
    assert capabilities(execute(*here, none)) == set()
    kept = {"drop_all_capabilities": True, "add_capabilities": ["CHOWN"]}
    assert capabilities(execute(*here, runs.shell(EFFECTIVE, security=kept))) == {CHOWN}


def test_it_runs_as_the_user_of_the_spec(here: Here, runs: Runs) -> None:
    ids = "while read a b c; do case $a in Uid:|Gid:) echo $b;; esac; done < /proc/self/status"
    result = execute(*here, runs.shell(ids, security={"user": "1234:4321"}))
    assert result.last_lines == ["1234", "4321"]


def test_an_unknown_user_fails_the_start_and_says_so(here: Here, runs: Runs) -> None:
    result = execute(*here, runs.shell("true", security={"user": "nobody-here"}))
    assert result.reason is EndReason.START_FAILED
    assert "nobody-here" in result.message


def test_a_read_only_root_can_be_written_nowhere_but_in_scratch(here: Here, runs: Runs) -> None:
    text = "echo a > /a; echo root $?; echo a > /work/a; echo scratch $?"
    security = {"read_only_root": True, "scratch": {"/work": "1MiB"}}
    lines = execute(*here, runs.shell(text, security=security)).last_lines
    assert "root 2" in lines
    assert "scratch 0" in lines


def test_scratch_holds_no_more_than_its_size(here: Here, runs: Runs) -> None:
    text = f"head -c {2 * MEBI} /dev/zero > /work/a; echo $?"
    result = execute(*here, runs.shell(text, security={"scratch": {"/work": "1MiB"}}))
    assert "1" in result.last_lines  # Docker may put what head says behind it


def test_shared_memory_has_the_size_of_the_spec(here: Here, runs: Runs) -> None:
    text = "while read a b c d e; do [ $b = /dev/shm ] && echo $d; done < /proc/mounts; true"
    resources = {"memory": "64MiB", "shared_memory": "8MiB"}
    assert "size=8192k" in execute(*here, runs.shell(text, resources=resources)).last_lines[-1]


def test_a_profile_of_the_host_is_enforced(
    here: Here, runs: Runs, tmp_path: Path, container_host: ContainerHost
) -> None:
    (tmp_path / "no-chdir.json").write_text(REFUSE_CHDIR)
    container_host.seccomp_dir = tmp_path
    text = "cd /bin; echo $?"
    assert execute(*here, runs.shell(text)).last_lines[-1] == "0"
    refused = execute(*here, runs.shell(text, security={"seccomp": "no-chdir"}))
    assert "2" in refused.last_lines


def test_a_profile_that_the_host_lacks_is_told_with_those_it_has(
    here: Here, runs: Runs, tmp_path: Path, container_host: ContainerHost
) -> None:
    (tmp_path / "strict.json").write_text("{}")
    container_host.seccomp_dir = tmp_path
    result = execute(*here, runs.shell("true", security={"seccomp": "other"}))
    assert result.reason is EndReason.START_FAILED
    assert "default, strict" in result.message


def test_a_program_that_ignores_sigterm_is_killed_when_its_grace_is_over(
    here: Here, runs: Runs, container_host: ContainerHost, docker_api: docker.APIClient
) -> None:
    run = runs.shell("trap '' TERM; while :; do sleep 0.1; done", stop_grace_seconds=1)
    grace: list[int] = []

    def stop_when_up(_: object) -> None:
        found = container_host.inspect(run.key.container_name())
        if found is not None and found.status == "running" and not grace:
            grace.append(docker_api.inspect_container(found.id)["Config"]["StopTimeout"])
            container_host.stop(found.id)

    environment = ActivityEnvironment()
    environment.on_heartbeat = stop_when_up
    result = environment.run(HostActivities(*here).run_container, run)
    assert result.exit_code == 137
    assert grace == [1]
