"""The client's methods for operating system releases, their lines and their schedules."""

from fleetwide.client.transport import Query, Transport, segment
from fleetwide.models.baseos import OSImageSpec
from fleetwide.models.containers import KillRequest
from fleetwide.models.documents import ChannelDocument, Operation, Page, ReleaseDocument
from fleetwide.models.os_documents import (
    DocumentEntry,
    LineSchedule,
    ReleaseDiff,
    ScheduleDocument,
)
from fleetwide.models.os_locks import Lock
from fleetwide.models.os_releases import ChannelMove, PromoteRequest, StandRequest
from fleetwide.models.os_reports import RetentionRequest


class OSClient:
    """Operating system releases. A pointer is a version, a channel or a digest."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.schedules = ScheduleClient(transport)

    def build(self, spec: OSImageSpec, *, wait: float = 0) -> Operation:
        """Start a build; waits up to ``wait`` seconds for the candidate.

        When nothing has changed, the operation's result is the release that there is already.
        """
        return self._transport.post("/v1/os/builds", Operation, wait=wait, body=spec)

    def plan(self, spec: OSImageSpec, *, wait: float = 0) -> Operation:
        """Look what a build would do; the operation's result is a ``PlanPreview``."""
        return self._transport.post("/v1/os/plans", Operation, wait=wait, body=spec)

    def list(
        self, *, name: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> Page[ReleaseDocument]:
        query: Query = {"name": name, "cursor": cursor, "limit": limit}
        return self._transport.get("/v1/os/releases", Page[ReleaseDocument], query)

    def get(self, name: str, pointer: str) -> ReleaseDocument:
        return self._transport.get(self._path(name, pointer), ReleaseDocument)

    def promote(
        self, name: str, pointer: str, request: PromoteRequest | None = None
    ) -> ReleaseDocument:
        """Let the stable channel point at the release."""
        body = request or PromoteRequest()
        return self._transport.post(
            self._path(name, pointer, "promote"), ReleaseDocument, body=body
        )

    def hold(self, name: str, pointer: str, request: StandRequest) -> ReleaseDocument:
        return self._stand(name, pointer, "hold", request)

    def unhold(self, name: str, pointer: str, request: StandRequest) -> ReleaseDocument:
        return self._stand(name, pointer, "unhold", request)

    def revoke(self, name: str, pointer: str, request: StandRequest) -> ReleaseDocument:
        return self._stand(name, pointer, "revoke", request)

    def retire(self, name: str, pointer: str, request: StandRequest) -> ReleaseDocument:
        return self._stand(name, pointer, "retire", request)

    def cancel(self, name: str, pointer: str, reason: str) -> Operation:
        """Stop a build, or withdraw a candidate."""
        body = KillRequest(reason=reason)
        return self._transport.post(self._path(name, pointer, "cancel"), Operation, body=body)

    def lock(self, name: str, pointer: str) -> Lock:
        """Every package of the release."""
        return self._transport.get(self._path(name, pointer, "lock"), Lock)

    def diff(self, name: str, pointer: str, against: str | None = None) -> ReleaseDiff:
        """What changed since ``against``; unset means since the parent."""
        path = self._path(name, pointer, "diff")
        return self._transport.get(path, ReleaseDiff, {"against": against})

    def documents(self, name: str, pointer: str) -> Page[DocumentEntry]:
        """SBOMs, provenance and its signature."""
        return self._transport.get(self._path(name, pointer, "documents"), Page[DocumentEntry])

    def document(self, name: str, pointer: str, file: str) -> bytes:
        """One of ``documents`` by its name, byte for byte."""
        path = self._path(name, pointer, "documents")
        return self._transport.content(f"{path}/{segment(file)}")

    def console(self, name: str, pointer: str) -> str:
        """What the VM said on its serial console in the boot test."""
        return self._transport.text(self._path(name, pointer, "console"))

    def fixes(self, name: str, pointer: str, *, wait: float = 0) -> Operation:
        """Look for published fixes; the operation's result is a ``FixesReport``."""
        return self._transport.post(self._path(name, pointer, "fixes"), Operation, wait=wait)

    def reproduce(self, name: str, pointer: str, *, wait: float = 0) -> Operation:
        """Build the release again; the operation's result is a ``ReproductionReport``."""
        path = self._path(name, pointer, "reproduction")
        return self._transport.post(path, Operation, wait=wait)

    def channels(self, name: str | None = None) -> Page[ChannelDocument]:
        return self._transport.get("/v1/os/channels", Page[ChannelDocument], {"name": name})

    def history(self, name: str, *, limit: int = 50) -> Page[ChannelMove]:
        """The moves of a line's channels, newest first."""
        path = f"/v1/os/channels/{segment(name)}/history"
        return self._transport.get(path, Page[ChannelMove], {"limit": limit})

    def retain(self, request: RetentionRequest, *, wait: float = 0) -> Operation:
        """Retire what the policy lets go; the operation's result is a ``RetentionReport``."""
        return self._transport.post("/v1/os/retention", Operation, wait=wait, body=request)

    def _stand(self, name: str, pointer: str, verb: str, request: StandRequest) -> ReleaseDocument:
        return self._transport.post(self._path(name, pointer, verb), ReleaseDocument, body=request)

    def _path(self, name: str, pointer: str, part: str = "") -> str:
        page = f"/v1/os/releases/{segment(name)}/{segment(pointer)}"
        return f"{page}/{part}" if part else page


class ScheduleClient:
    """What lines do by themselves."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def put(self, line: LineSchedule) -> ScheduleDocument:
        """Create or change the schedules of the spec's line."""
        return self._transport.put(self._path(line.spec.name), ScheduleDocument, line)

    def list(self) -> Page[ScheduleDocument]:
        return self._transport.get("/v1/os/schedules", Page[ScheduleDocument])

    def get(self, name: str) -> ScheduleDocument:
        return self._transport.get(self._path(name), ScheduleDocument)

    def pause(self, name: str, request: StandRequest) -> ScheduleDocument:
        return self._transport.post(f"{self._path(name)}/pause", ScheduleDocument, body=request)

    def resume(self, name: str, request: StandRequest) -> ScheduleDocument:
        return self._transport.post(f"{self._path(name)}/resume", ScheduleDocument, body=request)

    def remove(self, name: str) -> None:
        self._transport.delete(self._path(name))

    def _path(self, name: str) -> str:
        return f"/v1/os/schedules/{segment(name)}"
