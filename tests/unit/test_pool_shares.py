"""Several pools and the same waiting work: one of them starts machines, whichever looks."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetwide.containers.placement import (
    Amounts,
    Fleet,
    Host,
    Offer,
    Plan,
    Request,
    Shape,
    Snapshot,
    plan,
    traits_of,
)
from fleetwide.containers.pool_shares import OtherPool, own_share

GIB = 1024**3


def offer(name: str, cpu: int, price: float = 1.0) -> Offer:
    total = Amounts(cpu_milli=cpu * 1000, memory_bytes=cpu * GIB)
    return Offer(name, Host(f"new-{name}", total=total, free=total, traits=traits_of({})), price)


def waiting(count: int, cpu: int = 1) -> tuple[list[Request], Plan]:
    """So many requests, and no host at all."""
    shape = Shape(Amounts(cpu_milli=cpu * 1000, memory_bytes=GIB // 2))
    requests = [Request(number, shape, f"task/{number}") for number in range(1, count + 1)]
    return requests, plan(Snapshot(Fleet.of([]), tuple(requests)))


def pool(
    name: str,
    cpu: int = 1,
    room: int = 9,
    *,
    price: float = 1.0,
    coming: dict[str, int] | None = None,
) -> OtherPool:
    return OtherPool(name, [offer("t", cpu, price)], room, coming or {})


def shares(pools: Sequence[OtherPool], count: int) -> dict[str, int]:
    """What each pool would start if all looked at the same moment."""
    requests, made = waiting(count)
    return {
        one.name: sum(
            own_share(requests, made, one, [it for it in pools if it is not one]).values()
        )
        for one in pools
    }


@given(
    first=st.integers(1, 4),
    second=st.integers(1, 4),
    prices=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    rooms=st.tuples(st.integers(0, 6), st.integers(0, 6)),
    count=st.integers(1, 8),
)
def test_no_more_machines_are_started_than_the_work_needs(
    first: int,
    second: int,
    prices: tuple[int, int],
    rooms: tuple[int, int],
    count: int,
) -> None:
    pools = [
        pool("a", first, rooms[0], price=prices[0]),
        pool("b", second, rooms[1], price=prices[1]),
    ]
    found = shares(pools, count)
    sizes = {"a": first, "b": second}
    places = sum(found[name] * sizes[name] for name in found)
    most = sum(one.room * sizes[one.name] for one in pools)
    assert places >= min(count, most)
    # Without its last machine there would be too few places: none is for nothing.
    assert all(places - count < max(sizes.values()) for started in found.values() if started)
    assert all(found[one.name] <= one.room for one in pools)


def test_the_first_by_name_starts_what_both_could() -> None:
    assert shares([pool("b"), pool("a")], 3) == {"a": 3, "b": 0}


def test_the_cheaper_one_starts_it() -> None:
    assert shares([pool("a", price=3), pool("b", price=1)], 3) == {"a": 0, "b": 3}


def test_what_one_has_no_room_for_the_other_starts() -> None:
    assert shares([pool("a", room=2), pool("b")], 5) == {"a": 2, "b": 3}


@pytest.mark.parametrize(("coming", "started"), [({"t": 2}, 1), ({"t": 3}, 0), ({}, 0)])
def test_machines_on_their_way_to_another_pool_count(coming: dict[str, int], started: int) -> None:
    """Where the other one can start no more, as it is at its largest."""
    room = 0 if coming else 9
    requests, made = waiting(3)
    other = pool("a", room=room, coming=coming)
    found = own_share(requests, made, pool("b"), [other])
    assert sum(found.values()) == started
