"""Hosts as the API shows them: what they offer, what is taken, what their machines have."""

from collections.abc import Collection
from datetime import UTC, datetime

from sqlmodel import Session

from api.links import ui_page
from fleetwide.models.documents import HostDocument
from fleetwide.models.hosts import HostFacts
from fleetwide.settings import Settings
from fleetwide.store import disruption_views, grants, host_images, host_quality, hosts, standings
from fleetwide.store.fleet_tables import HostStandingRow
from fleetwide.store.grants import Held
from fleetwide.store.hosts import Taken
from fleetwide.store.tables import HostRow


def host_documents(
    session: Session, settings: Settings, rows: Collection[HostRow]
) -> list[HostDocument]:
    """The rows with what live attempts hold of each."""
    taken, held = hosts.taken(session), grants.held(session)
    faults = host_quality.faults(session, now=datetime.now(UTC))
    stand = standings.standings(session)
    return [
        _document(
            settings, row, taken.get(row.host_id, Taken()), held.get(row.host_id, Held())
        ).model_copy(
            update={
                "faults": faults.get(row.host_id, 0),
                **_standing(stand.get(row.host_id) or HostStandingRow(host_id=row.host_id)),
            }
        )
        for row in rows
    ]


def _standing(row: HostStandingRow) -> dict[str, object]:
    silent_since = row.silent_since
    return {"wanted": row.wanted, "by": row.by, "reason": row.reason, "silent_since": silent_since}


def host_details(session: Session, settings: Settings, row: HostRow) -> HostDocument:
    """One host, with its machine and the images that it holds."""
    [document] = host_documents(session, settings, [row])
    machine = HostFacts.model_validate(row.machine) if row.machine else None
    images = host_images.of(session, row.host_id)
    held_back = disruption_views.held_back(session, row.host_id)
    more = {"machine": machine, "images": images, "held_back": held_back}
    return document.model_copy(update=more)


def _document(settings: Settings, row: HostRow, taken: Taken, held: Held) -> HostDocument:
    return HostDocument(
        host_id=row.host_id,
        state=row.state,
        tasks=taken.tasks,
        cpu=row.cpu_milli / 1000,
        cpu_reserved=taken.cpu_milli / 1000,
        memory=row.memory_bytes,
        memory_reserved=taken.memory_bytes,
        pressure=row.pressure,
        disk=row.disk_bytes,
        disk_reserved=taken.disk_bytes,
        network=row.network_mbps,
        network_reserved=taken.network_mbps,
        gpus=row.gpus,
        gpus_reserved=sorted(held.devices),
        ports=f"{row.first_port}-{row.last_port}",
        ports_reserved=sorted(held.ports),
        labels=row.labels,
        docker_version=row.docker_version,
        registered_at=row.registered_at,
        seen_at=row.seen_at,
        links={"ui": ui_page(settings, f"host/{row.host_id}", "").rstrip("/")},
    )
