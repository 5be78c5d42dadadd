"""Collection, reconciliation, scrub and their schedules through the API, on a whole plane."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlmodel import update
from starlette.testclient import TestClient

from fleetwide.providers.registry_storage import RegistryStorage
from fleetwide.providers.registry_trees import FolderTree
from fleetwide.store.registry_tables import ManifestRow, ReviewRow
from fleetwide.store.session import Store
from tests.api.harness import IMAGE, Plane, wait_until
from tests.registry_index import NOW, image
from tests.registry_shelf import Shelf

ROOT = "/v1/registry"
NEVER = {
    "gc_minutes": None,
    "reconcile_hours": None,
    "scrub_hours": None,
    "retention_hours": None,
}


@pytest.fixture
def box(plane: Plane) -> Iterator[Shelf]:
    """The plane's own index and storage."""
    store = Store.open(plane.settings.database_url.get_secret_value())
    folder = plane.folder / "blobs"
    yield Shelf(store, RegistryStorage(FolderTree(folder)), folder)
    store.engine.dispose()


@pytest.fixture
def garbage(box: Shelf, request: pytest.FixtureRequest) -> str:
    """A repository of its own with a tagged image, and one that lost its tag long ago."""
    name = f"gc/{request.node.name.partition('[')[0].replace('_', '-')}"
    box.upload(name, "config", "kept", "gone")
    box.push(name, image("kept"), "kept")
    gone = box.push(name, image("gone"), "gone")
    box.untag(name, "gone")
    with box.store.write() as session:
        old = update(ManifestRow).where(ManifestRow.digest == gone.digest)  # type: ignore[arg-type]
        session.exec(old.values(touched_at=NOW))
        due = update(ReviewRow).where(ReviewRow.digest == gone.digest)  # type: ignore[arg-type]
        session.exec(due.values(review_after=NOW))
    return name


def post(http: TestClient, path: str, body: dict[str, Any], *, wait: int = 0) -> dict[str, Any]:
    answer = http.post(f"{ROOT}{path}", params={"wait": wait}, json=body)
    assert answer.status_code in (200, 202), answer.text
    found: dict[str, Any] = answer.json()
    return found


def get(http: TestClient, path: str, **params: Any) -> dict[str, Any]:
    answer = http.get(f"{ROOT}{path}", params=params)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def share(operation: dict[str, Any], repository: str) -> int:
    """Manifests of the repository that a collection's report tells of."""
    assert operation["status"] == "completed", operation
    shares = operation["result"]["repositories"]
    return sum(one["manifests"] for one in shares if one["repository"] == repository)


def test_a_dry_run_and_then_a_collection(http: TestClient, box: Shelf, garbage: str) -> None:
    assert get(http, "/gc")["queue"]["due"] > 0
    dry = post(http, "/gc", {"dry_run": True}, wait=60)
    assert (share(dry, garbage), dry["result"]["dry_run"]) == (1, True)
    assert len(box.manifests(garbage)) == 2
    done = post(http, "/gc", {}, wait=60)
    assert share(done, garbage) == 1
    assert box.manifests(garbage) == {image("kept").digest}
    assert share(post(http, "/gc", {}, wait=60), garbage) == 0
    reports = get(http, "/upkeep/gc/reports", limit=1)
    assert len(reports["items"]) == 1
    before = get(http, "/upkeep/gc/reports", limit=1, cursor=reports["next"])
    assert before["items"][0]["workflow_id"] == f"registry-gc/{done['id']}"
    assert before["items"][0]["report"]["manifests"] == done["result"]["manifests"]


def test_a_collection_waits_is_slowed_down_and_goes_on(
    http: TestClient, box: Shelf, garbage: str
) -> None:
    run = post(http, "/gc", {"paused": True})["id"]
    page = f"/gc/{run}"
    assert get(http, page)["paused"]
    assert f"registry-gc/{run}" in get(http, "/gc")["running"]
    assert http.post(f"{ROOT}{page}/pause", json={}).status_code == 409
    assert post(http, f"{page}/rate", {"per_second": 900})["per_second"] == 900
    assert http.post(f"{ROOT}{page}/rate", json={"per_second": 0}).status_code == 422
    assert len(box.manifests(garbage)) == 2
    assert not post(http, f"{page}/resume", {"reason": "night", "by": "ada"})["paused"]
    wait_until(lambda: get(http, page)["phase"] == "done", "it is done")
    assert len(box.manifests(garbage)) == 1
    assert get(http, page)["report"]["manifests"] >= 1


@pytest.mark.parametrize("action", ["pause", "resume", "rate"])
def test_what_does_not_run_is_not_found(http: TestClient, action: str) -> None:
    answer = http.post(
        f"{ROOT}/gc/none/{action}", json={"per_second": 1} if action == "rate" else {}
    )
    assert answer.status_code == 404
    assert http.get(f"{ROOT}/gc/none").status_code == 404


def test_a_reconciliation_and_a_scrub(http: TestClient, box: Shelf, garbage: str) -> None:
    box.storage.unlink_tag(garbage, "kept")
    request = {"repository": garbage, "settle_seconds": 0}
    done = post(http, "/reconcile", request, wait=60)
    assert done["result"]["counts"]["missingTag"] == 1
    assert box.storage.tag(garbage, "kept") is not None
    scrubbed = post(http, "/scrub", {"bytes_per_second": "100MiB"}, wait=60)
    assert (scrubbed["status"], scrubbed["result"]["broken"]) == ("completed", [])
    assert scrubbed["result"]["blobs"] > 0
    for kind in ("reconcile", "scrub"):
        assert get(http, f"/upkeep/{kind}/reports")["items"]
    assert http.get(f"{ROOT}/upkeep/none/reports").status_code == 422


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/gc", {"batch": 0}),
        ("/gc", {"keep": True}),
        ("/scrub", {"bytes_per_second": 1}),
        ("/reconcile", {"adoption": "maybe"}),
    ],
)
def test_what_makes_no_sense_is_refused(http: TestClient, path: str, body: dict[str, Any]) -> None:
    assert http.post(f"{ROOT}{path}", json=body).status_code == 422


def test_a_schedule_collects_by_itself(
    http: TestClient, plane: Plane, box: Shelf, garbage: str
) -> None:
    page = f"{ROOT}/upkeep"
    done = http.put(page, json={**NEVER, "gc_minutes": 30})
    assert [(one["kind"], one["paused"]) for one in done.json()["items"]] == [("gc", False)]
    plane.call(lambda client: client.get_schedule_handle("registry-gc/scheduled").trigger())
    wait_until(lambda: len(box.manifests(garbage)) == 1, "the schedule's collection removes it")
    [entry] = get(http, "/gc")["schedules"]
    assert entry["next"]
    [run] = entry["last"]
    assert run.startswith("registry-gc/scheduled-")
    wait_until(
        lambda: run in [one["workflow_id"] for one in get(http, "/upkeep/gc/reports")["items"]],
        "it leaves a report",
    )
    [changed] = http.put(page, json={"gc_minutes": 45}).json()["items"]
    assert (changed["kind"], changed["every_hours"]) == ("gc", 0.75)
    assert http.put(page, json={"gc_minutes": 0}).status_code == 422
    events = http.get("/v1/events?subject=registry-upkeep").json()["items"]
    assert events[-1]["data"] == {"by": "", "gc_minutes": 45}
    assert http.put(page, json=NEVER).json()["items"] == []
    assert IMAGE.partition(":")[0] in list(box.storage.repositories())
