import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from fleetwide.baseos.provenance import (
    BUILD_TYPE,
    BuildOutput,
    BuildRun,
    check_provenance,
    provenance_statement,
)
from fleetwide.errors import ArtifactRejected
from fleetwide.models.baseos import Architecture, BuildPlan, OSImageSpec
from fleetwide.models.os_locks import Lock, LockRef
from fleetwide.models.os_releases import LockedPlan
from tests.unit.locked import DIGEST, small_set

DISK = "sha256:" + "12" * 32
LOCK = "sha256:" + "34" * 32
START = datetime(2026, 11, 22, 13, 0, tzinfo=timezone(timedelta(hours=1)))
RUN = BuildRun(
    builder_id="https://builds.example.org/fleetwide",
    builder_versions={"fleetwide": "0.1.0", "mmdebstrap": "1.3.5"},
    invocation_id="os-baseos-20261122.1/0199",
    started_at=START,
    finished_at=datetime(2026, 11, 22, 12, 5, 1, 999, tzinfo=UTC),
)


def locked_plan() -> LockedPlan:
    spec = OSImageSpec(name="baseos", suite="bookworm", packages=["curl"])
    plan = BuildPlan(
        workflow_id="os-baseos",
        spec=spec,
        name="baseos",
        version="20261122.1",
        repository="os/baseos",
        tag="20261122.1",
    )
    reference = LockRef(
        digest=LOCK, package_count=6, size=6000, security_digest=DIGEST, resolved_at=START
    )
    return LockedPlan(plan=plan, lock=reference, build_key="key", source_date_epoch=1_700_000_000)


def statement() -> bytes:
    packages = small_set()
    lock = Lock(suite="bookworm", architecture=Architecture.AMD64, sources=[], packages=packages)
    outputs = [BuildOutput(name="container", digest=DIGEST), BuildOutput(name="disk", digest=DISK)]
    return provenance_statement(locked_plan(), lock, outputs, RUN)


def test_the_statement_names_what_was_built() -> None:
    document = json.loads(statement())
    assert document["_type"] == "https://in-toto.io/Statement/v1"
    assert document["predicateType"] == "https://slsa.dev/provenance/v1"
    assert document["subject"] == [
        {"name": "container", "digest": {"sha256": "ab" * 32}},
        {"name": "disk", "digest": {"sha256": "12" * 32}},
    ]


def test_the_definition_holds_spec_lock_and_every_package() -> None:
    definition = json.loads(statement())["predicate"]["buildDefinition"]
    assert definition["buildType"] == BUILD_TYPE
    spec = definition["externalParameters"]["spec"]
    assert OSImageSpec.model_validate(spec) == locked_plan().plan.spec
    assert definition["internalParameters"] == {
        "release": "baseos:20261122.1",
        "parentRelease": "",
        "buildKey": "key",
        "sourceDateEpoch": 1_700_000_000,
    }
    lock, *packages = definition["resolvedDependencies"]
    assert lock["digest"] == {"sha256": "34" * 32}
    assert [(one["uri"], one["digest"]["sha256"]) for one in packages] == [
        (one.url, one.sha256) for one in small_set()
    ]


def test_the_run_tells_who_and_when_in_utc() -> None:
    details = json.loads(statement())["predicate"]["runDetails"]
    assert details["builder"]["id"] == RUN.builder_id
    assert details["builder"]["version"]["mmdebstrap"] == "1.3.5"
    assert details["metadata"] == {
        "invocationId": "os-baseos-20261122.1/0199",
        "startedOn": "2026-11-22T12:00:00Z",
        "finishedOn": "2026-11-22T12:05:01Z",
    }


def test_the_same_build_has_the_same_statement() -> None:
    assert statement() == statement()


@pytest.mark.parametrize("digest", [DIGEST, DISK])
def test_provenance_stands_for_each_of_its_subjects(digest: str) -> None:
    assert check_provenance(statement(), digest) == json.loads(statement())


def changed(**values: Any) -> bytes:
    return json.dumps({**json.loads(statement()), **values}).encode()


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (statement(), "is not about sha256:5656"),
        (changed(predicateType="https://spdx.dev/Document"), "the statement is https://spdx.dev"),
        (changed(_type="https://in-toto.io/Statement/v0.1"), "the statement is"),
        (changed(subject="all"), "no in-toto statement"),
        (changed(subject=[{"name": "x"}]), "no in-toto statement"),
        (changed(subject=[]), "is not about"),
        (b"[]", "no in-toto statement"),
        (b"\xff", "no in-toto statement"),
    ],
)
def test_what_is_no_provenance_of_the_thing_is_refused(document: bytes, words: str) -> None:
    with pytest.raises(ArtifactRejected, match=words):
        check_provenance(document, "sha256:" + "56" * 32)
