"""Services."""

from collections.abc import Mapping

from fleetwide.client.transport import Query, Transport, segment
from fleetwide.models.documents import Operation, Page
from fleetwide.models.revisions import ServicePlan
from fleetwide.models.service_documents import (
    ActivityDocument,
    CopyDocument,
    NewService,
    RevisionDocument,
    ServiceDocument,
    ServiceState,
)
from fleetwide.models.service_moves import (
    CopyTermination,
    DeployRequest,
    ServiceAttributes,
    ServiceMove,
    ServiceProcesses,
    ServiceRollback,
    ServiceScale,
    ServiceSwitch,
    TaskMove,
)

ROOT = "/v1/services"


class ServiceClient:
    """Long-running containers that are kept up, deployed, scaled and moved."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, new: NewService) -> Operation:
        """Start a service; it lives until it is deleted."""
        return self._transport.post(ROOT, Operation, body=new)

    def list(
        self,
        *,
        app: str | None = None,
        owner: str | None = None,
        states: list[ServiceState] | None = None,
        labels: Mapping[str, str] | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[ServiceDocument]:
        """Services by name; those that are not deleted, unless states are given."""
        query: Query = {
            "app": app,
            "owner": owner,
            "state": [state.value for state in states or []] or None,
            "label": [f"{name}={value}" for name, value in (labels or {}).items()],
            "cursor": cursor,
            "limit": limit,
        }
        return self._transport.get(ROOT, Page[ServiceDocument], query)

    def get(self, name: str) -> ServiceDocument:
        """One service: what is wanted of it, how far it is, what it waits for."""
        return self._transport.get(_path(name), ServiceDocument)

    def copies(
        self, name: str, *, ended: bool = False, cursor: str | None = None, limit: int = 200
    ) -> Page[CopyDocument]:
        """The copies, newest first."""
        query: Query = {"ended": ended or None, "cursor": cursor, "limit": limit}
        return self._transport.get(_path(name, "copies"), Page[CopyDocument], query)

    def revisions(
        self, name: str, *, cursor: str | None = None, limit: int = 50
    ) -> Page[RevisionDocument]:
        """The versions of the spec, newest first."""
        query: Query = {"cursor": cursor, "limit": limit}
        return self._transport.get(_path(name, "revisions"), Page[RevisionDocument], query)

    def activity(
        self, name: str, *, cursor: str | None = None, limit: int = 50
    ) -> Page[ActivityDocument]:
        """What was done to the service, newest first."""
        query: Query = {"cursor": cursor, "limit": limit}
        return self._transport.get(_path(name, "activity"), Page[ActivityDocument], query)

    def deploy(self, name: str, request: DeployRequest) -> ServiceDocument:
        """A new version of the spec."""
        return self._transport.put(_path(name), ServiceDocument, request)

    def plan(self, name: str, request: DeployRequest) -> ServicePlan:
        """What ``deploy`` of the same request would do now."""
        return self._transport.post(_path(name, "plan"), ServicePlan, body=request)

    def scale(self, name: str, request: ServiceScale) -> ServiceDocument:
        """Change how many copies there are; what is not given stays."""
        return self._post(name, "scale", request)

    def switch(self, name: str, request: ServiceSwitch) -> ServiceDocument:
        """Let things scale the service by themselves, or not."""
        return self._post(name, "enabled", request)

    def processes(self, name: str, request: ServiceProcesses) -> ServiceDocument:
        """What nobody may do to ``desired`` until it is allowed again."""
        return self._post(name, "processes", request)

    def attributes(self, name: str, request: ServiceAttributes) -> ServiceDocument:
        """Change owner and labels, without a revision or a restart."""
        return self._post(name, "attributes", request)

    def pause(self, name: str, move: ServiceMove) -> ServiceDocument:
        """Hold the deploy."""
        return self._post(name, "pause", move)

    def resume(self, name: str, move: ServiceMove) -> ServiceDocument:
        """Let a paused deploy go on."""
        return self._post(name, "resume", move)

    def promote(self, name: str, move: ServiceMove) -> ServiceDocument:
        """Let the new version have everything."""
        return self._post(name, "promote", move)

    def abort(self, name: str, move: ServiceMove) -> ServiceDocument:
        """Give the deploy up where it stands."""
        return self._post(name, "abort", move)

    def rollback(self, name: str, request: ServiceRollback) -> ServiceDocument:
        """Back to an earlier revision."""
        return self._post(name, "rollback", request)

    def terminate_copy(self, name: str, request: CopyTermination) -> ServiceDocument:
        """End one copy, and perhaps want one less."""
        return self._post(name, "terminate-copy", request)

    def move_task(self, name: str, request: TaskMove) -> ServiceDocument:
        """Let a running copy be one of another service; the answer is the one that it leaves."""
        return self._post(name, "move-task", request)

    def delete(self, name: str, move: ServiceMove) -> None:
        """Stop all copies and end the service."""
        query: Query = {"reason": move.reason, "by": move.by or None}
        self._transport.delete(_path(name), query)

    def _post(self, name: str, what: str, body: ServiceMove) -> ServiceDocument:
        return self._transport.post(_path(name, what), ServiceDocument, body=body)


def _path(name: str, part: str = "") -> str:
    page = f"{ROOT}/{segment(name)}"
    return f"{page}/{part}" if part else page
