"""``fleetwide``: the command line."""

import os
import sys

import typer

from fleetwide import __version__
from fleetwide.cli import exits
from fleetwide.cli.later import later
from fleetwide.errors import FleetwideError

COMMANDS = {
    "events": ("events:events", "Print what happened, oldest first."),
    "demo": (
        "demo:demo",
        "Run the main job on the development platform: an OS, a bake, a task, a batch.",
    ),
    "api": ("processes:api", "Serve the HTTP API until SIGTERM."),
    "worker": ("processes:worker", "Serve one worker role until SIGTERM."),
    "os": ("baseos:app", "Operating system releases (BaseOS)."),
    "artifact": ("artifact:app", "Deployment artifacts."),
    "bake": ("bake:app", "Bakes: deployment artifacts onto an OS release (Bakery)."),
    "recipe": (
        "recipe:app",
        "Recipes for bakes: what goes with the artifact, and how it starts (Bakery).",
    ),
    "image": ("image:app", "Baked images."),
    "task": ("task:app", "Container tasks (Titus)."),
    "batch": ("batch:app", "Batch jobs (Compute Managed Batch)."),
    "service": ("service:app", "Services: long-running containers that are kept up."),
    "host": ("host:app", "Container hosts."),
    "fleet": ("fleet:app", "The fleet as a whole: how densely it is packed."),
    "pool": ("pool:app", "Host pools: machines that come and go with the work."),
    "relocation": (
        "relocation:app",
        "Relocation plans: what is to leave its host, and what keeps it there.",
    ),
    "metric": ("metric:app", "Metrics of services: what automatic scaling goes by."),
    "capacity-group": (
        "capacity_group:app",
        "Capacity groups: parts of the fleet that people may count on.",
    ),
    "worker-version": (
        "worker_version:app",
        "Builds of the control workers: which get runs, which may be stopped.",
    ),
    "queue": ("queue:app", "Queues of batch: who may count on what, and use it."),
    "capacity-request": (
        "capacity_request:app",
        "Requests for more capacity of a queue, decided by somebody else.",
    ),
    "scheduler": ("scheduler:app", "The scheduler: who places work."),
    "registry": ("registry:app", "The image registry."),
    "config": ("config:app", "Settings."),
    "dev": ("dev:app", "The development platform on this machine."),
    "db": ("processes:db", "The database's schema."),
}
"""Each command's place in ``fleetwide.cli``, and its help."""

app = typer.Typer(
    help="Build the OS, bake workloads, host images, run containers and batch.",
    epilog=exits.HELP,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
later(app, COMMANDS)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def run(arguments: list[str]) -> int:
    """Run one command line; returns the exit code."""
    try:
        app(arguments, prog_name="fleetwide")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else exits.Exit.OK
    except FleetwideError as fault:
        if os.environ.get("FLEETWIDE_DEBUG") == "1":
            raise
        _tell(fault)
        return exits.EXIT_OF[fault.code]
    return exits.Exit.OK


def main() -> None:
    """The entry point of the ``fleetwide`` command."""
    try:
        code = run(sys.argv[1:])
    except Exception as error:
        if os.environ.get("FLEETWIDE_DEBUG") == "1":
            raise
        _tell(FleetwideError(f"unexpected: {error!r}", hint="set FLEETWIDE_DEBUG=1 to see where"))
        code = exits.Exit.FAILED
    sys.exit(code)


def _tell(fault: FleetwideError) -> None:
    # Imported here: most command lines end without a fault, and some import nothing else of it.
    from fleetwide.cli import output  # noqa: PLC0415

    output.error(fault)
