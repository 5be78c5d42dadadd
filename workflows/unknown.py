"""Answers a workflow type that does not exist, instead of leaving the run hanging for ever."""

from collections.abc import Sequence

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from fleetwide.errors import ErrorCode

KNOWN = (
    "Bake",
    "BakeDistribution",
    "BakerySweep",
    "BatchJob",
    "CapacityRequest",
    "ContainerService",
    "ContainerTask",
    "Host",
    "HostPool",
    "ImagePreheat",
    "ImageReplication",
    "OSFixesAvailable",
    "OSImageBuild",
    "OSImagePlan",
    "OSReproduction",
    "OSRetention",
    "RegistryGarbageCollection",
    "RegistryReconcile",
    "RegistryReplicationSweep",
    "RegistryRetention",
    "RegistryScrub",
    "RepositoryDeletion",
    "TaskErrand",
)


@workflow.defn(dynamic=True)
class UnknownWorkflow:
    """Fails at once and names the types that there are."""

    @workflow.run
    async def run(self, _args: Sequence[RawValue]) -> None:
        raise ApplicationError(
            f"there is no workflow type {workflow.info().workflow_type}; "
            f"there are {', '.join(sorted(KNOWN))}",
            type=ErrorCode.INVALID_INPUT,
            non_retryable=True,
        )
