"""``fleetwide scheduler``: who places work."""

from fleetwide.cli import output
from fleetwide.cli.context import Output, client, noun
from fleetwide.cli.output import Card, Format
from fleetwide.models.scheduler_documents import SchedulerDocument

app = noun("The scheduler: who places work.")


@app.callback()
def scheduler() -> None:
    """The scheduler: which of those that run places work."""


@app.command("show")
def show_scheduler(style: Output = Format.TABLE) -> None:
    """Show who holds the lease to place work, since when, and until when."""
    with client() as api:
        found = api.scheduler()
    output.record(found, _card(found), style)


def _card(found: SchedulerDocument) -> Card:
    return Card(
        name=found.holder or "",
        rows=(
            ("holder", found.holder or "nobody; start one: fleetwide worker scheduler"),
            ("token", found.token),
            ("since", found.since),
            ("until", found.expires_at),
            ("work waits", "yes" if found.pending else "no"),
        ),
    )
