"""Which build of the control workers may be promoted, gone back to or deleted; what is wrong."""

from collections.abc import Sequence

from fleetwide.errors import Conflict, NotFound
from fleetwide.models.worker_versions import VersionState, WorkerVersion, WorkerVersions
from fleetwide.settings import UNVERSIONED

IN_USE = frozenset({VersionState.CURRENT, VersionState.RAMPING})


def require(versions: WorkerVersions, build_id: str) -> WorkerVersion:
    """The build.

    Raises:
        NotFound: no worker has ever polled as it.
    """
    found = versions.get(build_id)
    if found is None:
        raise NotFound(f"no worker has ever polled as build {build_id}", hint=_start(build_id))
    return found


def require_promotable(
    versions: WorkerVersions, build_id: str, percent: float | None
) -> WorkerVersion:
    """The build, when runs may be given to it.

    Raises:
        NotFound: no worker has ever polled as it.
        Conflict: none polls now, or it is what is asked for already.
    """
    version = require(versions, build_id)
    if version.state is VersionState.CURRENT:
        what = "is current already"
        if percent is not None:
            what += "; ramp the other one, or roll back"
        raise Conflict(f"build {build_id} {what}", hint="fleetwide worker-version list")
    if percent is not None and build_id == UNVERSIONED:
        raise Conflict("the workers without a build id can only have all runs or none")
    if not version.pollers:
        raise Conflict(
            f"no worker polls as build {build_id} now: every run would stand still",
            hint=_start(build_id),
        )
    return version


def rollback_target(versions: WorkerVersions) -> WorkerVersion | None:
    """Where a rollback goes: None when it only ends a ramp, else the build that was current last.

    Raises:
        Conflict: there was no other one, or none of its workers polls.
    """
    if any(item.state is VersionState.RAMPING for item in versions.items):
        return None
    earlier = [
        item
        for item in versions.items
        if item.last_current_at is not None and item.state is not VersionState.CURRENT
    ]
    before = max(earlier, key=_last_current, default=versions.get(UNVERSIONED))
    if before is None or before.state is VersionState.CURRENT:
        raise Conflict(
            "no other build was ever current: there is nothing to go back to",
            hint="fleetwide worker-version list",
        )
    return require_promotable(versions, before.build_id, None)


def require_deletable(versions: WorkerVersions, build_id: str) -> WorkerVersion:
    """The build, when nothing needs it any more.

    Raises:
        NotFound: no worker has ever polled as it.
        Conflict: it is in use, not drained, or polled by a worker.
    """
    version = require(versions, build_id)
    hint = f"fleetwide worker-version show {build_id}"
    if build_id == UNVERSIONED:
        raise Conflict("workers without a build id have no version that could be deleted")
    if version.state in IN_USE:
        raise Conflict(f"build {build_id} is {version.state}: promote another one first", hint=hint)
    if version.state is VersionState.DRAINING:
        raise Conflict(
            f"build {build_id} is not drained: {_runs(version.pinned)} pinned to it; Temporal "
            "looks every three minutes whether they ended",
            hint=hint,
        )
    if version.pollers:
        raise Conflict(
            f"workers of build {build_id} polled in the last minute: stop them first", hint=hint
        )
    return version


def with_warnings(items: Sequence[WorkerVersion], moving: int) -> list[WorkerVersion]:
    """The builds, those in use first, each with what is wrong with it.

    ``moving`` runs fail that are not pinned: whichever build got runs last, it is asked to replay
    them.
    """
    in_use = [item for item in items if item.state in IN_USE]
    in_use.sort(key=lambda item: item.state)
    last = in_use[-1].build_id if in_use else ""
    told = []
    for item in [*in_use, *(item for item in items if item.state not in IN_USE)]:
        more = moving if item.build_id == last else 0
        counted = item.model_copy(update={"failing": item.failing + more})
        told.append(counted.model_copy(update={"warning": warning(counted)}))
    return told


def warning(version: WorkerVersion) -> str:
    """What is wrong with a build and what to do; empty when nothing is."""
    build_id = version.build_id
    if version.failing:
        return (
            f"{_runs(version.failing)} failing on it and tried again: promote a build that can "
            "replay them"
        )
    if version.pollers:
        return ""
    start = f"start one: {_start(build_id)}"
    if version.state in IN_USE:
        return f"it gets runs but no worker polls: {start}"
    if version.pinned:
        return f"{_runs(version.pinned)} pinned to it and stand still, as no worker polls: {start}"
    return ""


def _start(build_id: str) -> str:
    name = "" if build_id == UNVERSIONED else f"FLEETWIDE_BUILD_ID={build_id} "
    return f"{name}fleetwide worker control"


def _runs(count: int) -> str:
    return "1 run is" if count == 1 else f"{count} runs are"


def _last_current(version: WorkerVersion) -> float:
    return version.last_current_at.timestamp() if version.last_current_at else 0.0
