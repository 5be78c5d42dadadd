"""``fleetwide task exec|files|fetch|stats``: look into a running task without a way to its host."""

import getpass
import hashlib
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from fleetwide.cli import output
from fleetwide.cli.context import Output, client
from fleetwide.cli.errands import wait_for_report
from fleetwide.cli.exits import Exit
from fleetwide.cli.output import Card, Column, Format, View
from fleetwide.cli.specs import pairs
from fleetwide.errors import InvalidInput, ServiceUnavailable, error_class
from fleetwide.models.documents import Page
from fleetwide.models.errands import (
    MAX_INPUT_BYTES,
    MAX_SAMPLES,
    ErrandEnd,
    ErrandResult,
    Fetched,
    FetchRequest,
    FileEntry,
    OutputStream,
    StatsWork,
    UsageSample,
)

if TYPE_CHECKING:
    from fleetwide.client import Client

TaskId = Annotated[str, typer.Argument(help="The task's id.")]
InContainer = Annotated[str, typer.Argument(metavar="PATH", help="In the container.")]

InOne = Annotated[
    str | None, typer.Option("--container", help="An extra container; unset, the main one.")
]

ENTRIES = View[FileEntry](
    columns=(
        Column("MODE", lambda item: item.mode),
        Column("UID", lambda item: item.uid),
        Column("GID", lambda item: item.gid),
        Column("SIZE", lambda item: item.size),
        Column("MODIFIED", lambda item: item.modified_at),
        Column("NAME", lambda item: _printable(_named(item))),
    ),
    name=lambda item: _printable(item.name),
)


def exec_command(  # noqa: PLR0913 - one parameter per option of the command line
    task_id: TaskId,
    command: Annotated[list[str], typer.Argument(help="What to run, behind --.")],
    *,
    container: InOne = None,
    env: Annotated[list[str] | None, typer.Option(help="NAME=VALUE; repeatable.")] = None,
    user: Annotated[str | None, typer.Option(help="Unset: whoever the task runs as.")] = None,
    folder: Annotated[str | None, typer.Option(help="Where it begins.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds until it is killed.")] = 60.0,
    limit: Annotated[str, typer.Option(help="Bytes kept of each output.")] = "1MiB",
    stdin: Annotated[
        bool | None,
        typer.Option("--stdin/--no-stdin", help="Unset: when a pipe or a file stands there."),
    ] = None,
) -> None:
    """Run a command in a running task; its exit code becomes this command's.

    The command is told in the task's events: pass what is secret by --env or by a pipe.
    """
    from fleetwide.client.errands import exec_request  # noqa: PLC0415

    request = exec_request(
        command,
        env=pairs(env, "--env"),
        stdin=_stdin() if _wants_stdin(stdin) else None,
        container=container,
        user=user,
        folder=folder,
        timeout_seconds=timeout,
        output_limit=limit,
        by=getpass.getuser(),
    )
    with client() as api:
        errand = api.errands.exec(task_id, request).id
        result = _followed(api, errand)
    for name in result.truncated:
        output.note(f"{name} was longer than {limit}: the rest was dropped (--limit)")
    if result.exit_code is None:
        output.failure(f"the command was {result.message}", None)
        raise typer.Exit(Exit.FAILED)
    raise typer.Exit(result.exit_code)


def files(
    task_id: TaskId,
    path: InContainer = "/",
    container: InOne = None,
    style: Output = Format.TABLE,
) -> None:
    """List a folder of a running task."""
    with client() as api:
        found = api.errands.files(task_id, path, container=container, by=getpass.getuser())
    if style in (Format.JSON, Format.YAML):
        output.values(found, style)
    else:
        output.listing(Page(items=found.entries), ENTRIES, style)
    if found.more:
        output.note(f"there are more than {len(found.entries)} entries")


def fetch(
    task_id: TaskId,
    path: InContainer,
    target: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Unset: its own name, .tar for a folder; - is stdout."),
    ] = None,
    limit: Annotated[str, typer.Option(help="Refuse more bytes than this.")] = "1GiB",
    container: InOne = None,
) -> None:
    """Fetch a file from a running task, or a folder as a tar.

    What could do harm when the tar is unpacked is left out: devices, and links out of the folder.
    """
    content = {"path": path, "limit": limit, "container": container, "by": getpass.getuser()}
    with client() as api:
        operation = api.errands.fetch(task_id, FetchRequest.model_validate(content))
        ended = wait_for_report(api, operation, f"fetch {path}")
        fetched = ErrandResult.model_validate(ended).fetched
        assert fetched is not None
        if target == Path("-"):
            api.errands.content(operation.id, sys.stdout.buffer)
            sys.stdout.buffer.flush()
        else:
            _save(api, operation.id, fetched, target or Path(_local_name(fetched)))
    if fetched.left_out:
        output.note(f"{fetched.left_out} entries were left out: devices, or links out of {path}")


