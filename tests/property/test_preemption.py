"""Preemption: only what was lent is taken back, it is enough, and nobody is driven in circles."""

from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from fleetwide.containers.placement import (
    Amounts,
    CapacityGroup,
    Claim,
    Dimension,
    Fleet,
    Host,
    Plan,
    Request,
    RunningTask,
    Shape,
    Snapshot,
    Tier,
    plan,
)

SIZE = Amounts(8, 8)
SHAPES = [Shape(Amounts(cpu, memory)) for cpu, memory in ((1, 1), (2, 1), (3, 2), (1, 3), (0, 2))]
LARGE = [*SHAPES, Shape(Amounts(4, 2)), Shape(Amounts(5, 5)), Shape(Amounts(2, 6))]
NAMES = ("a", "b", "c")
BOUNDED = (Dimension.CPU, Dimension.MEMORY)


def total(parts: list[Amounts]) -> Amounts:
    return Amounts(sum(each.cpu_milli for each in parts), sum(each.memory_bytes for each in parts))


@st.composite
def lendings(draw: st.DrawFn) -> Snapshot:
    """Hosts that tasks of three groups fill more or less, and requests of the same groups."""
    hosts = list[Host]()
    running = list[RunningTask]()
    for number in range(draw(st.integers(1, 3))):
        there: list[Amounts] = []
        for _ in range(draw(st.integers(4, 10))):
            shape = draw(st.sampled_from(SHAPES))
            after = total([*there, shape.amounts])
            if all(has <= most for has, most in zip(after.vector, SIZE.vector, strict=True)):
                there.append(shape.amounts)
                running.append(
                    RunningTask(
                        f"t{len(running)}",
                        f"h{number}",
                        shape.amounts,
                        draw(st.sampled_from(NAMES)),
                        started=len(running),
                        leaving=draw(st.sampled_from([False, False, False, True])),
                        priority=draw(st.integers(0, 1)),
                    )
                )
        taken = total(there)
        free = Amounts(SIZE.cpu_milli - taken.cpu_milli, SIZE.memory_bytes - taken.memory_bytes)
        hosts.append(Host(f"h{number}", total=SIZE, free=free, tasks=len(there)))
    bounds = st.dictionaries(st.sampled_from(BOUNDED), st.integers(0, 24), max_size=2)
    roomy = st.dictionaries(st.sampled_from(BOUNDED), st.integers(8, 24), min_size=1, max_size=2)
    groups = tuple(
        CapacityGroup(
            name,
            tier=draw(st.sampled_from(list(Tier))),
            guarantee=draw(roomy if name == "a" else st.one_of(st.just({}), bounds)),
            cap=draw(bounds) if draw(st.integers(0, 3)) == 3 else {},
            used=total([task.amounts for task in running if task.group == name]),
        )
        for name in NAMES
    )
    requests = tuple(
        Request(number, draw(st.sampled_from(LARGE)), group=draw(st.sampled_from("aab")))
        for number in range(draw(st.integers(1, 6)))
    )
    return Snapshot(Fleet.of(hosts), requests, (), groups, tuple(running))


class World:
    """What a plan makes of a snapshot when all of it comes true."""

    def __init__(self, snapshot: Snapshot, made: Plan) -> None:
        self.groups = {group.name: group for group in snapshot.groups}
        self.requests = {request.request_id: request for request in snapshot.requests}
        self.tasks = {task.task_id: task for task in snapshot.running}
        self.used = {group.name: Counter(dict(_parts(group.used))) for group in snapshot.groups}
        self.free = {
            host.host_id: Counter(dict(_parts(host.free))) for host in snapshot.fleet.hosts
        }
        for decision in made.decisions:
            self.put(self.requests[decision.request_id], decision.host_id)
        for task in snapshot.running:
            if task.leaving:
                self.leave(task)

    def put(self, request: Request, host_id: str) -> None:
        for each, amount in _parts(request.shape.amounts):
            self.used[request.group][each] += amount
            self.free[host_id][each] -= amount

    def leave(self, task: RunningTask) -> None:
        for each, amount in _parts(task.amounts):
            self.used[task.group][each] -= amount
            self.free[task.host_id][each] += amount


