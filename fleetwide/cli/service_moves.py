"""``fleetwide service move-task`` and ``attributes``: changes that restart nothing."""

from typing import Annotated

import typer

from fleetwide.cli import output
from fleetwide.cli.baseos_options import By, Why, person
from fleetwide.cli.context import Output, client
from fleetwide.cli.output import Format
from fleetwide.cli.service_lines import show_service
from fleetwide.cli.specs import pairs, parse
from fleetwide.errors import InvalidInput
from fleetwide.models.service_moves import ServiceAttributes, TaskMove

Version = Annotated[
    int | None,
    typer.Option("--expected-version", min=1, help="Only if the service has this version."),
]


def move_task(
    task: Annotated[str, typer.Argument(help="A copy's task.")],
    *,
    to: Annotated[str, typer.Option("--to", help="The service that takes it.")],
    version: Version = None,
    reason: Why,
    by: By = None,
    style: Output = Format.TABLE,
) -> None:
    """Let a running copy be one of another service, without a restart."""
    request = parse(
        TaskMove,
        {
            "task_id": task,
            "to": to,
            "by": person(by),
            "reason": reason,
            "expected_version": version,
        },
    )
    with client() as api:
        source = api.tasks.get(task).service_id
        if source is None:
            raise InvalidInput.for_field(
                "TASK", "is no copy of a service", given=task, hint="fleetwide service list"
            )
        left = api.services.move_task(source, request)
        output.note(f"{source} wants {left.status.capacity.desired} copies now")
        show_service(api.services.get(to), style)


def attributes(  # noqa: PLR0913 - one parameter per option of the command line
    name: Annotated[str, typer.Argument(help="The service's name.")],
    *,
    owner: Annotated[str | None, typer.Option(help="Who answers for it from now on.")] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", help="NAME=VALUE to set; repeatable.")
    ] = None,
    remove_label: Annotated[
        list[str] | None, typer.Option("--remove-label", help="A name; repeatable.")
    ] = None,
    version: Version = None,
    reason: Why,
    by: By = None,
    style: Output = Format.TABLE,
) -> None:
    """Change a service's owner and labels; copies that run keep theirs."""
    request = parse(
        ServiceAttributes,
        {
            "owner": owner,
            "labels": pairs(label, "--label"),
            "remove_labels": remove_label or [],
            "by": person(by),
            "reason": reason,
            "expected_version": version,
        },
    )
    with client() as api:
        show_service(api.services.attributes(name, request), style)
