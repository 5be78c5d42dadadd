"""What people want of hosts, and the valve on what is given up as lost."""

from fleetwide.client.transport import Transport, segment
from fleetwide.models.defragmentation_documents import DefragmentationDocument
from fleetwide.models.host_moves import (
    DrainRequest,
    HostMove,
    HostRemoval,
    HostStatus,
    ValveState,
)


class FleetClient:
    """Changes of hosts; each is kept with who asked for it, and why."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def cordon(self, host_id: str, move: HostMove) -> HostStatus:
        """Let the host take no new work."""
        return self._post(host_id, "cordon", move)

    def uncordon(self, host_id: str, move: HostMove) -> HostStatus:
        """Let the host take work again; ends a drain."""
        return self._post(host_id, "uncordon", move)

    def phase_out(self, host_id: str, move: HostMove) -> HostStatus:
        """Let the host take work only where no active one does."""
        return self._post(host_id, "phase-out", move)

    def drain(self, host_id: str, request: DrainRequest) -> HostStatus:
        """Begin to empty the host; it is Removable when it is empty."""
        return self._post(host_id, "drain", request)

    def remove(self, host_id: str, request: HostRemoval) -> HostStatus:
        """Take an empty host out of the fleet."""
        return self._post(host_id, "remove", request)

    def valve(self) -> ValveState:
        """Whether nothing is given up as lost now, because many hosts fell silent together."""
        return self._transport.get("/v1/fleet/valve", ValveState)

    def release_valve(self, move: HostMove) -> ValveState:
        """Say that the hosts that are silent now may be given up."""
        return self._transport.post("/v1/fleet/valve/release", ValveState, body=move)

    def defragmentation(self) -> DefragmentationDocument:
        """Which host would be emptied next so that a whole one becomes free, and what stays."""
        return self._transport.get("/v1/fleet/defragmentation", DefragmentationDocument)

    def defragment(self, move: HostMove) -> DefragmentationDocument:
        """Begin a round of it now."""
        path = "/v1/fleet/defragmentation"
        return self._transport.post(path, DefragmentationDocument, body=move)

    def _post(self, host_id: str, what: str, body: HostMove) -> HostStatus:
        path = f"/v1/hosts/{segment(host_id)}/{what}"
        return self._transport.post(path, HostStatus, body=body)
