"""Worker versioning: which build a worker is, and which runs move to a newer one.

A worker that is given a build id belongs to one version of the worker deployment, and gets runs
only once that version is promoted. Without a build id nothing here applies.
"""

from dataclasses import replace

from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import (
    UnsandboxedWorkflowRunner,
    WorkerDeploymentConfig,
    WorkflowInstance,
    WorkflowInstanceDetails,
)

from fleetwide.settings import Settings

PINNED, AUTO_UPGRADE = VersioningBehavior.PINNED, VersioningBehavior.AUTO_UPGRADE

# Pinned: what ends by itself within hours, in one run. A version drains as soon as these ended.
# Auto-upgrade: what waits for people, machines or work, runs for days, or continues as new. It
# goes on wherever the current version is, so its changes of commands need patch markers.
BEHAVIOURS: dict[str, VersioningBehavior] = {
    "Bake": PINNED,
    "BakeDistribution": PINNED,
    "BakerySweep": PINNED,
    "BatchJob": AUTO_UPGRADE,
    "CapacityRequest": AUTO_UPGRADE,
    "ContainerService": AUTO_UPGRADE,
    "ContainerTask": AUTO_UPGRADE,
    "Host": AUTO_UPGRADE,
    "HostPool": AUTO_UPGRADE,
    "ImagePreheat": AUTO_UPGRADE,
    "ImageReplication": AUTO_UPGRADE,
    "OSFixesAvailable": PINNED,
    "OSImageBuild": AUTO_UPGRADE,
    "OSImagePlan": PINNED,
    "OSReproduction": PINNED,
    "OSRetention": PINNED,
    "RegistryGarbageCollection": AUTO_UPGRADE,
    "RegistryReconcile": AUTO_UPGRADE,
    "RegistryReplicationSweep": AUTO_UPGRADE,
    "RegistryRetention": AUTO_UPGRADE,
    "RegistryScrub": AUTO_UPGRADE,
    "RepositoryDeletion": AUTO_UPGRADE,
    "TaskErrand": PINNED,
}
"""By workflow type; a type that nobody knows ends at once, wherever it runs."""


class VersionedRunner(UnsandboxedWorkflowRunner):
    """Lets each run tell its type's behaviour; the sandbox runs it for every workflow.

    Standing in ``@workflow.defn`` the behaviour would be told by workers without a build id too,
    and the server then refuses whatever they answer.
    """

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        behaviour = BEHAVIOURS.get(det.defn.name or "", AUTO_UPGRADE)
        defn = replace(det.defn, versioning_behavior=behaviour)
        return super().create_instance(replace(det, defn=defn))


def version_of(settings: Settings) -> WorkerDeploymentVersion | None:
    """The version that this process's workers are; None without a build id."""
    if settings.build_id is None:
        return None
    return WorkerDeploymentVersion(settings.deployment, settings.build_id)


def deployment_config(version: WorkerDeploymentVersion) -> WorkerDeploymentConfig:
    """What the SDK wants to know of a worker of this version."""
    return WorkerDeploymentConfig(
        version=version, use_worker_versioning=True, default_versioning_behavior=AUTO_UPGRADE
    )
