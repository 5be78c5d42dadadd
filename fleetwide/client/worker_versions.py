"""Builds of the control workers."""

from fleetwide.client.transport import Transport, segment
from fleetwide.models.worker_versions import Promotion, VersionMove, WorkerVersion, WorkerVersions

PATH = "/v1/worker-versions"


class WorkerVersionClient:
    """Which build gets runs; each change is kept with who asked for it, and why."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> WorkerVersions:
        """All builds, the one in use first."""
        return self._transport.get(PATH, WorkerVersions)

    def get(self, build_id: str) -> WorkerVersion:
        """One build; ``unversioned`` stands for the workers without one."""
        return self._transport.get(f"{PATH}/{segment(build_id)}", WorkerVersion)

    def promote(self, build_id: str, promotion: Promotion) -> WorkerVersions:
        """Give the build all new runs and all that are not pinned, or a part of them."""
        path = f"{PATH}/{segment(build_id)}/promote"
        return self._transport.post(path, WorkerVersions, body=promotion)

    def rollback(self, move: VersionMove) -> WorkerVersions:
        """End the ramp; where there is none, go back to the build that was current before."""
        return self._transport.post(f"{PATH}/rollback", WorkerVersions, body=move)

    def delete(self, build_id: str, *, by: str, reason: str) -> None:
        """Forget a build that is drained and that no worker polls for."""
        self._transport.delete(f"{PATH}/{segment(build_id)}", {"by": by, "reason": reason})
