"""``fleetwide registry import``: an existing Distribution's repositories, into the index."""

from typing import Annotated

import typer

from fleetwide.cli import output
from fleetwide.cli.exits import Exit
from fleetwide.settings import get_settings


def import_repositories(
    repositories: Annotated[
        list[str] | None, typer.Argument(help="Repositories; none means all.")
    ] = None,
    source: Annotated[
        str | None, typer.Option("--from", help="Distribution's base URL; default: the gateway's.")
    ] = None,
) -> None:
    """Take what Docker Distribution holds into the registry's index; may be run again.

    It needs the database and Distribution's private address, as the gateway does. Tags that the
    index has, or has had, stay as they are there. Exit code 1 when something is left out.
    """
    # Heavy imports stay in the commands that need them.
    import asyncio  # noqa: PLC0415

    from fleetwide.providers.backend import Backend  # noqa: PLC0415
    from fleetwide.providers.registry_import import RegistryImport  # noqa: PLC0415
    from fleetwide.registry.imports import ImportReport  # noqa: PLC0415
    from fleetwide.store.session import Store  # noqa: PLC0415

    settings = get_settings()
    store = Store.from_settings(settings)

    async def run() -> ImportReport:
        total = ImportReport()
        async with Backend(source or settings.registry_backend_url) as backend:
            work = RegistryImport(backend, store)
            names = repositories or [name async for name in work.names()]
            for number, name in enumerate(names, 1):
                report = await work.repository(name)
                output.note(
                    f"{number}/{len(names)} {name}: {report.tags} tags, {report.known} known"
                )
                for fault in report.faults:
                    output.note(f"  {fault}")
                total.add(report)
        return total

    try:
        total = asyncio.run(run())
    finally:
        store.engine.dispose()
    output.data(total.sentence())
    if total.fault_count:
        raise typer.Exit(Exit.FAILED)
