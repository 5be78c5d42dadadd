"""``fleetwide``: the command line."""

import os
import sys

import typer

from fleetwide import __version__
from fleetwide.cli import (
    artifact,
    bake,
    baseos,
    batch,
    config,
    demo,
    dev,
    events,
    exits,
    host,
    image,
    output,
    processes,
    recipe,
    registry,
    task,
)
from fleetwide.errors import FleetwideError

app = typer.Typer(
    help="Build the OS, bake workloads, host images, run containers and batch.",
    epilog=exits.HELP,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(baseos.app, name="os")
app.add_typer(artifact.app, name="artifact")
app.add_typer(bake.app, name="bake")
app.add_typer(recipe.app, name="recipe")
app.add_typer(image.app, name="image")
app.add_typer(task.app, name="task")
app.add_typer(batch.app, name="batch")
app.add_typer(host.app, name="host")
app.add_typer(registry.app, name="registry")
app.command("events")(events.events)
app.add_typer(config.app, name="config")
app.add_typer(dev.app, name="dev")
app.command("demo")(demo.demo)
app.command("api")(processes.api)
app.command("worker")(processes.worker)
app.add_typer(processes.db, name="db")


@app.command()
def version() -> None:
    """Print the version."""
    output.data(__version__)


def run(arguments: list[str]) -> int:
    """Run one command line; returns the exit code."""
    try:
        app(arguments, prog_name="fleetwide")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else exits.Exit.OK
    except FleetwideError as fault:
        if os.environ.get("FLEETWIDE_DEBUG") == "1":
            raise
        output.error(fault)
        return exits.EXIT_OF[fault.code]
    return exits.Exit.OK


def main() -> None:
    """The entry point of the ``fleetwide`` command."""
    try:
        code = run(sys.argv[1:])
    except Exception as error:
        if os.environ.get("FLEETWIDE_DEBUG") == "1":
            raise
        output.failure(f"unexpected: {error!r}", "set FLEETWIDE_DEBUG=1 to see where")
        code = exits.Exit.FAILED
    sys.exit(code)
