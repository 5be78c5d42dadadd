"""``fleetwide host``: container hosts."""

from fleetwide.cli import output
from fleetwide.cli.context import Output, client, noun
from fleetwide.cli.output import Column, Format, View
from fleetwide.models.documents import HostDocument

app = noun("Container hosts.")

HOSTS = View[HostDocument](
    columns=(
        Column("HOST", lambda item: item.host_id),
        Column("STATE", lambda item: item.state),
        Column("CPU", lambda item: f"{item.cpu_reserved:g}/{item.cpu:g}"),
        Column(
            "MEMORY",
            lambda item: f"{output.size(item.memory_reserved)}/{output.size(item.memory)}",
        ),
        Column("SEEN", lambda item: item.seen_at),
        Column("DOCKER", lambda item: item.docker_version, wide=True),
        Column(
            "LABELS", lambda item: ",".join(f"{k}={v}" for k, v in item.labels.items()), wide=True
        ),
    ),
    name=lambda item: item.host_id,
)


@app.callback()
def host() -> None:
    """Container hosts: what they offer and what of it is taken."""


@app.command("list")
def list_hosts(style: Output = Format.TABLE) -> None:
    """List hosts; CPU and memory are reserved/offered."""
    with client() as api:
        output.listing(api.hosts(), HOSTS, style)
