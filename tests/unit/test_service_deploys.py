"""Deploys of services in SQL: who gets requests meanwhile, and what is kept of each step."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetwide.models.deploys import DeployPhase
from fleetwide.models.hosts import HostState
from fleetwide.models.service_moves import CopyMove
from fleetwide.models.task_states import EndReason
from fleetwide.store import endpoints, service_history
from fleetwide.store.migrate import upgrade
from fleetwide.store.session import Store
from fleetwide.store.tables import HostRow
from tests.unit.service_worlds import T0, ServiceWorld, service_spec

OLD, NEW = 1, 2


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("deploys") / "db"
    store = Store.open(f"sqlite:///{path}")
    upgrade(store.engine)
    with store.write() as session:
        for number in range(3):
            session.add(
                HostRow(
                    host_id=f"h{number}",
                    state=HostState.ACTIVE,
                    cpu_milli=1000,
                    memory_bytes=1,
                    machine={"address": f"10.0.0.{number}"},
                    registered_at=T0,
                    seen_at=T0,
                )
            )
    store.engine.dispose()
    return path


@pytest.fixture
def web(tmp_path: Path, migrated: Path) -> Iterator[ServiceWorld]:
    store = Store.open(f"sqlite:///{shutil.copy(migrated, tmp_path)}")
    yield ServiceWorld(store)
    store.engine.dispose()


def deploy(web: ServiceWorld, image: str = "apps/hello:2", **more: object) -> None:
    web.change("deploy", spec=service_spec(container={"image": image}, **more))


def served(web: ServiceWorld) -> set[int]:
    """The versions that get requests."""
    with web.store.read() as session:
        return {one.revision for one in endpoints.seen(session, ["web"]) if one.reach.healthy}


def told(web: ServiceWorld, kind: str) -> list[str]:
    with web.store.read() as session:
        rows = service_history.activities(session, "web")
    return [f"{row.sentence}: {row.reason}" for row in reversed(rows) if row.kind == kind]


def test_blue_green_sends_requests_to_one_version_at_a_time(web: ServiceWorld) -> None:
    policy = {"strategy": "blueGreen", "keep_old_seconds": 30, "auto_promote": False}
    web.create()
    web.settle()
    deploy(web, deploy=policy)
    status = web.settle().status
    assert (status.live, served(web)) == (6, {OLD})
    assert status.waiting is not None
    assert status.waiting.code == "waitingPromotion"
    web.change("promote")
    assert served(web) == {NEW}
    status = web.look().status
    assert (status.live, status.waiting and status.waiting.code) == (6, "oldKept")
    web.change("rollback")
    assert served(web) == {OLD}
    status = web.settle().status
    assert status.deploy is not None
    assert (status.live, status.deploy.phase) == (3, DeployPhase.ROLLED_BACK)


def test_blue_green_switches_by_itself_and_drops_the_old_copies_later(web: ServiceWorld) -> None:
    web.create()
    web.settle()
    deploy(web, deploy={"strategy": "blueGreen", "keep_old_seconds": 30})
    status = web.settle().status
    assert status.deploy is not None
    assert (status.live, status.deploy.phase) == (3, DeployPhase.SUCCEEDED)
    assert told(web, "switch") == [
        "requests go to revision 2 from now on: all copies of deploy 2 are ready"
    ]


def test_of_blue_green_only_copies_that_get_requests_stand_in_for_one_that_moves(
    web: ServiceWorld,
) -> None:
    web.create()
    web.settle()
    deploy(web, deploy={"strategy": "blueGreen", "auto_promote": False})
    web.settle()
    host = next(one.copy.host_id for one in web.copies() if one.row.index == 1)
    move = CopyMove(reason=EndReason.HOST_DRAINING, message="drained", index=1, host_id=host)
    orders = web.look(move).orders
    assert [one.revision for one in orders.starts] == [OLD]
    assert orders.stops == [], "three of the new version are ready, but nobody asks them"
    assert web.settle().status.live == 6
    assert "web.1.1" not in web.running


def test_each_judgement_of_a_canary_is_kept(web: ServiceWorld) -> None:
    web.create()
    web.settle()
    steps = [{"percent": 20, "hold_seconds": 20}, {"percent": 60, "hold_seconds": 20}]
    deploy(web, deploy={"strategy": "canary", "canary": steps})
    web.settle()
    first, second = told(web, "judgement")
    assert first.startswith("step 1 of deploy 2 was judged well enough to go on: in 20 s")
    assert "0 ends and 0 unhealthy of 2 copies" in second


def test_a_bad_version_is_kept_as_such_with_the_reason(web: ServiceWorld) -> None:
    web.create()
    web.settle()
    deploy(web, "apps/nothing:1")
    web.settle()
    with web.store.read() as session:
        row = service_history.revision(session, "web", NEW)
        back = service_history.revision(session, "web", 3)
    assert (back.verdict, back.template) == ("good", OLD), "the old one again"
    assert row.verdict == "bad"
    assert row.verdict_reason.startswith("no host can run it: web.3.1: no such image")


def test_the_same_version_may_be_tried_again_once_it_was_given_up(web: ServiceWorld) -> None:
    web.create()
    web.settle()
    deploy(web)
    web.look()
    web.change("abort")
    web.look()
    deploy(web)
    status = web.settle().status
    assert status.deploy is not None
    assert (status.deploy.number, status.deploy.phase) == (3, DeployPhase.SUCCEEDED)
    deploy(web)
    again = web.settle().status.deploy
    assert again is not None
    assert again.number == 3, "what runs already is not deployed"