def _parts(amounts: Amounts) -> list[tuple[Dimension, int]]:
    return list(zip(Dimension, amounts.vector, strict=True))


@given(lendings())
@settings(max_examples=120)
def test_only_what_was_lent_is_taken_back_and_it_is_enough(snapshot: Snapshot) -> None:
    made = plan(snapshot)
    world = World(snapshot, made)
    victims = {each.request_id: each.victims for each in made.preemptions}
    asked = [name for names in victims.values() for name in names]
    assert len(asked) == len(set(asked))
    assert set(victims) <= {claim.request_id for claim in made.claims} <= set(made.waiting)
    for claim in made.claims:
        request = world.requests[claim.request_id]
        own = world.groups[request.group]
        for name in victims.get(claim.request_id, ()):
            task = world.tasks[name]
            assert not task.leaving
            assert task.group != request.group
            assert world.groups[task.group].tier >= own.tier
            world.leave(task)
            lender = world.groups[task.group].guarantee
            assert all(world.used[task.group][each] >= least for each, least in lender.items())
        world.put(request, claim.host_id)
        assert all(world.used[own.name][each] <= most for each, most in own.guarantee.items())
    assert all(amount >= 0 for free in world.free.values() for amount in free.values())


@given(lendings())
@settings(max_examples=60)
def test_a_cap_is_never_passed(snapshot: Snapshot) -> None:
    world = World(replace(snapshot, running=()), plan(snapshot))
    for group in snapshot.groups:
        for each, most in group.cap.items():
            before = group.used.vector[each]
            assert world.used[group.name][each] <= max(most, before)


@given(lendings())
@settings(max_examples=60)
def test_who_was_preempted_preempts_nobody_to_come_back(snapshot: Snapshot) -> None:
    made = plan(snapshot)
    world = World(snapshot, made)
    gone = {task.task_id for task in snapshot.running if task.leaving}
    placed = [(decision.request_id, decision.host_id) for decision in made.decisions]
    back: list[Request] = []
    for each in made.preemptions:
        for name in each.victims:
            task = world.tasks[name]
            world.leave(task)
            gone.add(name)
            back.append(Request(1000 + len(back), Shape(task.amounts), group=task.group))
    for claim in made.claims:
        world.put(world.requests[claim.request_id], claim.host_id)
        placed.append((claim.request_id, claim.host_id))
    stay = [task for task in snapshot.running if task.task_id not in gone]
    stay += [
        RunningTask(f"r{n}", host, world.requests[n].shape.amounts, world.requests[n].group)
        for n, host in placed
    ]
    hosts = [
        replace(host, free=_amounts(world.free[host.host_id])) for host in snapshot.fleet.hosts
    ]
    groups = tuple(
        replace(group, used=_amounts(world.used[group.name])) for group in snapshot.groups
    )
    after = plan(Snapshot(Fleet.of(hosts), tuple(back), (), groups, tuple(stay)))
    assert after.preemptions == ()


def _amounts(counts: Counter[Dimension]) -> Amounts:
    return Amounts(counts[Dimension.CPU], counts[Dimension.MEMORY])


@given(lendings())
@settings(max_examples=60)
def test_a_plan_stays_as_it_was_announced_while_nothing_changes(snapshot: Snapshot) -> None:
    first = plan(snapshot)
    announced = {name for each in first.preemptions for name in each.victims}
    waiting = tuple(r for r in snapshot.requests if r.request_id in first.waiting)
    world = World(replace(snapshot, running=()), first)
    hosts = [
        replace(host, free=_amounts(world.free[host.host_id])) for host in snapshot.fleet.hosts
    ]
    again = plan(
        replace(
            snapshot,
            fleet=Fleet.of(hosts),
            requests=waiting,
            groups=tuple(
                replace(group, used=_amounts(world.used[group.name])) for group in snapshot.groups
            ),
            running=tuple(
                replace(task, announced=task.task_id in announced) for task in snapshot.running
            ),
            claims=tuple(Claim(each.request_id, each.host_id) for each in first.claims),
        )
    )
    assert again.decisions == ()
    assert {name for each in again.preemptions for name in each.victims} == announced
