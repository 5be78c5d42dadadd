"""How queues are printed: the tree, one queue, its history, and what changes would do."""

from fleetwide.cli import output
from fleetwide.cli.capacity_group import amount_words
from fleetwide.cli.output import Card, Column, Format, View
from fleetwide.models.capacity_groups import GroupAmounts
from fleetwide.models.documents import Page
from fleetwide.models.queues import (
    ROOT,
    SEPARATOR,
    QueueDocument,
    QueueHistoryItem,
    QueueOutlook,
    QueuePlan,
)

INDENT = "  "


def _branch(queue: QueueDocument) -> str:
    """The last name, further to the right the deeper it lies."""
    if queue.path == ROOT:
        return ROOT
    names = queue.path.split(SEPARATOR)
    return INDENT * len(names) + names[-1]


def some(amounts: GroupAmounts | None) -> str | None:
    """Without what there is nothing of; None for nothing at all."""
    if amounts is None:
        return None
    there = {name: amount for name, amount in amounts if amount}
    return amount_words(GroupAmounts.model_validate(there))


_NUMBERS = (
    Column[QueueDocument]("GUARANTEE", lambda item: amount_words(item.spec.guarantee)),
    Column[QueueDocument]("LIMIT", lambda item: amount_words(item.spec.limit)),
    Column[QueueDocument]("WEIGHT", lambda item: f"{item.spec.weight:g}"),
    Column[QueueDocument]("USED", lambda item: some(item.used)),
    Column[QueueDocument]("JOBS", lambda item: item.jobs),
    Column[QueueDocument]("RUNNING", lambda item: item.running),
    Column[QueueDocument]("WAITING", lambda item: item.waiting),
    Column[QueueDocument]("HELD BY", lambda item: item.held_by),
    Column[QueueDocument]("COUNTS ON", lambda item: some(item.counts_on), wide=True),
    Column[QueueDocument]("OWNERS", lambda item: ", ".join(item.spec.owners) or None, wide=True),
    Column[QueueDocument]("REVISION", lambda item: item.revision, wide=True),
)
QUEUES = View[QueueDocument](
    columns=(Column("QUEUE", lambda item: item.path), *_NUMBERS), name=lambda item: item.path
)
TREE = View[QueueDocument](
    columns=(Column("QUEUE", _branch), *_NUMBERS), name=lambda item: item.path
)
HISTORY = View[QueueHistoryItem](
    columns=(
        Column("AT", lambda item: item.at),
        Column("WHAT", lambda item: item.kind),
        Column("REVISION", lambda item: item.revision),
        Column("BY", lambda item: item.by or None),
        Column("REASON", lambda item: item.reason),
        Column("MOVED TO", lambda item: item.moved_to, wide=True),
        Column("CHANGE SET", lambda item: item.change_set, wide=True),
    ),
    name=lambda item: str(item.id),
)
OUTLOOKS = View[QueueOutlook](
    columns=(
        Column("QUEUE", lambda item: item.path),
        Column("COUNTS ON", lambda item: some(item.counts_on)),
        Column("WOULD COUNT ON", lambda item: some(item.would_count_on)),
        Column("USED", lambda item: some(item.used)),
        Column("ABOVE LIMIT", lambda item: some(item.above_limit)),
        Column("RECLAIMABLE", lambda item: some(item.reclaimable)),
    ),
    name=lambda item: item.path,
)


def show_queue(queue: QueueDocument, style: Format) -> None:
    """One queue as a card."""
    spec = queue.spec
    classes = [f"{name} ({number})" for name, number in sorted(spec.priority_classes.items())]
    rows = (
        ("queue", queue.path),
        ("takes jobs", "yes" if queue.leaf else "no: it has others below it"),
        ("guarantee", amount_words(spec.guarantee)),
        ("limit", amount_words(spec.limit)),
        ("counts on", some(queue.counts_on)),
        ("used", some(queue.used)),
        ("jobs", queue.jobs),
        ("running", queue.running),
        ("waiting", queue.waiting),
        ("hold", spec.hold),
        ("held by", queue.held_by),
        ("weight", f"{spec.weight:g}"),
        ("lendable", f"{spec.lendable:.0%}"),
        ("most running", spec.max_running),
        ("ordering", spec.ordering),
        ("priority classes", ", ".join(classes) or None),
        ("waits at most", spec.pending_ttl_seconds and f"{spec.pending_ttl_seconds:g} s"),
        ("owners", ", ".join(spec.owners) or None),
        ("submitters", ", ".join(spec.submitters) or None),
        ("revision", queue.revision),
        ("changed", queue.updated_at),
        ("by", queue.by or None),
        ("reason", queue.reason),
    )
    output.record(queue, Card(queue.path, rows), style)


def show_plan(plan: QueuePlan, style: Format) -> None:
    """What is wrong, what the fleet cannot hold, and what each queue would have."""
    for fault in plan.faults:
        output.note(f"refused: {fault}")
    for warning in plan.warnings:
        output.note(f"warning: {warning}")
    if style in (Format.JSON, Format.YAML):
        output.record(plan, Card("plan", ()), style)
    else:
        output.listing(Page(items=plan.queues), OUTLOOKS, style)
