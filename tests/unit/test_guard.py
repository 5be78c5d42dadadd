"""The guard of a host, with a scripted container engine."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from fleetwide.containers.leases import Lease
from fleetwide.providers.fences import Fence
from fleetwide.providers.lease_folder import LeaseFolder, boot_id
from workers.guard import FORGET_SECONDS, Guard

ENDED = 1000.0


@dataclass
class ScriptedFence:
    """An engine that has nothing but what is said here."""

    running: set[str] = field(default_factory=set)
    hangs_for: set[str] = field(default_factory=set)
    away: bool = False
    stopped: list[str] = field(default_factory=list)
    looks: list[str] = field(default_factory=list)
    answers: threading.Event = field(default_factory=threading.Event)

    def runs(self, lease: Lease) -> bool:
        if lease.name in self.hangs_for:
            self.answers.wait(10)
        return lease.name in self.running

    def has_none(self, lease: Lease) -> bool:
        self.looks.append(lease.name)
        return not self.away and lease.name not in self.running

    def stop(self, lease: Lease) -> None:
        self.stopped.append(lease.name)


@pytest.fixture
def folder(tmp_path: Path) -> LeaseFolder:
    return LeaseFolder(tmp_path)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "never happened"
        time.sleep(0.01)


def over(name: str) -> Lease:
    return Lease(
        name=name, labels={}, boot_id=boot_id(), renewed_at=ENDED - 5, stop_after=5, grace=0
    )


def guard_of(folder: LeaseFolder, fence: ScriptedFence, now: list[float]) -> Guard:
    return Guard(folder, cast("Fence", fence), lambda: now[0])


def test_an_engine_that_hangs_over_one_lease_keeps_no_other_from_being_heeded(
    folder: LeaseFolder,
) -> None:
    fence = ScriptedFence(running={"b"}, hangs_for={"a", "c"})
    for name in ("a", "b", "c"):
        folder.write(over(name))
    assert guard_of(folder, fence, [ENDED]).turn() == 3
    until(lambda: fence.stopped == ["b"])
    assert not fence.answers.is_set()
    fence.answers.set()


def test_a_lease_of_no_container_is_kept_while_a_worker_may_start_one(folder: LeaseFolder) -> None:
    fence, now = ScriptedFence(), [ENDED]
    guard = guard_of(folder, fence, now)
    folder.write(over("a"))
    with folder.held_by_worker():
        for _ in range(2):  # the second look begins when the first has ended
            seen = len(fence.looks)
            until(lambda seen=seen: guard.turn() and len(fence.looks) > seen)  # type: ignore[misc]
            now[0] += 10
        fence.running.add("a")
        until(lambda: guard.turn() == 1 and fence.stopped)
        fence.running.clear()
        now[0] += FORGET_SECONDS
        until(lambda: guard.turn() == 0)


def test_a_lease_is_kept_while_the_engine_does_not_say_that_it_has_nothing(
    folder: LeaseFolder,
) -> None:
    fence, now = ScriptedFence(away=True), [ENDED]
    guard = guard_of(folder, fence, now)
    folder.write(over("a"))
    for _ in range(3):
        seen = len(fence.looks)
        until(lambda seen=seen: guard.turn() and len(fence.looks) > seen)  # type: ignore[misc]
        now[0] += 10
    assert [lease.name for lease in folder.all()] == ["a"]
    fence.away = False
    until(lambda: guard.turn() == 0)


def test_a_fence_of_an_engine_that_is_away_says_of_no_lease_that_it_has_no_container(
    tmp_path: Path,
) -> None:
    fence = Fence(f"unix://{tmp_path / 'nobody.sock'}", tmp_path)
    assert not fence.has_none(over("a"))
    assert not fence.look()
