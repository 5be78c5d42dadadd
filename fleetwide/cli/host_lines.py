"""How hosts look on a terminal."""

from collections.abc import Iterator
from operator import itemgetter

from fleetwide.cli import output
from fleetwide.cli.output import Card, Column, Section, View
from fleetwide.models.documents import HostDocument
from fleetwide.models.hosts import HostFacts

NOT_COUNTED = "not counted"

HOSTS = View[HostDocument](
    columns=(
        Column("HOST", lambda item: item.host_id),
        Column("STATE", lambda item: item.state),
        Column("TASKS", lambda item: item.tasks),
        Column("CPU", lambda item: f"{item.cpu_reserved:g}/{item.cpu:g}"),
        Column("MEMORY", lambda item: _of(item.memory_reserved, item.memory)),
        Column("DISK", lambda item: _of(item.disk_reserved, item.disk)),
        Column("MBIT/S", lambda item: f"{item.network_reserved}/{_rate(item.network)}", wide=True),
        Column("GPUS", lambda item: f"{len(item.gpus_reserved)}/{len(item.gpus)}", wide=True),
        Column("SEEN", lambda item: item.seen_at),
        Column("WHY", lambda item: item.pressure or item.reason or None, wide=True),
        Column("DOCKER", lambda item: item.docker_version, wide=True),
        Column(
            "LABELS", lambda item: ",".join(f"{k}={v}" for k, v in item.labels.items()), wide=True
        ),
    ),
    name=lambda item: item.host_id,
)


def host_card(host: HostDocument) -> Card:
    """One host: what it offers and what of it is taken, then its machine."""
    rows = (
        ("host", host.host_id),
        ("state", host.state),
        ("wanted", host.wanted if host.wanted != host.state else None),
        ("why", f"{host.reason} ({host.by})" if host.reason and host.by else host.reason or None),
        ("silent since", host.silent_since),
        ("no new work", host.pressure or None),
        ("tasks", host.tasks),
        ("held back", ", ".join(f"{n} {code}" for code, n in host.held_back.items()) or None),
        ("seen", host.seen_at),
        ("registered", host.registered_at),
        ("docker", host.docker_version),
        ("address", (host.machine.address if host.machine else "") or None),
        ("labels", ", ".join(f"{name}={value}" for name, value in sorted(host.labels.items()))),
        ("faults in the last hour", host.faults or None),
        ("images held", len(host.images)),
        ("web ui", host.links.get("ui")),
    )
    sections = [Section("offers", output.table_lines(list(_amounts(host)), AMOUNTS))]
    if host.machine is not None:
        sections.append(Section("limits are kept by", _limits(host.machine)))
    return Card(host.host_id, rows, sections)


Amount = tuple[str, str, str, str, str]
AMOUNTS = tuple(
    Column[Amount](title, itemgetter(place))
    for place, title in enumerate(("RESOURCE", "MACHINE", "KEPT BACK", "OFFERED", "RESERVED"))
)


def _amounts(host: HostDocument) -> Iterator[Amount]:
    """A line for each resource: what there is, what is kept back, offered, and taken."""
    facts = host.machine
    kept = facts.reserve if facts else None
    yield (
        "cpu",
        f"{facts.cpus:g}" if facts else "",
        f"{kept.cpu:g}" if kept else "",
        f"{host.cpu:g}",
        f"{host.cpu_reserved:g}",
    )
    yield (
        "memory",
        output.size(facts.memory) if facts else "",
        output.size(kept.memory) if kept else "",
        output.size(host.memory),
        output.size(host.memory_reserved),
    )
    yield (
        "disk",
        _known(facts.disk) if facts else "",
        output.size(kept.disk) if kept else "",
        _known(host.disk),
        output.size(host.disk_reserved),
    )
    yield (
        "network Mbit/s",
        str(facts.network or "unknown") if facts else "",
        str(kept.network) if kept else "",
        _rate(host.network),
        str(host.network_reserved),
    )
    devices = len(facts.gpus) if facts else ""
    yield ("gpus", str(devices), "", " ".join(host.gpus) or "0", " ".join(host.gpus_reserved))
    yield ("ports", "", "", host.ports, " ".join(map(str, host.ports_reserved)))


def _limits(facts: HostFacts) -> list[str]:
    return [f"{name}: {words}" for name, words in facts.limits.items()]


def _of(taken: int, offered: int | None) -> str:
    return f"{output.size(taken)}/{_known(offered)}"


def _known(count: int | None) -> str:
    return NOT_COUNTED if count is None else output.size(count)


def _rate(offered: int | None) -> str:
    return NOT_COUNTED if offered is None else str(offered)
