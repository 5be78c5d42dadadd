"""What applies a retention's report ends what the report named, whatever happens in between."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from activities import registry_retention
from activities.registry_retention import RegistryRetentionActivities
from fleetwide.models.registry_policy import RetentionRule
from fleetwide.models.registry_retention import JudgedPage, JudgePage, RetentionPlan
from fleetwide.models.task_states import TaskState
from fleetwide.store import registry_repositories, registry_retention_report, registry_tags
from fleetwide.store.registry_repositories import id_of
from fleetwide.store.registry_tables import RetentionTagRow
from fleetwide.store.session import Store
from fleetwide.store.tables import JobRow
from tests.registry_index import image, push, upload

pytestmark = pytest.mark.integration
NAME = "ci/app"
LONG_AGO = datetime.now(UTC) - timedelta(days=100)
RULE = RetentionRule(name="branches", repositories=["ci/*"], keep_newest=1)
COUNT = 6


@pytest.fixture
def store(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(registry_retention, "heartbeat", lambda *_: None)
    opened = Store.open(database_url)
    upload(opened, NAME, "config", *(f"layer{n}" for n in range(COUNT)), now=LONG_AGO)
    for number in range(COUNT):
        pushed = LONG_AGO + timedelta(days=number)
        push(opened, NAME, image(f"layer{number}"), tags=[f"pr-{number}"], now=pushed)
    yield opened
    opened.engine.dispose()


def plan(run: str = "run") -> RetentionPlan:
    return RetentionPlan(rules=[RULE], source="tests", at=datetime.now(UTC), run=run)


def judge(store: Store, by: RetentionPlan, *, apply: bool = False) -> JudgedPage:
    page = JudgePage(plan=by, apply=apply, by="ada")
    return RegistryRetentionActivities(store, None).judge_repositories(page)


def tags(store: Store) -> list[str]:
    with store.read() as session:
        row = registry_repositories.require(session, NAME)
        return [tag.name for tag in registry_tags.page(session, id_of(row), limit=100)]


def use(store: Store, number: int, state: TaskState) -> None:
    """A task that needs an image is in this state from now on."""
    with store.write() as session:
        job = session.get(JobRow, 1) or JobRow(
            id=1,
            workflow_id="task/1",
            run_id="r",
            kind="task",
            app="a",
            state=state,
            image=f"{NAME}@{image(f'layer{number}').digest}",
            spec={},
            created_at=LONG_AGO,
        )
        job.state = state
        session.add(job)


def test_what_the_report_kept_as_in_use_stays_when_the_use_ends(store: Store) -> None:
    use(store, 0, TaskState.STARTED)
    by = plan()
    assert (judge(store, by).goes, judge(store, by).kept["in use"]) == (COUNT - 2, 1)
    use(store, 0, TaskState.FINISHED)
    assert judge(store, by, apply=True).ended == COUNT - 2
    assert tags(store) == ["pr-0", f"pr-{COUNT - 1}"]
    assert judge(store, plan("next")).goes == 1


def test_what_came_to_be_used_since_stays_too(store: Store) -> None:
    by = plan()
    assert judge(store, by).goes == COUNT - 1
    use(store, 0, TaskState.STARTED)
    assert judge(store, by, apply=True).ended == COUNT - 2
    assert "pr-0" in tags(store)


def test_a_report_that_is_written_again_names_no_more_than_it_counts(store: Store) -> None:
    by = plan()
    judge(store, by)  # whose worker was killed before it could answer
    use(store, 0, TaskState.STARTED)
    assert judge(store, by).goes == COUNT - 2
    use(store, 0, TaskState.FINISHED)
    judge(store, by, apply=True)
    assert tags(store) == ["pr-0", f"pr-{COUNT - 1}"]


def test_a_tag_that_was_pushed_again_stays(store: Store) -> None:
    by = plan()
    judge(store, by)
    with store.write() as session:
        row = registry_repositories.require(session, NAME)
        registry_tags.delete(session, row, "pr-1", by="ada", now=LONG_AGO + timedelta(days=50))
    push(store, NAME, image("layer1"), tags=["pr-1"], now=LONG_AGO + timedelta(days=51))
    assert judge(store, by, apply=True).ended == COUNT - 2
    assert "pr-1" in tags(store)


def test_one_report_ends_nothing_that_only_another_named(store: Store) -> None:
    use(store, 0, TaskState.STARTED)
    first = plan("first")
    judge(store, first)
    use(store, 0, TaskState.FINISHED)
    judge(store, plan("second"))
    judge(store, first, apply=True)
    assert "pr-0" in tags(store)


def test_all_that_a_killed_try_ended_is_counted(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_retention, "BATCH", 2)
    monkeypatch.setattr(registry_retention, "PAGE", 3)
    by, ended = plan(), 0
    judge(store, by)
    real = registry_retention_report.end_named

    def dies_after_two(*arguments: object, **more: object) -> None:
        nonlocal ended
        real(*arguments, **more)  # type: ignore[arg-type]
        ended += 1
        if ended == 2:
            raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(registry_retention_report, "end_named", dies_after_two)
        with pytest.raises(RuntimeError, match="killed"):
            judge(store, by, apply=True)
    assert 1 < len(tags(store)) < COUNT
    assert judge(store, by, apply=True).ended == COUNT - 1


def test_names_of_reports_that_are_over_are_forgotten(store: Store) -> None:
    judge(store, plan("old"))
    for limit, forgotten in ((2, 2), (99, COUNT - 3), (99, 0)):
        with store.write() as session:
            tomorrow = datetime.now(UTC) + timedelta(days=1)
            assert registry_retention_report.forget(session, tomorrow, limit) == forgotten
    with store.read() as session:
        assert session.get(RetentionTagRow, ("old", 1, "pr-1")) is None
