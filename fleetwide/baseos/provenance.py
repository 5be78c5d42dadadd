"""How a release was built: SLSA provenance v1 in an in-toto statement v1.

Sources: https://slsa.dev/spec/v1.0/provenance and the in-toto attestation framework's statement.
"""

import json
from collections.abc import Sequence
from datetime import UTC
from typing import Any

from fleetwide.errors import ArtifactRejected
from fleetwide.models.base import Digest, Record, Timestamp
from fleetwide.models.os_locks import Lock, LockedPackage
from fleetwide.models.os_releases import LockedPlan
from fleetwide.registry.digests import canonical_json, hex_of

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
BUILD_TYPE = "urn:fleetwide:build:os-image:v1"
"""The one parameter is the ``spec`` of an ``OSImageBuild``; the lock names all that goes in."""
FILE_NAME = "provenance.intoto.json"


class BuildOutput(Record):
    """One thing that the build made, such as the container or the disk."""

    name: str
    digest: Digest


class BuildRun(Record):
    """Who built it, when, and with what."""

    builder_id: str
    """A URI that names the platform, as the operator knows it."""
    builder_versions: dict[str, str]
    """Program to version."""
    invocation_id: str
    """Workflow id and run id."""
    started_at: Timestamp
    finished_at: Timestamp


def provenance_statement(
    locked: LockedPlan, lock: Lock, outputs: Sequence[BuildOutput], run: BuildRun
) -> bytes:
    """The statement that ``outputs`` came out of ``locked`` and its ``lock`` in ``run``."""
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": one.name, "digest": _sha256(one.digest)} for one in outputs],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"spec": locked.plan.spec.model_dump(mode="json")},
                "internalParameters": _decided(locked),
                "resolvedDependencies": [_lock(locked), *map(_package, lock.packages)],
            },
            "runDetails": {
                "builder": {"id": run.builder_id, "version": run.builder_versions},
                "metadata": {
                    "invocationId": run.invocation_id,
                    "startedOn": _rfc3339(run.started_at),
                    "finishedOn": _rfc3339(run.finished_at),
                },
            },
        },
    }
    return canonical_json(statement)


def _decided(locked: LockedPlan) -> dict[str, Any]:
    """What the platform decided by itself."""
    plan = locked.plan
    return {
        "release": f"{plan.name}:{plan.version}",
        "parentRelease": plan.parent or "",
        "buildKey": locked.build_key,
        "sourceDateEpoch": locked.source_date_epoch,
    }


def _lock(locked: LockedPlan) -> dict[str, Any]:
    return {
        "name": "lock",
        "mediaType": "application/json",
        "digest": _sha256(locked.lock.digest),
    }


def _package(package: LockedPackage) -> dict[str, Any]:
    return {
        "name": f"{package.name} {package.version} {package.architecture}",
        "uri": package.url,
        "digest": {"sha256": package.sha256},
        "annotations": {"faces": [face.value for face in package.faces]},
    }


def _sha256(digest: str) -> dict[str, str]:
    return {"sha256": hex_of(digest)}


def _rfc3339(time: Timestamp) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def check_provenance(statement: bytes, digest: str) -> dict[str, Any]:
    """The statement itself when it is provenance of the thing with ``digest``.

    A good signature alone proves little: it may stand under another image's provenance.

    Raises:
        ArtifactRejected: it is no provenance, or of something else.
    """
    try:
        document = json.loads(statement)
        kind = document["_type"], document["predicateType"]
        digests = [subject["digest"].get("sha256") for subject in document["subject"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactRejected("the document is no in-toto statement") from error
    if kind != (STATEMENT_TYPE, PREDICATE_TYPE):
        raise ArtifactRejected(f"the statement is {kind[1]}, not {PREDICATE_TYPE}")
    if hex_of(digest) not in digests:
        raise ArtifactRejected(f"the provenance is not about {digest}")
    checked: dict[str, Any] = document
    return checked
