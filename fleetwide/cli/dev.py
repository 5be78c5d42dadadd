"""``fleetwide dev``: the development platform on this machine."""

import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fleetwide.dev import platform
from fleetwide.dev.logs import Follower, follow, tail
from fleetwide.dev.parse import load
from fleetwide.dev.plan import Plan
from fleetwide.dev.platform import ProcessStatus, UpOptions
from fleetwide.dev.state import load_plan
from fleetwide.errors import NotFound

app = typer.Typer(help="The development platform on this machine.", no_args_is_help=True)

File = Annotated[Path, typer.Option("--file", help="What the platform consists of.")]
StateDir = Annotated[Path, typer.Option("--state-dir", help="Folder of all its state.")]
Names = Annotated[list[str] | None, typer.Argument(help="Processes; none means all.")]

FILE = Path("temporal-dev.yaml")
STATE = Path(".fleetwide")


class StatusFormat(StrEnum):
    """How ``status`` is printed."""

    TABLE = "table"
    JSON = "json"


def _progress(line: str) -> None:
    typer.echo(line, err=True)


@app.command()
def up(names: Names = None, file: File = FILE, state_dir: StateDir = STATE) -> None:
    """Start the platform, or what of it does not run; returns when all is healthy."""
    options = UpOptions(names=tuple(names or ()), report=_progress)
    platform.up(load(file), state_dir, options)


@app.command()
def status(
    state_dir: StateDir = STATE,
    output: Annotated[StatusFormat, typer.Option("--output", "-o")] = StatusFormat.TABLE,
) -> None:
    """Show every process; exit code 0 when all are healthy, else 1."""
    processes = platform.status(state_dir)
    if output is StatusFormat.JSON:
        rows = [process.model_dump(mode="json") for process in processes]
        typer.echo(json.dumps(rows, indent=2))
    elif processes:
        typer.echo("\n".join(status_table(processes)))
    else:
        _progress(f"no platform was started in {state_dir}\nhint: fleetwide dev up")
    if not processes or not all(process.healthy for process in processes):
        raise typer.Exit(1)


def status_table(processes: Sequence[ProcessStatus]) -> list[str]:
    """The lines of a table with a head, columns as wide as needed."""
    rows: list[tuple[str, ...]] = [
        ("NAME", "STATE", "PID", "UPTIME", "PORTS", "HEALTH", "RESTARTS")
    ]
    rows += [_row(process) for process in processes]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _row(process: ProcessStatus) -> tuple[str, ...]:
    return (
        process.name,
        process.state,
        str(process.pid or "-"),
        "-" if process.uptime_seconds is None else _duration(process.uptime_seconds),
        ",".join(map(str, process.ports)) or "-",
        "healthy" if process.healthy else "unhealthy",
        str(process.restarts),
    )


def _duration(seconds: int) -> str:
    minutes, rest = divmod(max(seconds, 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s" if minutes else f"{rest}s"


@app.command()
def logs(
    names: Names = None,
    *,
    following: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines come.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Last lines of each.")] = 100,
    state_dir: StateDir = STATE,
) -> None:
    """Print the processes' logs; with more than one process, each line says whose it is."""
    plan = load_plan(state_dir.resolve())
    if plan is None:
        raise NotFound(f"no platform was started in {state_dir}", hint="fleetwide dev up")
    chosen = _log_names(plan, names or [])
    width = max(map(len, chosen)) if len(chosen) > 1 else 0
    followers = {name: Follower(plan.logs / f"{name}.log") for name in chosen if following}
    for name in chosen:
        for line in tail(plan.logs / f"{name}.log", lines):
            _print_line(name, line, width)
    if following:
        for name, line in follow(followers):
            _print_line(name, line, width)


def _log_names(plan: Plan, names: list[str]) -> list[str]:
    known = [process.name for process in plan.processes]
    for name in names:
        if name not in known:
            raise NotFound(f"no process is called {name}", hint=f"known: {', '.join(known)}")
    return names or known


def _print_line(name: str, line: str, width: int) -> None:
    typer.echo(f"{name:<{width}} | {line}" if width else line)


@app.command()
def down(state_dir: StateDir = STATE) -> None:
    """Stop all that `up` started, and nothing else; the state stays."""
    platform.down(state_dir, _progress)


@app.command()
def reset(
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    state_dir: StateDir = STATE,
) -> None:
    """Delete the platform's state: histories, database, images, logs."""
    if not yes:
        typer.confirm(f"Delete {state_dir.resolve()} and all that is in it?", abort=True)
    platform.reset(state_dir)
    _progress(f"{state_dir} deleted")
