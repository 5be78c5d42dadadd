"""Placement: which pending attempt runs on which host. A pure function of a snapshot.

A plan never gives a host more than it has free, is the same for the same snapshot, and leaves an
attempt waiting only when no host can take it; the reason and the nearest miss come with it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from fleetwide.models.base import Waiting
from fleetwide.models.containers import PendingCode

MIB = 1024**2


@dataclass(frozen=True)
class HostSnapshot:
    """A host at one moment. ``version`` changes with every placement on it."""

    host_id: str
    version: int
    cpu_milli: int
    memory_bytes: int
    free_cpu_milli: int
    free_memory_bytes: int
    labels: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True)
class PendingAttempt:
    """An attempt that wants a host. ``avoid_hosts`` are taken only when there is no other."""

    attempt_id: int
    cpu_milli: int
    memory_bytes: int
    host_labels: frozenset[tuple[str, str]] = frozenset()
    avoid_hosts: frozenset[str] = frozenset()

    @property
    def shape(self) -> tuple[int, int, frozenset[tuple[str, str]]]:
        """Attempts of one shape fit on exactly the same hosts."""
        return (self.cpu_milli, self.memory_bytes, self.host_labels)


@dataclass(frozen=True)
class Snapshot:
    """All that a plan is made from; ``pending`` is in the order of service."""

    hosts: tuple[HostSnapshot, ...]
    pending: tuple[PendingAttempt, ...]


@dataclass(frozen=True)
class Decision:
    """One attempt goes to one host."""

    attempt_id: int
    host_id: str


@dataclass(frozen=True)
class Reason:
    """Why an attempt waits, in a code, a sentence and numbers."""

    code: PendingCode
    sentence: str
    numbers: dict[str, float]

    def since(self, when: datetime) -> Waiting:
        return Waiting(code=self.code, sentence=self.sentence, numbers=self.numbers, since=when)


@dataclass(frozen=True)
class Plan:
    """Decisions, and a reason for every attempt that got none."""

    decisions: tuple[Decision, ...]
    reasons: dict[int, Reason]


@dataclass
class _Free:
    """A host while a plan is being made."""

    host: HostSnapshot
    cpu: int = field(init=False)
    memory: int = field(init=False)

    def __post_init__(self) -> None:
        self.cpu = self.host.free_cpu_milli
        self.memory = self.host.free_memory_bytes

    def fits(self, attempt: PendingAttempt) -> bool:
        return (
            attempt.cpu_milli <= self.cpu
            and attempt.memory_bytes <= self.memory
            and attempt.host_labels <= self.host.labels
        )

    def left_after(self, attempt: PendingAttempt) -> float:
        """The larger share of the host that stays free: less means tighter packing."""
        return max(
            (self.cpu - attempt.cpu_milli) / max(self.host.cpu_milli, 1),
            (self.memory - attempt.memory_bytes) / max(self.host.memory_bytes, 1),
        )


def plan(snapshot: Snapshot) -> Plan:
    """Place the pending attempts in order, each on the host that it fills best."""
    free = [_Free(host) for host in snapshot.hosts]
    decisions: list[Decision] = []
    reasons: dict[int, Reason] = {}
    hopeless: dict[tuple[int, int, frozenset[tuple[str, str]]], Reason] = {}
    for attempt in snapshot.pending:
        if attempt.shape in hopeless:
            reasons[attempt.attempt_id] = hopeless[attempt.shape]
            continue
        best = _best(free, attempt)
        if best is None:
            hopeless[attempt.shape] = reasons[attempt.attempt_id] = explain(attempt, free)
            continue
        best.cpu -= attempt.cpu_milli
        best.memory -= attempt.memory_bytes
        decisions.append(Decision(attempt.attempt_id, best.host.host_id))
    return Plan(tuple(decisions), reasons)


def _best(free: Iterable[_Free], attempt: PendingAttempt) -> _Free | None:
    fitting = [host for host in free if host.fits(attempt)]
    return min(
        fitting,
        key=lambda host: (
            host.host.host_id in attempt.avoid_hosts,
            host.left_after(attempt),
            host.host.host_id,
        ),
        default=None,
    )


def explain(attempt: PendingAttempt, free: list[_Free]) -> Reason:
    """Why no host takes the attempt: none there, none allowed, none large enough, all full."""
    asked = {"cpu": attempt.cpu_milli / 1000, "memoryMiB": attempt.memory_bytes / MIB}
    if not free:
        sentence = f"no host is active; the task asks for {_amount(asked)}"
        return Reason(PendingCode.NO_HOSTS, sentence, asked)
    allowed = [host for host in free if attempt.host_labels <= host.host.labels]
    if not allowed:
        wanted = ", ".join(f"{key}={value}" for key, value in sorted(attempt.host_labels))
        sentence = f"none of {_hosts(free)} has the labels {wanted}"
        return Reason(PendingCode.CONSTRAINTS_UNMET, sentence, {**asked, "hosts": len(free)})
    large = [
        host
        for host in allowed
        if host.host.cpu_milli >= attempt.cpu_milli
        and host.host.memory_bytes >= attempt.memory_bytes
    ]
    return _full(attempt, large, asked) if large else _too_large(allowed, asked)


def _too_large(allowed: list[_Free], asked: dict[str, float]) -> Reason:
    largest = max(allowed, key=lambda host: (host.host.cpu_milli, host.host.memory_bytes)).host
    has = {"cpu": largest.cpu_milli / 1000, "memoryMiB": largest.memory_bytes / MIB}
    sentence = (
        f"asks for {_amount(asked)}; the largest of {_hosts(allowed)}, {largest.host_id}, "
        f"has {_amount(has)} in all"
    )
    numbers = {
        **asked,
        "largestHostCpu": has["cpu"],
        "largestHostMemoryMiB": has["memoryMiB"],
        "hosts": len(allowed),
    }
    return Reason(PendingCode.EXCEEDS_EVERY_HOST, sentence, numbers)


def _full(attempt: PendingAttempt, large: list[_Free], asked: dict[str, float]) -> Reason:
    nearest = max(
        large,
        key=lambda host: (
            min(host.cpu - attempt.cpu_milli, 0) / max(host.host.cpu_milli, 1)
            + min(host.memory - attempt.memory_bytes, 0) / max(host.host.memory_bytes, 1)
        ),
    )
    left = {"cpu": nearest.cpu / 1000, "memoryMiB": nearest.memory / MIB}
    sentence = (
        f"asks for {_amount(asked)}; no host has that free now, the nearest of {_hosts(large)}, "
        f"{nearest.host.host_id}, has {_amount(left)}"
    )
    numbers = {
        **asked,
        "nearestFreeCpu": left["cpu"],
        "nearestFreeMemoryMiB": left["memoryMiB"],
        "hosts": len(large),
    }
    return Reason(PendingCode.HOSTS_FULL, sentence, numbers)


def _amount(numbers: dict[str, float]) -> str:
    return f"{numbers['cpu']:g} CPU and {numbers['memoryMiB']:g} MiB"


def _hosts(hosts: list[_Free]) -> str:
    return "1 host" if len(hosts) == 1 else f"{len(hosts)} hosts"
