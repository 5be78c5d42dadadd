"""Plans, locked plans and releases of OS builds for tests."""

from datetime import UTC, datetime
from typing import Any

from fleetwide.baseos.plans import make_plan
from fleetwide.models.baseos import BuildPlan, OSImageSpec
from fleetwide.models.os_locks import LockRef
from fleetwide.models.os_releases import LockedPlan, OSRelease
from tests.unit.locked import DIGEST

NOW = datetime(2026, 11, 22, 23, 30, tzinfo=UTC)
EPOCH = 1_795_305_600


def spec_of(**changes: Any) -> OSImageSpec:
    return OSImageSpec.model_validate({"name": "baseos", "suite": "bookworm", **changes})


def plan(parent: str | None = None, **changes: Any) -> BuildPlan:
    return make_plan(spec_of(**changes), "20261122.1", "os/baseos/20261122.1", parent)


def locked(made: BuildPlan | None = None) -> LockedPlan:
    ref = LockRef(digest=DIGEST, package_count=2, size=10, security_digest=DIGEST, resolved_at=NOW)
    return LockedPlan(plan=made or plan(), lock=ref, build_key=DIGEST, source_date_epoch=EPOCH)


def release(version: str = "1", **changes: Any) -> OSRelease:
    given = {
        "name": "baseos",
        "version": version,
        "workflow_id": f"os/baseos/{version}",
        "state": "candidate",
        "distribution": "debian",
        "suite": "bookworm",
        "architecture": "amd64",
        "repository": "baseos/baseos",
        "image_digest": DIGEST,
        "created_at": NOW,
        **changes,
    }
    return OSRelease.model_validate(given)
