"""Errands: control side finds the container and records who asks, the host does the work."""

import hashlib
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from temporalio import activity
from temporalio.exceptions import CancelledError

from fleetwide.containers.company import container_name
from fleetwide.errors import Conflict, NotFound, ServiceUnavailable, UserError
from fleetwide.models.errands import (
    ErrandKind,
    ErrandResult,
    ErrandSpec,
    ExecWork,
    Fetched,
    FetchWork,
    FilesWork,
    OutputStream,
    PlacedErrand,
    StatsWork,
)
from fleetwide.models.extra_containers import MAIN
from fleetwide.providers import errand_objects
from fleetwide.providers.attempt_logs import LogWriter
from fleetwide.providers.container_exec import BoundedOutput, ContainerCommand, ExecEnd
from fleetwide.providers.container_files import Taken, container_root
from fleetwide.providers.container_usage import UsageMeter
from fleetwide.providers.docker import ContainerHost
from fleetwide.providers.objects import ObjectStore
from fleetwide.providers.progress import Throttled, meanwhile
from fleetwide.store import errands
from fleetwide.store.session import Store

FIRST_SAMPLE_SECONDS = 0.5
NAP_SECONDS = 0.5
PIECE = 1 << 20
# What the record of an errand keeps of it; figures are looked at too often to be recorded.
RECORDED = frozenset({ErrandKind.EXEC, ErrandKind.FILES, ErrandKind.FETCH})


class ErrandActivities:
    """Control side: the database, and the object store for what is not needed after all."""

    def __init__(self, store: Store, objects: ObjectStore) -> None:
        self.store = store
        self.objects = objects

    @activity.defn(name="errands.place")
    def place_errand(self, spec: ErrandSpec) -> PlacedErrand:
        """Find the task's container and record who asks for what.

        Raises:
            NotFound, Conflict: the task is not there, or does not run; it is too late.
        """
        errand_id, now = _errand_id(), datetime.now(UTC)
        try:
            if isinstance(spec.work, ExecWork) and errand_objects.is_late(errand_id, now):
                raise Conflict("nobody took the command in time: nothing was done")
            with self.store.write() as session:
                live = errands.live_attempt(session, spec.task_id)
                if spec.work.kind in RECORDED:
                    data = spec.work.model_dump(mode="json", exclude_defaults=True)
                    data |= {"kind": spec.work.kind.value, "errand": errand_id}
                    errands.note(session, live, spec.by, data, now=now)
        except UserError:
            errand_objects.drop_input(self.objects, errand_id)
            raise
        return PlacedErrand(errand_id=errand_id, key=live.key, host_id=live.host_id, work=spec.work)


