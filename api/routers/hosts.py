"""Container hosts: what they offer, what of it is taken, what their machines have."""

from fastapi import APIRouter

from api.deps import PlatformDep
from api.host_documents import host_details, host_documents
from fleetwide.errors import NotFound
from fleetwide.models.documents import HostDocument, Page
from fleetwide.store import hosts
from fleetwide.store.tables import HostRow

router = APIRouter(prefix="/v1", tags=["containers"])


@router.get("/hosts")
def list_hosts(platform: PlatformDep) -> Page[HostDocument]:
    """Container hosts: what they offer and what of it is reserved."""
    with platform.store.read() as session:
        return Page(items=host_documents(session, platform.settings, hosts.listing(session)))


@router.get("/hosts/{host_id}")
def get_host(platform: PlatformDep, host_id: str) -> HostDocument:
    """One host, with its machine, how its limits are kept, and the images that it holds."""
    with platform.store.read() as session:
        row = session.get(HostRow, host_id)
        if row is None:
            raise NotFound(f"there is no host {host_id}", hint="fleetwide host list")
        return host_details(session, platform.settings, row)
