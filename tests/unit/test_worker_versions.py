"""Builds of the control workers: what may be done with them, and which runs stay where."""

import inspect
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from temporalio.workflow._definition import _Definition

from fleetwide.errors import Conflict, NotFound
from fleetwide.fleet import worker_versions
from fleetwide.models.worker_versions import VersionState, WorkerVersion, WorkerVersions
from fleetwide.settings import UNVERSIONED, Settings
from fleetwide.temporal.versioning import AUTO_UPGRADE, BEHAVIOURS, PINNED, version_of
from fleetwide.temporal.worker import WorkerRole, _runner
from workers.registry import WORKFLOWS
from workflows.unknown import KNOWN

GUIDE = Path(__file__).parents[2] / "docs/guides/upgrades.md"
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


def version(build_id: str, state: VersionState, **more: Any) -> WorkerVersion:
    return WorkerVersion(build_id=build_id, state=state, **{"pollers": 1, **more})


def found(*items: WorkerVersion) -> WorkerVersions:
    current = next((each.build_id for each in items if each.state is VersionState.CURRENT), "")
    return WorkerVersions(deployment="fleetwide", current=current, items=list(items))


ONE = version("one", VersionState.DRAINING, last_current_at=LONG_AGO, pinned=2)
TWO = version("two", VersionState.CURRENT, last_current_at=LONG_AGO + timedelta(days=1))
THREE = version("three", VersionState.INACTIVE)


def test_every_workflow_type_has_a_behaviour() -> None:
    assert set(BEHAVIOURS) == set(KNOWN)


def test_the_guide_tells_the_behaviour_of_every_type() -> None:
    lines = GUIDE.read_text().splitlines()
    for behaviour, word in ((PINNED, "pinned"), (AUTO_UPGRADE, "auto-upgrade")):
        [row] = [line for line in lines if line.startswith(f"| {word} |")]
        told = set(re.findall(r"`(\w+)`", row))
        assert told == {name for name, each in BEHAVIOURS.items() if each is behaviour}


def test_what_continues_as_new_is_never_pinned() -> None:
    """A chain of runs would stay on its build for ever."""
    for cls in WORKFLOWS:
        name = _Definition.must_from_class(cls).name
        if name is not None and BEHAVIOURS[name] is PINNED:
            source = inspect.getsource(sys.modules[cls.__module__])
            assert "continue_as_new(" not in source, name
    assert BEHAVIOURS["ContainerService"] is AUTO_UPGRADE


def test_no_workflow_tells_a_behaviour_by_itself() -> None:
    """Workers without a build id would tell it too, and the server refuses that."""
    for cls in WORKFLOWS:
        assert not _Definition.must_from_class(cls).versioning_behavior, cls


def test_a_worker_has_a_version_only_with_a_build_id() -> None:
    assert version_of(Settings(build_id=None)) is None
    told = version_of(Settings(build_id="1.4.0", deployment="west"))
    assert told is not None
    assert (told.deployment_name, told.build_id) == ("west", "1.4.0")
    plain, versioned = (WorkerRole("q", WORKFLOWS, version=each) for each in (None, told))
    assert _runner(plain) != _runner(versioned)


@pytest.mark.parametrize("build_id", ["", "a:b", "__x", "a b", "x" * 101, UNVERSIONED, 'a"b'])
def test_what_cannot_be_a_build_id_is_refused(build_id: str) -> None:
    with pytest.raises(ValidationError):
        Settings(build_id=build_id)


def test_a_build_that_nobody_polls_is_not_promoted() -> None:
    assert worker_versions.require_promotable(found(TWO, THREE), "three", 10) is THREE
    with pytest.raises(NotFound) as unknown:
        worker_versions.require_promotable(found(TWO), "four", None)
    assert unknown.value.hint == "FLEETWIDE_BUILD_ID=four fleetwide worker control"
    gone = THREE.model_copy(update={"pollers": 0})
    with pytest.raises(Conflict, match="no worker polls as build three"):
        worker_versions.require_promotable(found(TWO, gone), "three", None)
    for percent in (None, 10):
        with pytest.raises(Conflict, match="is current already"):
            worker_versions.require_promotable(found(TWO, THREE), "two", percent)


def test_a_rollback_ends_a_ramp_or_goes_to_the_build_that_was_current_last() -> None:
    ramping = THREE.model_copy(update={"state": VersionState.RAMPING})
    assert worker_versions.rollback_target(found(TWO, ramping, ONE)) is None
    older = version("zero", VersionState.DRAINED, last_current_at=LONG_AGO - timedelta(days=9))
    assert worker_versions.rollback_target(found(TWO, THREE, older, ONE)) is ONE
    unversioned = version(UNVERSIONED, VersionState.INACTIVE)
    assert worker_versions.rollback_target(found(TWO, THREE, unversioned)) is unversioned
    with pytest.raises(Conflict, match="nothing to go back to"):
        worker_versions.rollback_target(found(TWO, THREE))
    stopped = ONE.model_copy(update={"pollers": 0})
    with pytest.raises(Conflict, match="no worker polls as build one"):
        worker_versions.rollback_target(found(TWO, stopped))


@pytest.mark.parametrize(
    ("item", "why"),
    [
        (TWO, "is current"),
        (ONE, "2 runs are pinned to it"),
        (version("old", VersionState.DRAINED), "stop them first"),
        (version(UNVERSIONED, VersionState.INACTIVE), "have no version"),
    ],
)
def test_what_is_needed_is_not_deleted(item: WorkerVersion, why: str) -> None:
    with pytest.raises(Conflict, match=why):
        worker_versions.require_deletable(found(item), item.build_id)


def test_what_nobody_needs_is_deleted() -> None:
    drained = version("old", VersionState.DRAINED, pollers=0)
    assert worker_versions.require_deletable(found(TWO, drained), "old") is drained


def test_runs_that_fail_are_counted_under_the_build_that_got_runs_last() -> None:
    items = [ONE, TWO, THREE]
    assert [(x.build_id, x.failing) for x in worker_versions.with_warnings(items, 4)] == [
        ("two", 4),
        ("one", 0),
        ("three", 0),
    ]
    ramping = THREE.model_copy(update={"state": VersionState.RAMPING, "failing": 1})
    told = worker_versions.with_warnings([ONE, ramping, TWO], 4)
    assert [(x.build_id, x.failing) for x in told] == [("two", 0), ("three", 5), ("one", 0)]
    assert told[1].warning.startswith("5 runs are failing on it")


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (TWO, ""),
        (TWO.model_copy(update={"failing": 1}), "1 run is failing on it"),
        (TWO.model_copy(update={"pollers": 0}), "it gets runs but no worker polls"),
        (ONE.model_copy(update={"pollers": 0}), "2 runs are pinned to it and stand still"),
        (version("old", VersionState.DRAINED, pollers=0), ""),
    ],
)
def test_what_stands_still_is_told(item: WorkerVersion, words: str) -> None:
    told = worker_versions.warning(item)
    assert told.startswith(words)
    assert bool(told) is bool(words)
