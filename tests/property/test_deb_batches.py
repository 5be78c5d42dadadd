"""Whatever debs depend on: each is installed once, and after what it pre-depends on."""

from hypothesis import given
from hypothesis import strategies as st

from fleetwide.bakery.debs import Control, install_batches
from fleetwide.baseos.stanzas import Relation

COUNT = 7
EDGES = st.sets(st.tuples(st.integers(0, COUNT - 1), st.integers(0, COUNT - 1)), max_size=12)


def debs_of(pre: set[tuple[int, int]], plain: set[tuple[int, int]]) -> list[Control]:
    def entries(edges: set[tuple[int, int]], number: int) -> tuple[tuple[Relation, ...], ...]:
        return tuple((Relation(f"p{to}"),) for start, to in sorted(edges) if start == number)

    return [
        Control(f"p{one}", "1", "all", entries(pre, one), entries(plain, one), ())
        for one in range(COUNT)
    ]


@given(EDGES, EDGES)
def test_every_deb_is_in_one_batch(pre: set[tuple[int, int]], plain: set[tuple[int, int]]) -> None:
    batches = install_batches(debs_of(pre, plain))
    assert sorted(one for batch in batches for one in batch) == list(range(COUNT))
    assert all(batches)


@given(EDGES, EDGES)
def test_pre_dependencies_and_their_needs_come_before(
    pre: set[tuple[int, int]], plain: set[tuple[int, int]]
) -> None:
    """Where every edge leads to a lower number there are no circles."""
    pre, plain = ({edge for edge in edges if edge[0] > edge[1]} for edges in (pre, plain))
    batches = install_batches(debs_of(pre, plain))
    batch_of = {one: number for number, batch in enumerate(batches) for one in batch}
    assert all(batch_of[start] > batch_of[to] for start, to in pre)
    assert all(batch_of[start] >= batch_of[to] for start, to in plain)
