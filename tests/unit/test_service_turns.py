"""Services in SQL: copies replaced, scaled, deployed, moved, deleted; no Temporal."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetwide.errors import Conflict, InvalidInput, NotFound
from fleetwide.models.deploys import DeployPhase
from fleetwide.models.service_documents import ServiceState, ServiceWait
from fleetwide.models.service_moves import CopyMove
from fleetwide.models.services import ContainerServiceSpec
from fleetwide.models.task_states import EndReason, TaskState
from fleetwide.store import service_copies, service_history, service_turns, services
from fleetwide.store.session import Store
from tests.unit.service_worlds import ServiceWorld, service_spec


@pytest.fixture
def web(tmp_path: Path, sqlite_template: Path) -> Iterator[ServiceWorld]:
    yield from _world(f"sqlite:///{shutil.copy(sqlite_template, tmp_path)}")


@pytest.fixture
def anywhere(database_url: str) -> Iterator[ServiceWorld]:
    """On both kinds of database."""
    yield from _world(database_url)


def _world(url: str) -> Iterator[ServiceWorld]:
    store = Store.open(url)
    yield ServiceWorld(store)
    store.engine.dispose()


def test_so_many_copies_start_as_are_desired_and_the_first_deploy_succeeds(
    web: ServiceWorld,
) -> None:
    web.create()
    status = web.settle().status
    assert web.running == ["web.0.1", "web.1.1", "web.2.1"]
    assert (status.ready, status.live, status.waiting) == (3, 3, None)
    assert status.deploy is not None
    assert status.deploy.phase is DeployPhase.SUCCEEDED
    with web.store.read() as session:
        assert service_history.revision(session, "web", 1).verdict == "good"


def test_a_copy_that_ends_is_replaced_at_its_index_after_its_back_off(web: ServiceWorld) -> None:
    web.create()
    web.settle()
    web.end("web.1.1")
    turn = web.look()
    assert turn.orders.starts == []
    assert turn.status.waiting is not None
    assert turn.status.waiting.code == ServiceWait.BACKING_OFF
    web.settle()
    assert web.running == ["web.0.1", "web.2.1", "web.1.2"]


def test_the_place_of_a_copy_that_is_being_killed_waits_for_its_end(web: ServiceWorld) -> None:
    web.create()
    web.settle()
    web.put("web.1.1", TaskState.KILL_INITIATED, EndReason.UNHEALTHY)
    assert web.look().orders.starts == []
    web.end("web.1.1", EndReason.UNHEALTHY)
    web.settle()
    assert web.running == ["web.0.1", "web.2.1", "web.1.2"]


def test_a_lost_order_is_found_again(anywhere: ServiceWorld) -> None:
    """Killed between the decision and the start: the next look goes on, with the same ids."""
    anywhere.create(desired=2)
    with anywhere.store.write() as session:
        first = service_turns.take(session, "web", [], anywhere.now)
    assert [one.task_id for one in first.orders.starts] == ["web.0.1", "web.1.1"]
    second = anywhere.look()
    assert second.orders.starts == first.orders.starts
    anywhere.settle()
    assert anywhere.running == ["web.0.1", "web.1.1"]


def test_scaling_starts_and_stops_with_a_reason_of_its_own(web: ServiceWorld) -> None:
    web.create(desired=2)
    web.settle()
    web.change("scale", desired=4, by="ada", numbers={"queue": 12})
    web.settle()
    assert len(web.running) == 4
    web.change("scale", desired=1, max=2)
    web.settle()
    assert len(web.running) == 1
    with web.store.read() as session:
        ended = service_copies.listing(session, "web", ended=True)
        reasons = {row.reason for row in ended if row.ended_at}
        [first, *_] = service_history.activities(session, "web")
    assert reasons == {EndReason.SCALED_DOWN}
    assert (first.before["desired"], first.after["desired"]) == (4, 1)


def test_a_rolling_deploy_replaces_all_and_is_never_short(web: ServiceWorld) -> None:
    web.create(desired=4)
    web.settle()
    web.change("deploy", spec=service_spec(desired=4, container={"command": ["sleep", "2"]}))
    while not (turn := web.look()).status.deploy or turn.status.deploy.phase == "running":
        assert len(web.running) >= 4
    web.settle()
    assert web.most_live <= 5
    assert {one.row.revision for one in web.copies()} == {2}
    assert len(set(web.indices())) == 4


def test_a_bad_image_stops_at_the_first_step_and_goes_back(anywhere: ServiceWorld) -> None:
    anywhere.create()
    anywhere.settle()
    bad = service_spec(container={"image": "apps/nothing:1"})
    anywhere.change("deploy", spec=bad, by="ada")
    status = anywhere.settle().status
    assert status.deploy is not None
    assert status.deploy.phase is DeployPhase.ROLLED_BACK
    assert "no such image" in status.deploy.reason
    assert anywhere.running == ["web.0.1", "web.1.1", "web.2.1"]
    with anywhere.store.read() as session:
        row = services.get(session, "web")
        assert row.revision == 3  # the old spec holds again, as a version of its own
        assert services.spec_of(session, row).container.image == "apps/hello:1.0.0"
        assert service_history.revision(session, "web", 2).verdict == "bad"


def test_attributes_alone_replace_no_copy(web: ServiceWorld) -> None:
    web.create()
    web.settle()
    web.change("deploy", spec=service_spec(owner="others"))
    web.settle()
    assert web.running == ["web.0.1", "web.1.1", "web.2.1"]
    with web.store.read() as session:
        row = services.get(session, "web")
        assert (row.owner, row.revision, row.version) == ("others", 2, 2)


def test_of_two_changes_of_one_version_the_second_is_a_conflict(web: ServiceWorld) -> None:
    web.create()
    spec = service_spec(owner="first")
    web.change("deploy", spec=spec, expected_version=1)
    with pytest.raises(Conflict, match="has version 2, not 1"):
        web.change("deploy", spec=service_spec(owner="second"), expected_version=1)


def test_what_has_updates_of_its_own_can_be_kept(web: ServiceWorld) -> None:
    web.create(desired=2)
    web.change("scale", desired=7)
    web.change("deploy", spec=service_spec(owner="others", desired=1), keep=["capacity"])
    with web.store.read() as session:
        assert services.get(session, "web").desired == 7


def test_processes_keep_desired_where_it_is(web: ServiceWorld) -> None:
    web.create(desired=2)
    web.change("set_processes", disable_increase_desired=True)
    with pytest.raises(Conflict, match="disable_increase_desired"):
        web.change("scale", desired=3)
    web.change("scale", desired=1)
    with pytest.raises(InvalidInput, match="more than max"):
        web.change("scale", min=5, max=4)


def test_a_copy_that_has_to_leave_goes_when_another_is_ready(anywhere: ServiceWorld) -> None:
    anywhere.create()
    anywhere.settle()
    host = next(one.copy.host_id for one in anywhere.copies() if one.row.index == 1)
    move = CopyMove(reason=EndReason.HOST_DRAINING, message="drained", index=1, host_id=host)
    first = anywhere.look(move)
    assert [one.task_id for one in first.orders.starts] == ["web.3.1"]
    assert first.orders.stops == []
    anywhere.settle()
    assert anywhere.running == ["web.0.1", "web.2.1", "web.3.1"]
    with anywhere.store.read() as session:
        gone = service_copies.find(session, "web.1.1")
        assert gone is not None
        assert gone.reason == EndReason.HOST_DRAINING


def test_a_forced_move_stops_at_once(web: ServiceWorld) -> None:
    web.create()
    web.settle()
    turn = web.look(CopyMove(message="the machine goes", index=0, forced=True))
    assert [task_id for task_id, _ in turn.orders.stops] == ["web.0.1"]


def test_a_silent_copy_is_replaced_and_the_elder_goes_when_its_host_is_back(
    web: ServiceWorld,
) -> None:
    web.create()
    web.settle()
    web.put("web.0.1", TaskState.DISCONNECTED)
    turn = web.look()
    assert [one.task_id for one in turn.orders.starts] == ["web.3.1"]
    web.settle()
    web.put("web.0.1", TaskState.STARTED)
    web.settle()
    assert web.running == ["web.1.1", "web.2.1", "web.3.1"]


def test_one_that_waits_for_silent_hosts_replaces_none(web: ServiceWorld) -> None:
    web.create(replace_while_disconnected=False)
    web.settle()
    web.put("web.0.1", TaskState.DISCONNECTED)
    assert web.look().orders.starts == []


def test_ending_a_copy_may_shrink_the_service(web: ServiceWorld) -> None:
    web.create(desired=2)
    web.change("scale", min=2)
    web.settle()
    with pytest.raises(Conflict, match="min of 2"):
        web.change("terminate_copy", task_id="web.0.1", shrink=True, prevent_min_update=True)
    web.change("terminate_copy", task_id="web.0.1", shrink=True)
    web.settle()
    assert web.running == ["web.1.1"]
    web.change("terminate_copy", task_id="web.1.1")
    web.settle()
    assert web.running == ["web.1.2"]
    with pytest.raises(NotFound, match="no copy"):
        web.change("terminate_copy", task_id="other.0.1")


def test_a_deleted_service_has_no_copies_and_its_name_can_be_used_again(
    anywhere: ServiceWorld,
) -> None:
    anywhere.create(desired=2)
    anywhere.settle()
    anywhere.change("delete")
    with pytest.raises(Conflict, match="being deleted"):
        anywhere.change("scale", desired=5)
    assert anywhere.settle().status.state is ServiceState.DELETED
    assert anywhere.running == []
    anywhere.create(desired=1)
    status = anywhere.settle().status
    assert anywhere.running == ["web.0.2"]  # ids are never used twice
    assert status.revision == 2


def test_a_workflow_that_was_ended_from_outside_takes_over_what_is_there(
    web: ServiceWorld,
) -> None:
    web.create(desired=2)
    web.settle()
    web.change("scale", desired=3)
    with web.store.write() as session:
        spec = ContainerServiceSpec.model_validate(service_spec(desired=1))
        services.ensure(session, "web", "another run", spec, now=web.now)
    web.settle()
    assert web.running == ["web.0.1", "web.1.1", "web.2.1"]


def test_a_pause_holds_and_says_so(web: ServiceWorld) -> None:
    web.create(desired=4)
    web.settle()
    web.change("deploy", spec=service_spec(desired=4, container={"command": ["sleep", "2"]}))
    web.look()
    web.change("pause", by="ada")
    status = web.settle().status
    assert status.waiting is not None
    assert status.waiting.code == "deployPaused"
    assert {one.row.revision for one in web.copies()} == {1, 2}
    web.change("resume")
    web.settle()
    assert {one.row.revision for one in web.copies()} == {2}
    with pytest.raises(Conflict, match="cannot be paused"):
        web.change("pause")


def test_a_rollback_goes_to_the_last_other_good_version(web: ServiceWorld) -> None:
    web.create()
    web.settle()
    web.change("deploy", spec=service_spec(container={"command": ["sleep", "2"]}))
    web.settle()
    web.change("rollback", by="ada")
    web.settle()
    assert {one.row.revision for one in web.copies()} == {1}
    with web.store.read() as session:
        row = services.get(session, "web")
        assert services.spec_of(session, row).container.command == ["sleep"]
