"""``fleetwide registry serve``: the registry's gateway."""

from fleetwide.cli import serving
from fleetwide.settings import get_settings

BACKLOG = 4096
KEEP_ALIVE_SECONDS = 75


def serve() -> None:
    """Serve the registry's gateway until SIGTERM."""
    # Heavy imports stay in the commands that need them.
    from api.oci.app import OciApp  # noqa: PLC0415
    from api.oci.connections import BoundedConnection  # noqa: PLC0415

    settings = get_settings()
    serving.serve(
        "registry",
        settings,
        OciApp,
        host=settings.registry_host,
        port=settings.registry_port,
        # With uvloop file descriptors were closed twice in processes of this platform.
        loop="asyncio",
        http=BoundedConnection,
        ws="none",
        proxy_headers=False,
        server_header=False,
        date_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
