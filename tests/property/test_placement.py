"""Placement: safety and liveness of a plan, on arbitrary snapshots."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from fleetwide.containers.placement import (
    MIB,
    HostSnapshot,
    PendingAttempt,
    Plan,
    Snapshot,
    plan,
)
from fleetwide.models.containers import PendingCode

LABELS = st.frozensets(st.sampled_from([("zone", "a"), ("zone", "b"), ("disk", "ssd")]), max_size=2)


@st.composite
def hosts(draw: st.DrawFn, name: str) -> HostSnapshot:
    cpu = draw(st.integers(0, 8000))
    memory = draw(st.integers(0, 16)) * 256 * MIB
    return HostSnapshot(
        host_id=name,
        version=1,
        cpu_milli=cpu,
        memory_bytes=memory,
        free_cpu_milli=draw(st.integers(0, cpu)),
        free_memory_bytes=draw(st.integers(0, memory)),
        labels=draw(LABELS),
    )


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    count = draw(st.integers(0, 6))
    fleet = tuple(draw(hosts(f"h{number}")) for number in range(count))
    pending = tuple(
        PendingAttempt(
            attempt_id=number,
            cpu_milli=draw(st.integers(1, 9000)),
            memory_bytes=draw(st.integers(1, 17)) * 256 * MIB,
            host_labels=draw(LABELS),
            avoid_hosts=draw(st.frozensets(st.sampled_from(["h0", "h1"]), max_size=2)),
        )
        for number in range(draw(st.integers(0, 12)))
    )
    return Snapshot(fleet, pending)


def left(snapshot: Snapshot, made: Plan) -> dict[str, tuple[int, int]]:
    """What is free on each host after the plan."""
    sizes = {attempt.attempt_id: attempt for attempt in snapshot.pending}
    free = {host.host_id: [host.free_cpu_milli, host.free_memory_bytes] for host in snapshot.hosts}
    for decision in made.decisions:
        free[decision.host_id][0] -= sizes[decision.attempt_id].cpu_milli
        free[decision.host_id][1] -= sizes[decision.attempt_id].memory_bytes
    return {host: (cpu, memory) for host, (cpu, memory) in free.items()}


@given(snapshots())
def test_no_host_ever_gets_more_than_it_has_free(snapshot: Snapshot) -> None:
    assert all(cpu >= 0 and memory >= 0 for cpu, memory in left(snapshot, plan(snapshot)).values())


@given(snapshots())
def test_every_attempt_has_one_decision_or_one_reason(snapshot: Snapshot) -> None:
    made = plan(snapshot)
    told = Counter([decision.attempt_id for decision in made.decisions] + list(made.reasons))
    assert told == Counter(attempt.attempt_id for attempt in snapshot.pending)


@given(snapshots())
def test_nothing_waits_that_would_fit_when_the_plan_is_done(snapshot: Snapshot) -> None:
    made = plan(snapshot)
    free = left(snapshot, made)
    labels = {host.host_id: host.labels for host in snapshot.hosts}
    for attempt in snapshot.pending:
        if attempt.attempt_id in made.reasons:
            assert not any(
                attempt.cpu_milli <= cpu
                and attempt.memory_bytes <= memory
                and attempt.host_labels <= labels[host]
                for host, (cpu, memory) in free.items()
            )


@given(snapshots(), st.randoms())
def test_the_order_in_which_hosts_are_read_changes_nothing(
    snapshot: Snapshot, random: st.DataObject
) -> None:
    shuffled = list(snapshot.hosts)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    again = plan(Snapshot(tuple(shuffled), snapshot.pending))
    assert again.decisions == plan(snapshot).decisions


@given(snapshots())
def test_labels_are_honoured_and_avoided_hosts_are_a_last_resort(snapshot: Snapshot) -> None:
    sizes = {attempt.attempt_id: attempt for attempt in snapshot.pending}
    fleet = {host.host_id: host for host in snapshot.hosts}
    for decision in plan(snapshot).decisions:
        assert sizes[decision.attempt_id].host_labels <= fleet[decision.host_id].labels
    for attempt in snapshot.pending:
        alone = plan(Snapshot(snapshot.hosts, (attempt,)))
        if alone.decisions and alone.decisions[0].host_id in attempt.avoid_hosts:
            others = tuple(h for h in snapshot.hosts if h.host_id not in attempt.avoid_hosts)
            assert plan(Snapshot(others, (attempt,))).decisions == ()


@given(snapshots())
def test_a_reason_tells_the_truth_in_numbers(snapshot: Snapshot) -> None:
    sizes = {attempt.attempt_id: attempt for attempt in snapshot.pending}
    for attempt_id, reason in plan(snapshot).reasons.items():
        asked = sizes[attempt_id]
        assert reason.numbers["cpu"] == asked.cpu_milli / 1000
        if reason.code is PendingCode.EXCEEDS_EVERY_HOST:
            allowed = [h for h in snapshot.hosts if asked.host_labels <= h.labels]
            assert reason.numbers["hosts"] == len(allowed)
            assert all(
                asked.cpu_milli > h.cpu_milli or asked.memory_bytes > h.memory_bytes
                for h in allowed
            )
        if reason.code is PendingCode.NO_HOSTS:
            assert snapshot.hosts == ()
