"""Errands of a running task: commands, files, figures."""

import base64
from collections.abc import Iterator, Mapping
from typing import IO

from fleetwide.client.transport import Query, Transport, segment
from fleetwide.models.documents import Operation
from fleetwide.models.errands import (
    ErrandEnd,
    ExecRequest,
    FetchRequest,
    FileListing,
    OutputChunk,
    OutputStream,
    StatsWork,
    UsageSample,
)

Output = tuple[OutputStream, bytes]


class ErrandClient:
    """What is done in running tasks from outside their hosts."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def exec(self, task_id: str, request: ExecRequest, *, wait: float = 0) -> Operation:
        """Start a command, once at most; ``output`` follows it."""
        path = f"{_task(task_id)}/exec"
        return self._transport.post(path, Operation, body=request, wait=wait)

    def files(
        self, task_id: str, path: str = "/", *, container: str | None = None, by: str = ""
    ) -> FileListing:
        """The entries of a folder, or the one file."""
        query: Query = {"path": path, "container": container, "by": by}
        return self._transport.get(f"{_task(task_id)}/files", FileListing, query)

    def fetch(self, task_id: str, request: FetchRequest, *, wait: float = 0) -> Operation:
        """Have a file or folder brought to the object store; ``content`` reads it from there."""
        path = f"{_task(task_id)}/fetch"
        return self._transport.post(path, Operation, body=request, wait=wait)

    def stats(self, task_id: str, *, container: str | None = None) -> UsageSample:
        """What the task's container takes at the moment."""
        return self._transport.get(f"{_task(task_id)}/stats", UsageSample, {"container": container})

    def follow_stats(self, task_id: str, work: StatsWork) -> Operation:
        """Measure again and again; each line of the errand's ``stdout`` is a ``UsageSample``."""
        return self._transport.post(f"{_task(task_id)}/stats", Operation, body=work)

    def get(self, errand_id: str) -> Operation:
        return self._transport.get(_errand(errand_id), Operation)

    def output(self, errand_id: str) -> Iterator[Output | ErrandEnd]:
        """What an errand writes, as it comes; the last item is its end."""
        for event in self._transport.events(f"{_errand(errand_id)}/output"):
            if event.event == "end":
                yield ErrandEnd.model_validate_json(event.data)
                return
            if event.event in set(OutputStream):
                chunk = OutputChunk.model_validate_json(event.data)
                yield OutputStream(event.event), chunk.data

    def content(self, errand_id: str, sink: IO[bytes]) -> int:
        """Write what a fetch brought to ``sink``; the number of bytes."""
        return self._transport.download(f"{_errand(errand_id)}/content", sink)

    def cancel(self, errand_id: str) -> Operation:
        """End an errand; a command is killed with what it has started."""
        return self._transport.post(f"{_errand(errand_id)}/cancel", Operation)


def exec_request(
    command: list[str],
    *,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    **more: object,
) -> ExecRequest:
    """A request for a command, its input as plain bytes."""
    content: dict[str, object] = {"command": command, "env": dict(env or {}), **more}
    if stdin is not None:
        content["stdin"] = base64.b64encode(stdin).decode()
    return ExecRequest.model_validate(content)


def _task(task_id: str) -> str:
    return f"/v1/tasks/{segment(task_id)}"


def _errand(errand_id: str) -> str:
    return f"/v1/errands/{segment(errand_id)}"
