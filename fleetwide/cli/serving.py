"""How a server process begins and ends: the API's and the registry gateway's."""

import gc
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from fleetwide.cli.exits import Exit
from fleetwide.settings import Settings

GRACE_SECONDS = 10


def serve(name: str, settings: Settings, make: Callable[[Settings], Any], **options: Any) -> None:
    """Serve the ASGI application that ``make`` makes until SIGTERM, and end the process.

    ``name`` stands in logs and traces; ``options`` are uvicorn's, the address among them.
    """
    # Heavy imports stay in the commands that need them.
    import uvicorn  # noqa: PLC0415

    from fleetwide.logs import configure_logging  # noqa: PLC0415
    from fleetwide.telemetry import configure_tracing  # noqa: PLC0415

    configure_logging(settings, name)
    provider = configure_tracing(settings, name)
    app = make(settings)
    # All that was imported stays: looking through it again takes a tenth of a second each time.
    gc.collect()
    gc.freeze()
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        **options,
    )
    code = _until_signal(uvicorn.Server(config).run)
    if provider is not None:
        provider.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # An interpreter that shuts down while a Temporal client's threads run can abort.
    os._exit(code)


def _until_signal(run: Callable[[], None]) -> int:
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
