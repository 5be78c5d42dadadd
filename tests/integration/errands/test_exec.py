"""Commands in a running task, from the API to the container and back."""

import base64
import json
from pathlib import Path

import httpx2
import psutil
import pytest

from fleetwide.client import Client as ApiClient
from fleetwide.client.errands import exec_request
from fleetwide.errors import Conflict, NotFound, ObjectStoreUnavailable
from fleetwide.models.errands import ErrandEnd, ErrandInput, ErrandResult, ExecWork, OutputStream
from fleetwide.providers.attempt_logs import LogWriter
from fleetwide.providers.container_exec import BoundedOutput, ContainerCommand
from fleetwide.store import events
from tests.integration.containers_fixtures import Runs, TinyRegistry
from tests.integration.errands.conftest import ErrandPlane, RunningTask, book, files_below
from tests.platforms import eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]
SECRET = "hush-7f3a"


class Done:
    """All that one errand told."""

    def __init__(self, api: ApiClient, errand_id: str) -> None:
        self.out, self.err = b"", b""
        self.end: ErrandEnd
        for item in api.errands.output(errand_id):
            if isinstance(item, ErrandEnd):
                self.end = item
            elif item[0] is OutputStream.STDOUT:
                self.out += item[1]
            else:
                self.err += item[1]

    @property
    def result(self) -> ErrandResult:
        assert self.end.result, self.end.error
        return self.end.result


def shell(api: ApiClient, task: RunningTask, script: str, **more: object) -> Done:
    request = exec_request(["/bin/sh", "-c", script], **more)  # type: ignore[arg-type]
    return Done(api, api.errands.exec(task.id, request).id)


def test_both_outputs_and_the_exit_code_come_back(api: ApiClient, task: RunningTask) -> None:
    done = shell(api, task, "echo out; echo err >&2; exit 7")
    assert (done.out, done.err) == (b"out\n", b"err\n")
    assert (done.result.exit_code, done.result.timed_out) == (7, False)


def test_input_reaches_the_command_byte_by_byte(api: ApiClient, task: RunningTask) -> None:
    data = bytes(range(256)) * 2000
    done = shell(api, task, "cat", stdin=data)
    assert done.out == data
    assert done.result.exit_code == 0


def test_a_command_without_input_does_not_wait_for_any(api: ApiClient, task: RunningTask) -> None:
    assert shell(api, task, "cat; echo done").out == b"done\n"


def test_a_program_that_is_not_there_is_the_commands_own_failure(
    api: ApiClient, task: RunningTask
) -> None:
    operation = api.errands.exec(task.id, exec_request(["/no/such"]))
    done = Done(api, operation.id)
    assert done.result.exit_code in (126, 127)
    assert b"/no/such" in done.out + done.err


def test_what_is_over_the_limit_is_dropped_and_told(api: ApiClient, task: RunningTask) -> None:
    done = shell(api, task, "seq 100000; echo short >&2", output_limit=1000)
    whole = "".join(f"{number}\n" for number in range(1, 100001)).encode()
    assert done.out == whole[:1000]
    assert done.result.truncated == [OutputStream.STDOUT]
    assert done.err == b"short\n"
    assert done.result.exit_code == 0


def test_a_command_over_its_time_is_killed_with_its_children(
    api: ApiClient, task: RunningTask
) -> None:
    done = shell(api, task, "sleep 7777 & echo up; sleep 7778", timeout_seconds=1)
    assert done.result.timed_out
    assert done.result.exit_code is None
    assert done.out == b"up\n"
    assert not processes_of("sleep", "7777", "7778")


def test_a_command_that_closes_its_outputs_is_waited_for_and_keeps_its_limit(
    api: ApiClient, task: RunningTask
) -> None:
    done = shell(api, task, "exec >&- 2>&-; sleep 6; exit 4")
    assert done.result.exit_code == 4
    done = shell(api, task, "exec >&- 2>&-; exec sleep 7779", timeout_seconds=1)
    assert done.result.timed_out
    eventually(lambda: not processes_of("sleep", "7779"), 30, "its end")


@pytest.mark.parametrize("broken", ["write", "flush", "go_on"])
def test_a_command_whose_output_cannot_be_kept_is_ended(
    plane: ErrandPlane, task: RunningTask, broken: str
) -> None:
    def fail(*_: object) -> bool:
        raise ObjectStoreUnavailable("away")

    outputs = {
        stream: BoundedOutput(LogWriter(plane.objects, f"broken/{stream}"), 1000)
        for stream in OutputStream
    }
    if broken != "go_on":
        for one in outputs.values():
            setattr(one, broken, fail)
    work = ExecWork(command=["/bin/sh", "-c", "echo up; exec sleep 7780"], timeout_seconds=60)
    command = ContainerCommand(plane.host, task.name, outputs)
    with pytest.raises(ObjectStoreUnavailable):
        command.run(work, ErrandInput(), fail if broken == "go_on" else lambda: True)
    eventually(lambda: not processes_of("sleep", "7780"), 30, "its end")


