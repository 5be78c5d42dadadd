"""The images that hosts keep because a task asks for them somewhere."""

from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import text

from fleetwide.models.containers import ContainerSpec, FinishJob, JobHeader, JobKind
from fleetwide.models.retries import RetryPolicy
from fleetwide.store import image_collections, jobs
from fleetwide.store.migrate import upgrade
from fleetwide.store.session import Store

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def header(name: str) -> JobHeader:
    spec = ContainerSpec.model_validate({"image": f"apps/{name}:1"})
    return JobHeader(
        workflow_id=f"task/{name}",
        run_id="r",
        kind=JobKind.TASK,
        app=name,
        container=spec,
        retry=RetryPolicy(),
    )


def test_a_task_without_extra_containers_is_not_read_for_them(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path}/fleetwide.db")
    upgrade(store.engine)
    with store.write() as session:
        jobs.ensure(session, header("a"), "apps/a@sha256:1", now=NOW)
    with store.read() as session:
        unset = "select count(*) from job where extra_images is null"
        assert session.connection().execute(text(unset)).scalar() == 1
    store.engine.dispose()


def test_those_of_live_tasks_with_their_extra_ones(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path}/fleetwide.db")
    upgrade(store.engine)
    over = header("over")
    with store.write() as session:
        jobs.ensure(session, header("a"), "apps/a@sha256:1", now=NOW)
        side = {"proxy": "apps/proxy@sha256:2"}
        jobs.ensure(session, header("b"), "apps/b@sha256:3", now=NOW, extra_images=side)
        jobs.ensure(session, over, "apps/over@sha256:4", now=NOW)
        jobs.finish(session, FinishJob(job=over, state="Finished", result={}), now=NOW)
        # As rows from before have it.
        older = "update job set extra_images = 'null' where workflow_id = 'task/a'"
        session.connection().execute(text(older))
    with store.read() as session:
        wanted = image_collections.wanted(session)
    assert wanted == {"apps/a@sha256:1", "apps/b@sha256:3", "apps/proxy@sha256:2"}
    store.engine.dispose()
