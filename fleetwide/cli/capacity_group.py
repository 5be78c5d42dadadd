"""``fleetwide capacity-group``: parts of the fleet that people may count on."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fleetwide.cli import output
from fleetwide.cli.baseos_options import By, Why, person
from fleetwide.cli.context import File, Output, client, noun
from fleetwide.cli.output import Card, Column, Format, View
from fleetwide.cli.specs import merge, pairs, parse, read_spec
from fleetwide.errors import NotFound
from fleetwide.models.capacity_groups import (
    CapacityGroupChange,
    CapacityGroupDocument,
    CapacityGroupSpec,
    GroupAmounts,
    Tier,
)

if TYPE_CHECKING:
    from fleetwide.client import Client

app = noun("Capacity groups: parts of the fleet that people may count on.")

NONE = "none"
GIB, GB = 1024**3, 1000**3
UNITS = {
    "cpu": (1, "CPU"),
    "memory": (GIB, "GiB"),
    "disk": (GB, "GB of disk"),
    "network": (1, "Mbit/s"),
    "gpus": (1, "GPU"),
}


def amount_words(amounts: GroupAmounts) -> str | None:
    """``4 CPU, 16 GiB``; None when nothing is named."""
    given = {name: getattr(amounts, name) for name in UNITS}
    told = [
        f"{amount / UNITS[name][0]:g} {UNITS[name][1]}"
        for name, amount in given.items()
        if amount is not None
    ]
    return ", ".join(told) or None


def _used(item: CapacityGroupDocument) -> GroupAmounts:
    """What is used of CPU, memory and all that is bounded or used at all."""
    named = {"cpu", "memory"}
    for name in UNITS:
        bounded = getattr(item.guarantee, name) is not None or getattr(item.cap, name) is not None
        if bounded or getattr(item.used, name):
            named.add(name)
    return GroupAmounts.model_validate({name: getattr(item.used, name) for name in named})


def _some(amounts: GroupAmounts) -> str | None:
    """Without what there is nothing of."""
    there = {name: getattr(amounts, name) for name in UNITS if getattr(amounts, name)}
    return amount_words(GroupAmounts.model_validate(there))


GROUPS = View[CapacityGroupDocument](
    columns=(
        Column("GROUP", lambda item: item.name),
        Column("TIER", lambda item: item.tier),
        Column("GUARANTEE", lambda item: amount_words(item.guarantee)),
        Column("USED", lambda item: amount_words(_used(item))),
        Column("BORROWED", lambda item: _some(item.borrowed)),
        Column("LENT", lambda item: _some(item.lent)),
        Column("CAP", lambda item: amount_words(item.cap)),
        Column("RUNNING", lambda item: item.running),
        Column("WAITING", lambda item: item.waiting),
        Column("WEIGHT", lambda item: f"{item.weight:g}", wide=True),
        Column("OWNER", lambda item: item.owner or None, wide=True),
        Column("REVISION", lambda item: item.revision, wide=True),
    ),
    name=lambda item: item.name,
)

Name = Annotated[str, typer.Argument(help="The group's name.")]
Revision = Annotated[
    int | None, typer.Option(min=0, help="Only if it has this revision; 0: if it is not there.")
]


@app.command("list")
def list_groups(style: Output = Format.TABLE) -> None:
    """List the groups: what each may count on, and what it uses."""
    with client() as api:
        output.listing(api.capacity_groups.list(), GROUPS, style)


@app.command()
def show(name: Name, style: Output = Format.TABLE) -> None:
    """Show one group, what it uses, and what is lent of it."""
    with client() as api:
        _show(api.capacity_groups.get(name), style)


@app.command("set")
def set_group(  # noqa: PLR0913 - one parameter per option of the command line
    name: Name,
    *,
    file: File = None,
    tier: Annotated[Tier | None, typer.Option(help="Critical is served before Flex.")] = None,
    guarantee: Annotated[
        list[str] | None,
        typer.Option(
            help="For example cpu=40 or memory=64GiB; repeatable; cpu=none takes it away."
        ),
    ] = None,
    cap: Annotated[list[str] | None, typer.Option(help="Never more; as --guarantee.")] = None,
    weight: Annotated[float | None, typer.Option(help="Its part of what nobody uses.")] = None,
    owner: Annotated[str | None, typer.Option(help="Who answers for it.")] = None,
    reason: Why,
    by: By = None,
    revision: Revision = None,
    style: Output = Format.TABLE,
) -> None:
    """Make a group, or change it: what is not given stays, with a file all is as it says."""
    flags: dict[str, Any] = {"tier": tier, "weight": weight, "owner": owner}
    flags["guarantee"] = pairs(guarantee, "--guarantee")
    flags["cap"] = pairs(cap, "--cap")
    with client() as api:
        before, seen = _now(api, name)
        content = merge(before if file is None else read_spec(file), flags)
        for bounds in ("guarantee", "cap"):
            given = content.get(bounds) or {}
            content[bounds] = {each: most for each, most in given.items() if most != NONE}
        expected = seen if revision is None else revision
        told = {"by": person(by), "reason": reason, "revision": expected}
        change = parse(CapacityGroupChange, {**content, **told})
        _show(api.capacity_groups.put(name, change), style)


@app.command()
def delete(name: Name, *, reason: Why, by: By = None, revision: Revision = None) -> None:
    """Remove a group that no task, batch job or service counts to."""
    with client() as api:
        api.capacity_groups.delete(name, by=person(by), reason=reason, revision=revision)
    output.note(f"deleted {name}")


def _now(api: "Client", name: str) -> tuple[dict[str, Any], int]:
    """The group as it is, and its revision; nothing and 0 when it is not there."""
    try:
        found = api.capacity_groups.get(name)
    except NotFound:
        return {}, 0
    spec = found.model_dump(
        mode="json", include=set(CapacityGroupSpec.model_fields), exclude_none=True
    )
    return spec, found.revision


def _show(group: CapacityGroupDocument, style: Format) -> None:
    for each in group.warnings:
        output.note(f"warning: {each}")
    rows = (
        ("group", group.name),
        ("tier", group.tier),
        ("guarantee", amount_words(group.guarantee)),
        ("cap", amount_words(group.cap)),
        ("used", amount_words(_used(group))),
        ("borrowed", _some(group.borrowed)),
        ("lent", _some(group.lent)),
        ("running", group.running),
        ("waiting", group.waiting),
        ("asked to leave", group.leaving or None),
        ("weight", f"{group.weight:g}"),
        ("owner", group.owner or None),
        ("revision", group.revision),
        ("changed", group.updated_at),
        ("by", group.by or None),
        ("reason", group.reason),
    )
    output.record(group, Card(group.name, rows), style)
