"""How something was built: SLSA provenance v1 in an in-toto statement v1; here, of a release.

Sources: https://slsa.dev/spec/v1.0/provenance and the in-toto attestation framework's statement.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class BuildDefinition:
    """What went into a build."""

    build_type: str
    """A URI that says how the parameters are to be read."""
    external_parameters: Mapping[str, Any]
    """What was asked for."""
    internal_parameters: Mapping[str, Any]
    """What the platform decided by itself."""
    resolved_dependencies: Sequence[Mapping[str, Any]]
    """Resource descriptors of everything that was taken in."""


def slsa_statement(
    definition: BuildDefinition, outputs: Sequence[BuildOutput], run: BuildRun
) -> bytes:
    """The statement that ``outputs`` came out of ``definition`` in ``run``."""
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": one.name, "digest": sha256_set(one.digest)} for one in outputs],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": definition.build_type,
                "externalParameters": dict(definition.external_parameters),
                "internalParameters": dict(definition.internal_parameters),
                "resolvedDependencies": list(definition.resolved_dependencies),
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


def provenance_statement(
    locked: LockedPlan, lock: Lock, outputs: Sequence[BuildOutput], run: BuildRun
) -> bytes:
    """The statement that ``outputs`` came out of ``locked`` and its ``lock`` in ``run``."""
    definition = BuildDefinition(
        build_type=BUILD_TYPE,
        external_parameters={"spec": locked.plan.spec.model_dump(mode="json")},
        internal_parameters=_decided(locked),
        resolved_dependencies=[_lock(locked), *map(_package, lock.packages)],
    )
    return slsa_statement(definition, outputs, run)


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
        "digest": sha256_set(locked.lock.digest),
    }


def _package(package: LockedPackage) -> dict[str, Any]:
    return {
        "name": f"{package.name} {package.version} {package.architecture}",
        "uri": package.url,
        "digest": {"sha256": package.sha256},
        "annotations": {"faces": [face.value for face in package.faces]},
    }


def sha256_set(digest: str) -> dict[str, str]:
    """An OCI digest as in-toto writes it."""
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