class HostErrandActivities:
    """One host: its Docker daemon and the object store."""

    def __init__(self, host: ContainerHost, store: ObjectStore) -> None:
        self._host = host
        self._store = store

    @activity.defn(name="errands.run", no_thread_cancel_exception=True)
    def run_errand(self, placed: PlacedErrand) -> ErrandResult:
        """Do the errand; its outputs and files go to the object store while it goes on.

        Raises:
            Conflict: the container does not run (yet, or any more).
            NotFound, InvalidInput, LimitExceeded: what was asked for cannot be had.
        """
        began = datetime.now(UTC)
        result = ErrandResult(
            errand_id=placed.errand_id,
            host_id=self._host.host_id,
            attempt=placed.key.attempt,
            started_at=began,
        )
        try:
            found = self._do(placed, result)
        except NotFound as error:
            if "No such container" in error.message:
                raise Conflict("the container does not run (yet, or any more)") from error
            raise
        return found.model_copy(update={"finished_at": datetime.now(UTC)})

    def _do(self, placed: PlacedErrand, result: ErrandResult) -> ErrandResult:
        work, container = placed.work, _container(placed)
        if isinstance(work, ExecWork):
            return self._exec(placed, work, result)
        if isinstance(work, FilesWork):
            with container_root(self._host, container) as files:
                listing = files.listing(work.path)
            errand_objects.save_listing(self._store, placed.errand_id, listing)
            return result.model_copy(update={"message": f"{len(listing.entries)} entries"})
        if isinstance(work, FetchWork):
            return result.model_copy(update={"fetched": self._fetch(placed, work)})
        return result.model_copy(update={"message": self._measure(placed, work)})

    def _exec(self, placed: PlacedErrand, work: ExecWork, result: ErrandResult) -> ErrandResult:
        outputs = {
            stream: BoundedOutput(self._writer(placed, stream), int(work.output_limit))
            for stream in OutputStream
        }
        given = errand_objects.take_input(self._store, placed.errand_id)
        command = ContainerCommand(self._host, _container(placed), outputs)
        end = command.run(work, given, _goes_on)
        if end.killed:
            _raise_stopped()
        return result.model_copy(
            update={
                "exit_code": end.exit_code,
                "timed_out": end.timed_out,
                "message": _exec_text(end, work),
                "truncated": [stream for stream, one in outputs.items() if one.truncated],
            }
        )

    def _fetch(self, placed: PlacedErrand, work: FetchWork) -> Fetched:
        key = errand_objects.content_key(placed.errand_id)
        # A heartbeat for each of its many small pieces would cost more than they do.
        going = Throttled(_progress)
        with tempfile.TemporaryDirectory(prefix="fleetwide-fetch-") as folder:
            path = Path(folder, "content")
            with (
                path.open("wb") as sink,
                container_root(self._host, _container(placed)) as files,
            ):
                taken = files.fetch(work.path, sink, int(work.limit), lambda: going("read", None))
            fetched = _described(path, taken, lambda: going("hash", None))
            meanwhile(_progress, "store", lambda: self._store.move_file(key, path))
        return fetched

    def _measure(self, placed: PlacedErrand, work: StatsWork) -> str:
        meter = UsageMeter(self._host, _container(placed))
        writer = self._writer(placed, OutputStream.STDOUT)
        due = time.monotonic() + FIRST_SAMPLE_SECONDS
        for number in range(work.samples):
            _sleep_until(due)
            try:
                line = meter.sample().model_dump_json()
            except NotFound:
                return f"the container ended after {number} samples"
            writer.write(f"{line}\n".encode())
            writer.flush()
            due += work.every_seconds
        return f"{work.samples} samples"

    def _writer(self, placed: PlacedErrand, stream: OutputStream) -> LogWriter:
        return LogWriter(self._store, errand_objects.output_key(placed.errand_id, stream))


def _errand_id() -> str:
    found = activity.info().workflow_id
    assert found is not None
    return found.removeprefix("errand/")


def _container(placed: PlacedErrand) -> str:
    return container_name(placed.key, placed.work.container or MAIN)


def _exec_text(end: ExecEnd, work: ExecWork) -> str:
    if end.timed_out:
        return f"killed: it ran longer than {work.timeout_seconds:g} s"
    if end.exit_code is None:
        return "the container ended under it"
    return f"ended with exit code {end.exit_code}"


def _described(path: Path, taken: Taken, go_on: Callable[[], None]) -> Fetched:
    digest = hashlib.sha256()
    with path.open("rb") as content:
        while piece := content.read(PIECE):
            digest.update(piece)
            go_on()
    return Fetched(
        name=taken.name,
        folder=taken.folder,
        size=path.stat().st_size,
        sha256=digest.hexdigest(),
        left_out=taken.left_out,
    )


def _goes_on() -> bool:
    activity.heartbeat()
    return not (activity.is_cancelled() or activity.is_worker_shutdown())


def _go_on_or_raise() -> None:
    if not _goes_on():
        _raise_stopped()


def _progress(_phrase: str, _fraction: float | None) -> None:
    _go_on_or_raise()


def _raise_stopped() -> None:
    details = activity.cancellation_details()
    if details is not None and details.cancel_requested:
        raise CancelledError("the errand was cancelled")
    raise ServiceUnavailable("the host's worker is shutting down", hint="ask again")


def _sleep_until(moment: float) -> None:
    while True:
        _go_on_or_raise()
        left = moment - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(left, NAP_SECONDS))
