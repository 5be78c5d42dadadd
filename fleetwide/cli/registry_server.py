"""``fleetwide registry serve``: the registry's gateway."""

import gc
import os
import sys

from fleetwide.cli.processes import GRACE_SECONDS, serve_until_signal
from fleetwide.settings import get_settings

BACKLOG = 4096
KEEP_ALIVE_SECONDS = 75


def serve() -> None:
    """Serve the registry's gateway until SIGTERM."""
    # Heavy imports stay in the commands that need them.
    import uvicorn  # noqa: PLC0415

    from api.oci.app import OciApp  # noqa: PLC0415
    from fleetwide.logs import configure_logging  # noqa: PLC0415
    from fleetwide.telemetry import configure_tracing  # noqa: PLC0415

    settings = get_settings()
    configure_logging(settings, "registry")
    provider = configure_tracing(settings, "registry")
    app = OciApp(settings)
    gc.collect()
    gc.freeze()
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=settings.registry_host,
            port=settings.registry_port,
            log_config=None,
            access_log=False,
            # With uvloop file descriptors were closed twice in processes of this platform.
            loop="asyncio",
            http="httptools",
            ws="none",
            proxy_headers=False,
            server_header=False,
            date_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    )
    code = serve_until_signal(server.run)
    if provider is not None:
        provider.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
