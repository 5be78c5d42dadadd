"""The processes of the platform: the API, the workers, the database's schema."""

import importlib
from enum import StrEnum
from typing import Annotated

import typer

from fleetwide.cli import output, serving
from fleetwide.cli.context import noun
from fleetwide.cli.exits import Exit
from fleetwide.errors import InvalidInput
from fleetwide.settings import get_settings

db = noun("The database's schema.")


class Role(StrEnum):
    """The worker roles."""

    CONTROL = "control"
    BUILDER = "builder"
    HOST = "host"
    SCHEDULER = "scheduler"
    STORAGE = "storage"
    REPLICATION = "replication"


def api() -> None:
    """Serve the HTTP API until SIGTERM."""
    # Heavy imports stay in the commands that need them.
    from api.app import create_app  # noqa: PLC0415

    settings = get_settings()
    serving.serve("api", settings, create_app, host=settings.api_host, port=settings.api_port)


def worker(  # noqa: PLR0913 - one parameter per option of the command line
    role: Annotated[Role, typer.Argument(help="What the worker does.")],
    *,
    simulate: Annotated[
        int | None,
        typer.Option(metavar="N", help="host: be N simulated hosts instead of this machine."),
    ] = None,
    prefix: Annotated[
        str, typer.Option(help="Simulated hosts are called <prefix>-0001, ...")
    ] = "sim",
    zone: Annotated[
        list[str] | None, typer.Option(help="They are in these in turn; repeatable.")
    ] = None,
    size: Annotated[
        list[str] | None, typer.Option(help="CPUs x memory, 8x32GiB, in turn; repeatable.")
    ] = None,
    scenario: Annotated[
        str, typer.Option(help="What containers do that do not say: 'pull=2s run=5s log=3'.")
    ] = "",
    tainted: Annotated[
        bool, typer.Option(help="Only tasks that tolerate 'simulated' are placed on them.")
    ] = True,
    leave: Annotated[
        bool, typer.Option("--leave", help="They leave the fleet when this process is stopped.")
    ] = False,
) -> None:
    """Serve one worker role until SIGTERM."""
    if simulate is None:
        importlib.import_module(f"workers.{role}").main()
        return
    # Heavy imports stay in the commands that need them.
    from fleetwide.cli.specs import merge, parse  # noqa: PLC0415
    from fleetwide.containers.simulated_fleet import SimulatedFleet  # noqa: PLC0415

    if role is not Role.HOST:
        raise InvalidInput.for_field("--simulate", f"is for the role host, not {role}")
    given = {"count": simulate, "prefix": prefix, "scenario": scenario}
    flags = {"zones": zone, "sizes": size, "tainted": tainted, "leave": leave}
    fleet = parse(SimulatedFleet, merge(given, flags))
    importlib.import_module("workers.simulation").main(fleet)


@db.command()
def migrate() -> None:
    """Bring the database's schema to this version."""
    from fleetwide.store.migrate import upgrade  # noqa: PLC0415
    from fleetwide.store.session import Store  # noqa: PLC0415

    upgrade(Store.open(get_settings().database_url.get_secret_value()).engine)
    output.note("the schema is up to date")


@db.command()
def status() -> None:
    """Say whether the schema is that of this version; exit code 1 when it is not."""
    from fleetwide.store.migrate import drift  # noqa: PLC0415
    from fleetwide.store.session import Store  # noqa: PLC0415

    differences = drift(Store.open(get_settings().database_url.get_secret_value()).engine)
    if differences:
        output.failure(
            f"the schema differs from this version in {len(differences)} places",
            "fleetwide db migrate",
        )
        raise typer.Exit(Exit.FAILED)
    output.data("up to date")
