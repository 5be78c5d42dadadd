"""The tree of queues as people write it: checks, what goes down to the leaves, what each gets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetwide.batch.queue_shares import counts_on
from fleetwide.batch.queues import ORDERING, STOP, STRICTNESS, Inherited, faults, near, tree_of
from fleetwide.batch.scheduling.tree import QueueNode, Tree
from fleetwide.containers.placement import Dimension
from fleetwide.models.queues import (
    MAX_DEPTH,
    Hold,
    QueueChangeSet,
    QueueEdit,
    QueueOrdering,
    QueueSpec,
    full_path,
    line_of,
)

ALWAYS = {"root": QueueSpec(), "default": QueueSpec()}


def queue(**spec: object) -> QueueSpec:
    return QueueSpec.model_validate(spec)


def cpus(amount: float) -> dict[str, float]:
    return {"cpu": amount}


def test_every_hold_and_ordering_has_its_place() -> None:
    assert STOP.keys() == set(Hold) == set(STRICTNESS)
    assert ORDERING.keys() == set(QueueOrdering)


def test_both_forms_of_a_path_are_one_queue() -> None:
    assert QueueEdit(path="root/ml/training").path == "ml/training"
    assert QueueEdit(path="root").path == "root"
    assert full_path("ml/training") == "root/ml/training"
    assert line_of("ml/training") == ["ml/training", "ml", "root"]


@pytest.mark.parametrize("path", ["a//b", "/a", "a/", "A", "a b", "/".join("x" * (MAX_DEPTH + 1))])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        QueueEdit(path=path)


def test_a_limit_below_the_guarantee_and_a_queue_named_twice_are_refused() -> None:
    with pytest.raises(ValueError, match=r"guarantee.cpu is 4.0, above limit.cpu, which is 2.0"):
        queue(guarantee=cpus(4), limit=cpus(2))
    with pytest.raises(ValueError, match="ml is there twice"):
        QueueChangeSet(changes=[QueueEdit(path="ml"), QueueEdit(path="root/ml")], reason="x")


def test_children_are_guaranteed_no_more_than_their_parent() -> None:
    below = {"ml/a": queue(guarantee=cpus(3)), "ml/b": queue(guarantee=cpus(1.5))}
    [fault] = faults({**ALWAYS, "ml": queue(guarantee=cpus(4)), **below})
    assert fault.field == "ml.guarantee.cpu"
    assert "are guaranteed 4.5 CPU together, above the 4 CPU of ml itself" in fault.message
    assert faults({**ALWAYS, "ml": queue(guarantee=cpus(4.5)), **below}) == []
    # What the root does not name the fleet bounds, and that is a warning.
    assert faults({**ALWAYS, "ml": queue(guarantee=cpus(1000))}) == []


def test_a_queue_without_a_parent_and_a_reserved_name_are_told_together() -> None:
    found = faults({**ALWAYS, "ml/training": queue(), "plan": queue()})
    assert [fault.field for fault in found] == ["ml/training", "plan"]
    assert {fault.field for fault in faults({})} == {"root", "default"}


def test_near_names_are_offered() -> None:
    assert near("ml/trainign", ["default", "ml/training", "root"])[0] == "ml/training"
    assert near("zzzzzz", ["default", "ml"]) == []


def test_what_a_leaf_does_not_say_those_above_it_say() -> None:
    specs = {
        "root": queue(hold="hold", owners=["olga"]),
        "default": queue(),
        "ml": queue(submitters=["ana"], hold="hold-and-drain", owners=["mia"]),
        "ml/a": queue(pending_ttl_seconds=60),
        "ml/b": queue(submitters=["ben"]),
    }
    a, b, free = (Inherited.of(path, specs) for path in ("ml/a", "ml/b", "default"))
    assert (a.submitters(), b.submitters(), free.submitters()) == (["ana"], ["ben"], [])
    assert a.nearest("pending_ttl_seconds") == 60
    assert b.nearest("pending_ttl_seconds") is None
    assert a.hold() == (Hold.DRAIN, "ml")
    assert free.hold() == (Hold.HOLD, "root")
    assert (a.owners(), Inherited.of("ml", specs).owners_above()) == (["mia", "olga"], ["olga"])
    assert Inherited.of("root", specs).owners_above() == ["olga"]


def test_shares_are_the_guarantee_and_by_weight_a_part_of_the_rest() -> None:
    tree = tree_of(
        {
            **ALWAYS,
            "ml": queue(guarantee=cpus(4), weight=3),
            "ml/a": queue(guarantee=cpus(4)),
            "ml/b": queue(limit=cpus(1)),
        }
    )
    shares = counts_on(tree, (12_000, 0, 0, 0, 0))
    told = {path: share[Dimension.CPU] for path, share in shares.items()}
    assert told == {
        "root": 12_000,
        "root/default": 2_000,
        "root/ml": 10_000,
        "root/ml/a": 9_000,
        "root/ml/b": 1_000,
    }


@st.composite
def families(draw: st.DrawFn) -> Tree:
    """A root and some queues below it."""
    nodes = [QueueNode("root", None)]
    for number in range(draw(st.integers(1, 6))):
        guarantee = draw(st.integers(0, 50))
        limit = draw(st.none() | st.integers(guarantee, 120))
        nodes.append(
            QueueNode(
                f"root/q{number}",
                "root",
                weight=draw(st.floats(0.1, 10)),
                guarantee={Dimension.CPU: guarantee},
                limit={} if limit is None else {Dimension.CPU: limit},
            )
        )
    return Tree(nodes)


@given(families(), st.integers(0, 400))
def test_shares_never_go_beyond_what_there_is_nor_the_limit(tree: Tree, capacity: int) -> None:
    shares = counts_on(tree, (capacity, 0, 0, 0, 0))
    below = tree.children("root")
    given_out = {node.path: shares[node.path][Dimension.CPU] for node in below}
    assert sum(given_out.values()) <= capacity
    promised = sum(node.guarantee[Dimension.CPU] for node in below)
    for node in below:
        assert given_out[node.path] <= node.limit.get(Dimension.CPU, capacity)
        if promised <= capacity:
            assert given_out[node.path] >= node.guarantee[Dimension.CPU]
    if promised <= capacity and any(not node.limit for node in below):
        assert capacity - sum(given_out.values()) <= len(below)  # what whole numbers leave