def stats(
    task_id: TaskId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on, once a second.")] = False,
    container: InOne = None,
    style: Output = Format.TABLE,
) -> None:
    """Show what a running task takes: CPU, throttling, memory, processes, network, disk."""
    with client() as api:
        if not follow:
            _show_sample(task_id, api.errands.stats(task_id, container=container), style)
            return
        work = StatsWork(samples=MAX_SAMPLES, container=container)
        errand = api.errands.follow_stats(task_id, work).id
        rest = b""
        for item in _until_end(api, errand):
            if isinstance(item, tuple):
                *lines, rest = (rest + item[1]).split(b"\n")
                for line in lines:
                    _print_sample(UsageSample.model_validate_json(line), style)


def _followed(api: "Client", errand: str) -> ErrandResult:
    """Pass the outputs on as they come; the result, or the failure raised."""
    sinks: dict[OutputStream, BinaryIO] = {
        OutputStream.STDOUT: sys.stdout.buffer,
        OutputStream.STDERR: sys.stderr.buffer,
    }
    for item in _until_end(api, errand):
        if isinstance(item, ErrandResult):
            return item
        stream, data = item
        sinks[stream].write(data)
        sinks[stream].flush()
    raise ServiceUnavailable("the output ended without a result")


def _until_end(api: "Client", errand: str) -> Iterator[tuple[OutputStream, bytes] | ErrandResult]:
    """What an errand writes, then its result; its failure is raised, Ctrl-C ends it."""
    try:
        for item in api.errands.output(errand):
            if not isinstance(item, ErrandEnd):
                yield item
            elif item.result is not None:
                yield item.result
            else:
                raise error_class(item.code or "")(item.error or "the errand failed")
    except KeyboardInterrupt:
        api.errands.cancel(errand)
        raise


def _wants_stdin(asked: bool | None) -> bool:
    """Without a word: when there is a pipe or a file, as other programs take their input."""
    if asked is not None:
        return asked
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode)


def _stdin() -> bytes:
    data = sys.stdin.buffer.read(MAX_INPUT_BYTES + 1)
    if len(data) > MAX_INPUT_BYTES:
        raise InvalidInput.for_field("stdin", f"is more than {MAX_INPUT_BYTES} bytes")
    return data


def _local_name(fetched: Fetched) -> str:
    name = "".join(c for c in fetched.name if c.isprintable() and c != "/").lstrip(".") or "fetched"
    return f"{name}.tar" if fetched.folder else name


def _save(api: "Client", errand: str, fetched: Fetched, target: Path) -> None:
    """Write beside the target first, so that what stands there is whole and checked."""
    with tempfile.NamedTemporaryFile(dir=target.absolute().parent, delete=False) as partial:
        try:
            api.errands.content(errand, partial)
            partial.flush()
            _check(Path(partial.name), fetched)
            Path(partial.name).replace(target)
        except BaseException:
            Path(partial.name).unlink(missing_ok=True)
            raise
    output.note(f"{target}: {output.size(fetched.size)}")


def _check(path: Path, fetched: Fetched) -> None:
    with path.open("rb") as written:
        if hashlib.file_digest(written, "sha256").hexdigest() != fetched.sha256:
            raise ServiceUnavailable("what came is not what the host sent", hint="fetch it again")


def _named(item: FileEntry) -> str:
    return item.name if item.target is None else f"{item.name} -> {item.target}"


def _printable(text: str) -> str:
    """Without what could move a cursor: names are whatever a program gave them."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _show_sample(task_id: str, sample: UsageSample, style: Format) -> None:
    periods = f"{sample.throttled_periods} of {sample.periods} periods"
    received, sent = output.size(sample.network_received), output.size(sample.network_sent)
    rows = (
        ("cpu", f"{sample.cpu_percent} % of one CPU, {sample.cpu_seconds:.1f} s in all"),
        ("throttled", f"{periods}, {sample.throttled_seconds:.1f} s"),
        ("memory", f"{output.size(sample.memory)} of {output.size(sample.memory_limit)}"),
        ("memory kills", "-" if sample.oom_kills is None else str(sample.oom_kills)),
        ("processes", str(sample.pids)),
        ("network", f"{received} received, {sent} sent"),
        (
            "disk",
            f"{output.size(sample.disk_read)} read, {output.size(sample.disk_written)} written",
        ),
    )
    output.record(sample, Card(task_id, rows), style)


def _print_sample(sample: UsageSample, style: Format) -> None:
    if style in (Format.JSON, Format.YAML):
        output.data(sample.model_dump_json())
        return
    output.data(
        f"{output.moment(sample.at)}  cpu {sample.cpu_percent:6.1f} %  "
        f"throttled {sample.throttled_periods}/{sample.periods}  "
        f"memory {output.size(sample.memory)}/{output.size(sample.memory_limit)}  "
        f"kills {'-' if sample.oom_kills is None else sample.oom_kills}  pids {sample.pids}  "
        f"net {output.size(sample.network_received)}/{output.size(sample.network_sent)}  "
        f"disk {output.size(sample.disk_read)}/{output.size(sample.disk_written)}"
    )
