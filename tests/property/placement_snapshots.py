"""Arbitrary small snapshots: few hosts, few values, so that everything meets everything."""

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from fleetwide.containers.placement import (
    Amounts,
    CapacityGroup,
    Dimension,
    Fit,
    Fleet,
    Gang,
    Host,
    Lifecycle,
    Occupant,
    Request,
    Shape,
    Snapshot,
    Tier,
    Traits,
    Wishes,
)

HOSTS = [f"h{number}" for number in range(6)]
JOBS = ["", "j1", "j2", "j3"]
LABELS = st.frozensets(
    st.sampled_from([("disk", "ssd"), ("disk", "hdd"), ("net", "fast")]), max_size=2
)
ZONES = st.frozensets(st.sampled_from(["a", "b", "c"]), max_size=2)
SOMETIMES = st.sampled_from([False, False, True])
RARELY = st.sampled_from([False, False, False, True])


def amounts(parts: list[int], gpus: list[int]) -> st.SearchStrategy[Amounts]:
    part = st.sampled_from(parts)
    return st.builds(Amounts, part, part, part, part, st.sampled_from(gpus))


@st.composite
def traits(draw: st.DrawFn) -> Traits:
    lives = [Lifecycle.ACTIVE] * 5 + [Lifecycle.PHASED_OUT, Lifecycle.REMOVABLE]
    return Traits(
        zone=draw(st.sampled_from(["a", "b", "c"])),
        machine_group=draw(st.sampled_from(["g1", "g2"])),
        machine_type=draw(st.sampled_from(["m1", "m2"])),
        cpu_model=draw(st.sampled_from(["x", "y"])),
        backend=draw(st.sampled_from(["", "k1"])),
        labels=draw(LABELS),
        taints=draw(st.frozensets(st.sampled_from(["gpu"]), max_size=1))
        if draw(RARELY)
        else frozenset(),
        lifecycle=draw(st.sampled_from(lives)),
    )


@st.composite
def hosts(draw: st.DrawFn, name: str) -> Host:
    total = draw(amounts([40, 60, 60, 100, 5], [0, 0, 2, 8]))
    free = Amounts(*(draw(st.integers(0, amount)) for amount in total.vector))
    free = free if draw(RARELY) else total
    devices = draw(st.permutations(range(total.gpus)))
    return Host(
        host_id=name,
        total=total,
        free=free,
        traits=draw(traits()),
        quality=draw(st.sampled_from([1.0, 1.0, 0.5])),
        images=draw(st.frozensets(st.sampled_from(["i1", "i2"]))),
        tasks=draw(st.integers(0, 2)) if free != total else 0,
        free_gpus=tuple(sorted(devices[: free.gpus])),
    )


@st.composite
def wishes(draw: st.DrawFn) -> Wishes:
    """Seldom more than one or two at a time: else nothing would fit anywhere."""
    one: dict[str, st.SearchStrategy[Any]] = {
        "active_host": st.just(True),
        "zones": ZONES,
        "machine_ids": st.frozensets(st.sampled_from(HOSTS), max_size=4),
        "machine_groups": st.just(frozenset({"g1"})),
        "machine_types": st.just(frozenset({"m1"})),
        "backends": st.just(frozenset({""})),
        "cpu_models": st.just(frozenset({"x"})),
        "labels": LABELS,
        "not_labels": LABELS,
        "unique_host": st.just(True),
        "exclusive_host": st.just(True),
        "zone_balance": st.just(True),
        "not_with_jobs": st.frozensets(st.sampled_from(JOBS[1:]), max_size=2),
    }
    chosen = draw(st.lists(st.sampled_from(sorted(one)), min_size=1, max_size=2, unique=True))
    return replace(Wishes(), **{name: draw(one[name]) for name in chosen})


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    return Shape(
        amounts=draw(amounts([0, 1, 2, 3, 12, 30], [0, 0, 0, 0, 1, 2])),
        hard=draw(wishes()) if draw(SOMETIMES) else Wishes(),
        soft=draw(wishes()) if draw(SOMETIMES) else Wishes(),
        tolerations=draw(st.sampled_from([frozenset(), frozenset({"gpu"})])),
        ports=draw(st.frozensets(st.sampled_from([80, 443]))) if draw(RARELY) else frozenset(),
        image=draw(st.sampled_from(["", "i1", "i3"])),
        fit=draw(st.sampled_from(list(Fit))),
        avoid_hosts=draw(st.frozensets(st.sampled_from(HOSTS[:3]), max_size=2))
        if draw(RARELY)
        else frozenset(),
    )


@st.composite
def groups(draw: st.DrawFn, name: str) -> CapacityGroup:
    some = st.dictionaries(
        st.sampled_from([Dimension.CPU, Dimension.MEMORY]), st.integers(1, 60), max_size=2
    )
    return CapacityGroup(
        name,
        tier=draw(st.sampled_from(list(Tier))),
        guarantee=draw(some),
        weight=draw(st.sampled_from([1.0, 2.0])),
        cap=draw(some) if draw(RARELY) else {},
        used=draw(amounts([0, 5, 20], [0, 1])),
    )


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    names = HOSTS[: draw(st.integers(0, len(HOSTS)))]
    kinds = draw(st.lists(shapes(), min_size=1, max_size=4))
    requests: list[Request] = []
    for bunch in range(draw(st.integers(0, 6))):
        size = draw(st.sampled_from([1, 1, 2, 5, 30]))
        pattern = Request(
            request_id=0,
            shape=draw(st.sampled_from(kinds)),
            job=draw(st.sampled_from(JOBS)),
            group=draw(st.sampled_from(["", "g1", "g2"])),
            priority=draw(st.integers(0, 1)),
            rank=draw(st.integers(0, 1)),
        )
        if draw(RARELY):
            gang = Gang(
                f"gang{bunch}",
                size=size + draw(RARELY),
                hold_seconds=draw(st.sampled_from([0.0, 10.0])),
                held_since=draw(st.sampled_from([None, 0.0, 95.0])),
            )
            pattern = replace(pattern, gang=gang)
        for _ in range(size):
            mixed = pattern.gang is not None and draw(RARELY)
            shape = draw(st.sampled_from(kinds)) if mixed else pattern.shape
            requests.append(replace(pattern, request_id=len(requests), shape=shape))
    return Snapshot(
        fleet=Fleet.of(draw(hosts(name)) for name in names),
        requests=tuple(requests),
        occupants=tuple(
            Occupant(
                draw(st.sampled_from(HOSTS)),
                draw(st.sampled_from(kinds)),
                draw(st.sampled_from(JOBS[1:])),
            )
            for _ in range(draw(st.sampled_from([0, 0, 1, 2])))
        ),
        groups=(draw(groups("g1")), draw(groups("g2"))) if draw(st.booleans()) else (),
        now=100.0,
    )
