"""What the commands share: options, the client, and how to wait."""

import getpass
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from fleetwide.cli.later import noun as noun  # noqa: PLC0414 (the nouns' modules take it here)
from fleetwide.cli.output import Format, Step, note
from fleetwide.errors import ServiceUnavailable

if TYPE_CHECKING:
    from fleetwide.client import Client

Seen = TypeVar("Seen")
POLL_SECONDS = 0.4
OUTAGE_SECONDS = 60.0

Output = Annotated[Format, typer.Option("--output", "-o", help="How data is printed.")]
File = Annotated[
    Path | None, typer.Option("--file", "-f", help="Spec as YAML or JSON; - reads stdin.")
]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the end.")]
Limit = Annotated[int, typer.Option(min=1, max=200, help="Items per page.")]
Cursor = Annotated[str | None, typer.Option(help="Where the page before ended.")]
Reason = Annotated[str | None, typer.Option(help="Kept with the thing.")]


@contextmanager
def client() -> Iterator["Client"]:
    """The API's client."""
    # Imported here, so that --help and completion stay quick.
    from fleetwide.client import Client  # noqa: PLC0415

    with Client() as opened:
        yield opened


def reason_or_default(reason: str | None) -> str:
    """Why something is stopped, in the person's words or ours."""
    return reason or f"asked for by {getpass.getuser()} on the command line"


def until(
    read: Callable[[], Seen], done: Callable[[Seen], bool], say: Callable[[Seen], str], step: Step
) -> Seen:
    """Read again and again until it is done; an API that is away for a while is waited for."""
    deadline: float | None = None
    while True:
        try:
            seen = read()
        except ServiceUnavailable as error:
            deadline = deadline or time.monotonic() + OUTAGE_SECONDS
            if time.monotonic() > deadline:
                raise
            step.update(error.message)
        else:
            deadline = None
            step.update(say(seen))
            if done(seen):
                return seen
        time.sleep(POLL_SECONDS)


@contextmanager
def going_on(hint: str) -> Iterator[None]:
    """When the person stops waiting, say that the work goes on and how to look at it."""
    try:
        yield
    except KeyboardInterrupt:
        note(f"\nstopped waiting; the work goes on\nhint: {hint}")
        raise