def test_output_is_seen_while_the_command_goes_on(api: ApiClient, task: RunningTask) -> None:

    script = "for i in 1 2 3; do echo $i; sleep 1; done; while [ ! -e /go ]; do sleep 0.1; done"
    operation = api.errands.exec(task.id, exec_request(["/bin/sh", "-c", script]))
    seen = b""
    for item in api.errands.output(operation.id):
        if isinstance(item, tuple):
            seen += item[1]
            if seen.endswith(b"3\n"):
                # It waits for this: so what it printed was seen before its end.
                assert shell(api, task, ": > /go").result.exit_code == 0
        else:
            assert item.result
            assert item.result.exit_code == 0
    assert seen == b"1\n2\n3\n"


def test_a_cancel_ends_the_command(api: ApiClient, task: RunningTask) -> None:
    operation = api.errands.exec(task.id, exec_request(["/bin/sh", "-c", "echo up; sleep 8888"]))
    for item in api.errands.output(operation.id):
        if isinstance(item, tuple):
            api.errands.cancel(operation.id)
        else:
            assert item.code == "Conflict"
            assert "cancelled" in str(item.error)
    assert not processes_of("sleep", "8888")


def test_secrets_reach_the_command_and_nothing_else(
    api: ApiClient, task: RunningTask, plane: ErrandPlane
) -> None:
    done = shell(
        api, task, 'test "$KEY" = "$(cat)" && echo same', env={"KEY": SECRET}, stdin=SECRET.encode()
    )
    assert done.out == b"same\n"
    history = plane.call(_history(plane, f"errand/{done.result.errand_id}"))
    encoded = base64.b64encode(SECRET.encode()).decode()
    assert done.result.errand_id in history
    for text in (SECRET, encoded):
        assert text not in history
    folder = Path(plane.settings.object_store_url.removeprefix("file:"))
    kept = b"".join(path.read_bytes() for path in files_below(folder))
    assert SECRET.encode() not in kept
    assert encoded.encode() not in kept
    database = Path(plane.settings.database_url.get_secret_value().removeprefix("sqlite:///"))
    for path in database.parent.glob(f"{database.name}*"):
        assert SECRET.encode() not in path.read_bytes()


async def _history(plane: ErrandPlane, workflow_id: str) -> str:
    return (await plane.client.get_workflow_handle(workflow_id).fetch_history()).to_json()


def test_who_ran_what_is_recorded(api: ApiClient, task: RunningTask, plane: ErrandPlane) -> None:
    done = shell(api, task, "true", by="ana", env={"KEY": SECRET})
    with plane.store.read() as session:
        [found] = events.latest(session, "exec", subject=f"task/{task.id}", limit=5)
    assert found.data["by"] == "ana"
    assert found.data["command"] == ["/bin/sh", "-c", "true"]
    assert found.data["errand"] == done.result.errand_id
    assert found.data["host"] == plane.settings.host_id
    assert SECRET not in json.dumps(found.data)


def test_a_task_that_does_not_run_is_refused_at_once(
    api: ApiClient, http: httpx2.Client, plane: ErrandPlane, tiny_registry: TinyRegistry
) -> None:
    with pytest.raises(NotFound, match="no task nothing"):
        api.errands.exec("nothing", exec_request(["true"]))
    run = Runs(tiny_registry.image, plane.settings.host_id).shell("true")
    book(plane, run)
    task_id = run.key.workflow_id.removeprefix("task/")
    done = Done(api, api.errands.exec(task_id, exec_request(["true"])).id)
    assert done.end.code == "Conflict"
    assert "does not run" in str(done.end.error)
    with pytest.raises(Conflict):
        api.errands.stats(task_id)


def test_a_host_that_is_away_is_told(
    api: ApiClient, plane: ErrandPlane, tiny_registry: TinyRegistry
) -> None:
    run = Runs(tiny_registry.image, "away").shell("true")
    book(plane, run)
    task_id = run.key.workflow_id.removeprefix("task/")
    done = Done(api, api.errands.exec(task_id, exec_request(["true"])).id)
    assert done.end.code == "ServiceUnavailable"
    assert "away" in str(done.end.error)
    assert "nothing was done" in str(done.end.error)


def test_a_user_or_folder_that_is_not_there_is_the_requests_fault(
    api: ApiClient, task: RunningTask
) -> None:
    done = shell(api, task, "true", user="nobody-there")
    assert done.end.code == "InvalidInput" or done.result.exit_code in (126, 127)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"command": []}, "command"),
        ({"command": ["a"], "timeout_seconds": 4000}, "timeout_seconds"),
        ({"command": ["a"], "output_limit": "65MiB"}, "output_limit"),
        ({"command": ["a"], "env": {"A=B": "c"}}, "env"),
        ({"command": ["a"], "stdin": base64.b64encode(bytes(2**19 + 1)).decode()}, "stdin"),
        ({"command": ["a"], "folder": "relative"}, "folder"),
        ({"command": ["x" * 20000]}, "command"),
    ],
)
def test_a_request_over_a_limit_names_it(
    http: httpx2.Client, task: RunningTask, body: dict[str, object], field: str
) -> None:
    answer = http.post(f"/v1/tasks/{task.id}/exec", json=body)
    assert answer.status_code == 422
    assert field in answer.text


def processes_of(program: str, *arguments: str) -> list[int]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if line and line[0].endswith(program) and set(line[1:]) & set(arguments):
            found.append(process.pid)
    return found
