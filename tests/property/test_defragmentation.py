"""Rounds of defragmentation end: each one frees a host, or lets waiting work in, and none goes back."""

from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from fleetwide.containers.defragmentation import Freed, next_to_free
from fleetwide.containers.placement import (
    Amounts,
    Fit,
    Fleet,
    Host,
    Move,
    Plan,
    Request,
    Shape,
    Snapshot,
    plan,
)

FEW = settings(max_examples=60, deadline=None)
MIB = 1024**2


def shape(cpu: int, fit: Fit = Fit.PACK) -> Shape:
    return Shape(Amounts(cpu * 1000, cpu * MIB), fit=fit)


@dataclass
class World:
    """Hosts of so many CPUs, tasks on them, and tasks that wait."""

    sizes: dict[str, int]
    placed: dict[int, str]
    shapes: dict[int, Shape]
    fixed: frozenset[int] = frozenset()
    """Tasks that their budgets keep where they are."""
    waiting: list[int] = field(default_factory=list)

    def snapshot(self) -> Snapshot:
        hosts = []
        for name, cpu in self.sizes.items():
            mine = [self.shapes[task].amounts for task, host in self.placed.items() if host == name]
            total = Amounts(cpu * 1000, cpu * MIB)
            used = Amounts(
                *(sum(parts) for parts in zip(*(one.vector for one in mine), strict=True))
            )
            free = Amounts(*(a - b for a, b in zip(total.vector, used.vector, strict=True)))
            hosts.append(Host(name, total, free, tasks=len(mine)))
        requests = tuple(self._request(task) for task in self.waiting)
        return Snapshot(Fleet.of(hosts), requests)

    def _request(self, task: int) -> Request:
        return Request(task, self.shapes[task], f"task/{task}")

    def moves(self) -> list[Move]:
        return [
            Move(self._request(task), host, movable=task not in self.fixed)
            for task, host in sorted(self.placed.items())
        ]

    def used(self) -> int:
        return len(set(self.placed.values()))

    def place(self) -> Plan:
        """What the scheduler does with what waits."""
        made = plan(self.snapshot())
        for decision in made.decisions:
            self.placed[decision.request_id] = decision.host_id
            self.waiting.remove(decision.request_id)
        return plan(self.snapshot())

    def round(self) -> Freed | None:
        """One round; what had to leave was placed by the engine, the host then takes work again."""
        made = self.place()
        freed = next_to_free(self.snapshot(), made, self.moves(), self.sizes)
        if freed is not None:
            for task, host in freed.emptying.targets.items():
                assert task not in self.fixed
                assert self.placed[task] == freed.emptying.host_id != host
                self.placed[task] = host
        return freed


@st.composite
def worlds(draw: st.DrawFn) -> World:
    sizes = {f"h-{n}": draw(st.sampled_from([2, 4, 8])) for n in range(draw(st.integers(1, 6)))}
    world = World(sizes, {}, {})
    fits = st.sampled_from(list(Fit))
    for task in range(1, draw(st.integers(1, 14)) + 1):
        cpu, host = draw(st.integers(1, 6)), draw(st.sampled_from(sorted(sizes)))
        world.shapes[task] = shape(cpu, draw(fits))
        free = sizes[host] * 1000 - sum(
            world.shapes[one].amounts.cpu_milli for one, at in world.placed.items() if at == host
        )
        if cpu * 1000 <= free:
            world.placed[task] = host
        else:
            world.waiting.append(task)
    fixed = draw(st.sets(st.sampled_from(sorted(world.shapes))))
    return replace(world, fixed=frozenset(fixed))


@FEW
@given(worlds())
def test_rounds_end_and_none_undoes_another(world: World) -> None:
    world.place()
    standing = (len(world.waiting), world.used())
    fixed = {task: world.placed[task] for task in world.fixed & world.placed.keys()}
    for _ in range(len(world.sizes) + len(world.shapes) + 1):
        freed = world.round()
        if freed is None:
            break
        if freed.request_id is not None:
            world.place()
            assert freed.request_id not in world.waiting or len(world.waiting) < standing[0]
        now = (len(world.waiting), world.used())
        assert now < standing
        standing = now
    assert world.round() is None
    assert all(world.placed[task] == host for task, host in fixed.items())


@FEW
@given(worlds())
def test_no_host_is_given_more_than_it_has(world: World) -> None:
    while world.round() is not None:
        free = world.snapshot().fleet.free
        assert (free >= 0).all()


def test_room_is_made_for_a_large_task_that_waits() -> None:
    world = World(
        {"a": 4, "b": 4, "c": 2}, {1: "a", 2: "b", 3: "b"}, {1: shape(1), 2: shape(1), 3: shape(2)}
    )
    world.shapes[9] = shape(4)
    world.waiting.append(9)
    freed = world.round()
    assert freed is not None
    assert (freed.emptying.host_id, freed.request_id) == ("a", 9)
    world.place()
    assert world.placed[9] == "a"


def test_one_task_that_may_not_move_keeps_its_host() -> None:
    world = World({"a": 4, "b": 4}, {1: "a", 2: "b"}, {1: shape(1), 2: shape(1)})
    found = world.round()
    assert found is not None
    held = World({"a": 4, "b": 4}, {1: "a", 2: "b"}, world.shapes, frozenset({1, 2}))
    assert held.round() is None
