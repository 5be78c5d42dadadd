"""``ContainerService`` as later builds may have it: a timer before each look at the copies.

That is another sequence of commands. A file of its own, as the sandbox imports it for each run.
"""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from fleetwide.models.service_documents import ServiceStatus
    from fleetwide.models.service_turns import ServiceTurned
    from fleetwide.models.services import ContainerServiceSpec

from workflows.services import ContainerService

LOOKS_LATER = "service-looks-later"
PAUSE = timedelta(milliseconds=10)


@workflow.defn(name="ContainerService")
class PatchedService(ContainerService):
    """The change stands behind a marker."""

    @workflow.init
    def __init__(self, spec: ContainerServiceSpec) -> None:
        super().__init__(spec)

    @workflow.run
    async def run(self, spec: ContainerServiceSpec) -> ServiceStatus:
        return await super().run(spec)

    async def _turn(self) -> ServiceTurned:
        if workflow.patched(LOOKS_LATER):
            await workflow.sleep(PAUSE, summary=LOOKS_LATER)
        return await super()._turn()


@workflow.defn(name="ContainerService")
class UnmarkedService(ContainerService):
    """Somebody forgot the marker."""

    @workflow.init
    def __init__(self, spec: ContainerServiceSpec) -> None:
        super().__init__(spec)

    @workflow.run
    async def run(self, spec: ContainerServiceSpec) -> ServiceStatus:
        return await super().run(spec)

    async def _turn(self) -> ServiceTurned:
        await workflow.sleep(PAUSE, summary=LOOKS_LATER)
        return await super()._turn()
