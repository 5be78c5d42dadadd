"""``fleetwide host``: container hosts."""

from typing import Annotated

import typer

from fleetwide.cli import output
from fleetwide.cli.baseos_options import person
from fleetwide.cli.context import Output, client, noun
from fleetwide.cli.host_lines import HOSTS, host_card
from fleetwide.cli.output import Format
from fleetwide.models.host_moves import DrainRequest, HostMove, HostRemoval, HostStatus

app = noun("Container hosts.")


@app.callback()
def host() -> None:
    """Container hosts: what they offer and what of it is taken."""


@app.command("list")
def list_hosts(style: Output = Format.TABLE) -> None:
    """List hosts; CPU and memory are reserved/offered."""
    with client() as api:
        output.listing(api.hosts(), HOSTS, style)
        valve = api.fleet.valve()
    if valve.frozen:
        output.note(f"{valve.sentence}\nhint: fleetwide host release-lost --reason ...")


@app.command()
def show(
    host_id: Annotated[str, typer.Argument(help="The host's id.")], style: Output = Format.TABLE
) -> None:
    """Show a host: what its machine has, what is kept back, offered and reserved."""
    with client() as api:
        host = api.host(host_id)
        output.record(host, host_card(host), style)


HostId = Annotated[str, typer.Argument(help="The host's id.")]
Why = Annotated[str, typer.Option("--reason", help="Kept with the host for others to read.")]
By = Annotated[str | None, typer.Option(help="Who decides; unset: your user name.")]


@app.command()
def cordon(host_id: HostId, *, reason: Why, by: By = None) -> None:
    """Let a host take no new work; what runs goes on."""
    with client() as api:
        _told(host_id, api.fleet.cordon(host_id, _move(reason, by)))


@app.command()
def uncordon(host_id: HostId, *, reason: Why, by: By = None) -> None:
    """Let a host take work again; ends a drain."""
    with client() as api:
        _told(host_id, api.fleet.uncordon(host_id, _move(reason, by)))


@app.command("phase-out")
def phase_out(host_id: HostId, *, reason: Why, by: By = None) -> None:
    """Let a host take work only where no active one does."""
    with client() as api:
        _told(host_id, api.fleet.phase_out(host_id, _move(reason, by)))


@app.command()
def drain(
    host_id: HostId,
    *,
    reason: Why,
    by: By = None,
    parallel: Annotated[int, typer.Option(min=1, help="Tasks that are moved at a time.")] = 10,
    deadline: Annotated[float, typer.Option(help="Seconds until it gives up, or forces.")] = 3600,
    force: Annotated[
        bool, typer.Option("--force", help="At the deadline, end all that is left at once.")
    ] = False,
) -> None:
    """Let a host take no new work, and have its tasks end and run elsewhere."""
    request = DrainRequest(
        reason=reason,
        by=person(by),
        parallel=parallel,
        deadline_seconds=deadline,
        force=force,
    )
    with client() as api:
        _told(host_id, api.fleet.drain(host_id, request))
    output.note(f"it is Removable once it is empty: fleetwide host show {host_id}")


@app.command()
def remove(
    host_id: HostId,
    *,
    reason: Why,
    by: By = None,
    force: Annotated[
        bool, typer.Option("--force", help="A silent host also with tasks on it.")
    ] = False,
    gone: Annotated[
        bool,
        typer.Option("--gone", help="Its machine is surely off: run its tasks elsewhere at once."),
    ] = False,
) -> None:
    """Take an empty host out of the fleet."""
    request = HostRemoval(reason=reason, by=person(by), force=force, gone=gone)
    with client() as api:
        _told(host_id, api.fleet.remove(host_id, request))


@app.command("release-lost")
def release_lost(*, reason: Why, by: By = None) -> None:
    """Let the hosts be given up that are silent now, though many vanished together."""
    with client() as api:
        api.fleet.release_valve(_move(reason, by))
    output.note("what is silent now may be given up as lost")


def _move(reason: str, by: str | None) -> HostMove:
    return HostMove(reason=reason, by=person(by))


def _told(host_id: str, status: HostStatus) -> None:
    output.note(
        f"host {host_id} is {status.state}"
        + (
            f", and will be {status.wanted} when it answers"
            if status.state != status.wanted
            else ""
        )
    )
