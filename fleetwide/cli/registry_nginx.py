"""``fleetwide registry nginx-config``: the configuration of the registry's front door."""

import getpass
import os
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from fleetwide.cli import output
from fleetwide.errors import InvalidInput
from fleetwide.registry.nginx import NginxPlan, nginx_config
from fleetwide.settings import Settings, get_settings

FILE_STORAGE = "file:"


def print_config(
    listen: Annotated[
        str | None, typer.Option(help="host:port to listen on; default: that of the registry's URL")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="nginx's own files; default: nginx in the state folder")
    ] = None,
    user: Annotated[
        str | None, typer.Option(help="who reads the blobs, when nginx is started by root")
    ] = None,
    certificate: Annotated[Path | None, typer.Option(help="PEM file, for HTTPS")] = None,
    certificate_key: Annotated[Path | None, typer.Option(help="its key")] = None,
) -> None:
    """Print nginx's configuration for the front door; start it with nginx -e stderr -c FILE."""
    settings = get_settings()
    plan = NginxPlan(
        listen=listen or address_of(settings.registry_url, "registry_url"),
        gateway=f"{settings.registry_host}:{settings.registry_port}",
        distribution=(address_of(settings.registry_backend_url, "registry_backend_url"),),
        folder=(folder or settings.state_dir / "nginx").resolve(),
        storage=storage_folder(settings),
        user=user or (getpass.getuser() if os.geteuid() == 0 else None),
        certificate=certificate and certificate.resolve(),
        certificate_key=certificate_key and certificate_key.resolve(),
        workers=os.cpu_count() or 1,
    )
    # nginx makes its folders, but not the one that they lie in.
    plan.folder.mkdir(parents=True, exist_ok=True)
    output.data(nginx_config(plan).rstrip("\n"))


def address_of(url: str, field: str) -> str:
    """``host:port`` of a base URL.

    Raises:
        InvalidInput: there is no host in it, or it has a path.
    """
    parts = urlsplit(url)
    if parts.hostname is None or parts.path.strip("/"):
        raise InvalidInput.for_field(field, "must be a URL of a host alone", given=url)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


def storage_folder(settings: Settings) -> Path | None:
    """The folder that Distribution keeps blobs in; None when they lie in S3."""
    kind, _, place = settings.registry_storage.partition(":")
    return Path(place).resolve() if f"{kind}:" == FILE_STORAGE else None
