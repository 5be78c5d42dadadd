"""The processes of the platform: the API, the workers, the database's schema."""

import gc
import importlib
import os
import signal
import sys
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, NoReturn

import typer

from fleetwide.cli import output
from fleetwide.cli.context import noun
from fleetwide.cli.exits import Exit
from fleetwide.settings import get_settings

GRACE_SECONDS = 10

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
    import uvicorn  # noqa: PLC0415

    from api.app import create_app  # noqa: PLC0415
    from fleetwide.logs import configure_logging  # noqa: PLC0415
    from fleetwide.telemetry import configure_tracing  # noqa: PLC0415

    settings = get_settings()
    configure_logging(settings, "api")
    provider = configure_tracing(settings, "api")
    app = create_app(settings)
    # All that was imported stays: looking through it again takes a tenth of a second each time.
    gc.collect()
    gc.freeze()
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=settings.api_host,
            port=settings.api_port,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    )
    code = serve_until_signal(server.run)
    if provider is not None:
        provider.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # An interpreter that shuts down while a Temporal client's threads run can abort.
    os._exit(code)


def serve_until_signal(run: Callable[[], None]) -> int:
    """Run the server; returns the exit code."""
    # Uvicorn raises the signal once more when it has shut down: that is a clean end too.
    signal.signal(signal.SIGTERM, _end)
    try:
        run()
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else Exit.FAILED
    return Exit.OK


def _end(_signal: int, _frame: object) -> NoReturn:
    sys.exit(Exit.OK)


def worker(role: Annotated[Role, typer.Argument(help="What the worker does.")]) -> None:
    """Serve one worker role until SIGTERM."""
    importlib.import_module(f"workers.{role}").main()


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
